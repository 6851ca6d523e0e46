"""What is in folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def visible_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files in a folder and below that are not hidden. Links to folders are followed, except in circles."""
    above = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif path.resolve() not in above:
            yield from visible_files(path, above)
