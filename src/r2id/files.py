"""Files and folders that are whole or absent."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def file_name(text: str) -> str:
    """A label or text as part of a file's name: "T-shirt/top" must stay one name inside a folder."""
    return re.sub(r"[^\w.-]+", "_", text)[:80]


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of the same name, then move it to `path`; makes the folder if needed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
    except OSError as error:
        # The caller knows the file by its own name, not by the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def replace_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary folder, then put it in the place of `folder`.

    Interrupted at any moment, `folder` is the old one or the new one; only if the process is killed between two renames
    does the old one lie hidden beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        write(temporary)
        _make_readable(temporary)
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-old-"))
        try:
            if folder.exists():
                folder.rename(old / folder.name)
            temporary.rename(folder)
        except BaseException:
            if not folder.exists() and (old / folder.name).exists():
                (old / folder.name).rename(folder)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def fill_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then move its files into `folder` one by one; other files there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as name:
        temporary = Path(name)
        write(temporary)
        _make_readable(temporary)
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            place = folder / file.relative_to(temporary)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)


def _make_readable(folder: Path) -> None:
    """Undo the narrow permissions of temporary files."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
