"""Running `r2id` in this process, and reading what it wrote."""

import sys
from pathlib import Path

import numpy
from PIL import Image

from r2id import cli

FIXTURES = Path(__file__).parents[1] / "fixtures"
QUICK = ("--num-inference-steps", "2")


def run(capsys, monkeypatch, *arguments) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `r2id` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["r2id", *map(str, arguments)])
    status = 0
    try:
        cli.main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def unwrapped(text: str) -> str:
    """The text of an error, without the frame and the line breaks that a terminal's width puts into it."""
    lines = [line.strip(" |│") for line in text.splitlines()]
    return " ".join(line for line in lines if line)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def alike(first: Path, second: Path) -> bool:
    one, other = (numpy.asarray(Image.open(path)).astype(int) for path in (first, second))
    return one.shape == other.shape and bool(abs(one - other).max() <= 1)
