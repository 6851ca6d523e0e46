"""Folders of files with the same settings, written by one or several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r2id.files.atomic import clear_leftovers
from r2id.files.locks import together
from r2id.files.record import check_settings, plain, read_record, write_record


class Record:
    """The settings of the files in a folder, kept beside them.

    Args:
        path: a JSON file.
        settings: settings of the files, as JSON types.
        defaults: values of settings that the file leaves out, as records of earlier versions do.
    """

    def __init__(self, path: Path, settings: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
        self.path, self.settings, self.defaults = path, plain(settings), plain(defaults or {})

    def write(self) -> None:
        """Write the settings beside the files."""
        kept = {name: value for name, value in self.settings.items() if (name, value) not in self.defaults.items()}
        write_record(self.path, kept)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write files together with processes of the same settings. Raises InputError if other settings are in use."""
        folder = self.path.parent

        def clear() -> None:
            for one in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                clear_leftovers(one)

        with together(folder / f".{self.path.name}.lock", self.settings, clear):
            if self.path.exists():
                before = self.defaults | read_record(self.path, "remove it, or give another output")
                check_settings(self.settings, before, f"what {folder} holds was made with", "give another output")
            yield
