"""What the files in a folder were made with, kept beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.atomic import clear_leftovers, write_whole
from r2id.files.locks import together


class Record:
    """What the files in a folder were made with, kept beside them.

    Args:
        path: a JSON file.
        settings: what the files depend on, in what JSON has.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))

    def write(self) -> None:
        """Leave the settings beside the files."""
        write_whole(self.path, lambda path: path.write_text(json.dumps(self.settings, indent=1)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make files with other processes of the same settings; raises InputError where others make some, or made."""
        folder = self.path.parent

        def clear() -> None:
            for one in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                clear_leftovers(one)

        with together(folder / f".{self.path.name}.lock", self.settings, clear):
            self._compare()
            yield

    def _compare(self) -> None:
        """Raises InputError where the files that are there were made with other settings."""
        if not self.path.exists():
            return
        try:
            before = dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path} is damaged ({error}); remove it, or give another output") from error
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise InputError(
                    f"{name} is {value}; what {self.path.parent} holds was made with {before.get(name)}; "
                    "give another output"
                )
