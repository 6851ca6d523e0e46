"""The command line, a file for each group of commands; imports every package, heavy ones only as a command runs."""

from r2id.cli.program import main

__all__ = ["main"]
