"""`python -m r2id` is the command line."""

from r2id.cli import main

main()
