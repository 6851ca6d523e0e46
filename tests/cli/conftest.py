"""Running a command of the program in this process."""

import sys

import pytest

from r2id.cli import main


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs `r2id` with arguments; returns its exit status, what it printed and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["r2id", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
