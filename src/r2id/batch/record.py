"""Many files in one folder, all made with the same settings, by one process or several at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r2id.files.atomic import clear_leftovers
from r2id.files.locks import together
from r2id.files.record import check_settings, plain, read_record, write_record


class Record:
    """What the files in a folder were made with, kept beside them.

    Args:
        path: a JSON file.
        settings: what the files depend on, in what JSON has.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, plain(settings)

    def write(self) -> None:
        """Leave the settings beside the files."""
        write_record(self.path, self.settings)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make files with other processes of the same settings; raises InputError where others make some, or made."""
        folder = self.path.parent

        def clear() -> None:
            for one in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                clear_leftovers(one)

        with together(folder / f".{self.path.name}.lock", self.settings, clear):
            if self.path.exists():
                before = read_record(self.path, "remove it, or give another output")
                check_settings(self.settings, before, f"what {folder} holds was made with", "give another output")
            yield
