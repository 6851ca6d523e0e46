"""Atomic writing: files and folders are whole or absent."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from r2id.errors import InputError

TEMPORARY = ".writing-"
"""Prefix of every temporary folder."""


def file_name(text: str) -> str:
    """Return a label or text as part of a file name; "T-shirt/top" must not name a subfolder."""
    name = re.sub(r"[^\w.-]+", "_", text)[:80]
    # Names are limited in bytes, of which a letter has up to four.
    return name.encode()[:160].decode(errors="ignore")


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist. Raises NotADirectoryError if one is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = _nearest(folder)
        if there.is_dir():
            raise
        raise _not_a_folder(there, folder) from error


def check_writable(path: Path) -> None:
    """Check, before any work, that a file can be written at `path`, and leave nothing there.

    Raises InputError if `path` is a folder, and the system's OSError, with the name `path`, for other reasons.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file")
    folder = _nearest(path.parent)
    if not folder.is_dir():
        raise _not_a_folder(folder, path)
    # Permissions do not show a read-only disk or /proc.
    with writing(path), tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY):
        pass


def free_space(path: Path) -> int:
    """Return the free bytes on the disk of `path`, which need not exist."""
    return shutil.disk_usage(_nearest(path)).free


def _nearest(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))


def _not_a_folder(file: Path, path: Path) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, f"{file} is not a folder", str(path))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of the same name, then move it to `path`, whose folder is created."""
    with writing(path):
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)


def replace_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary folder, then replace `folder` by it.

    An interruption leaves the old or the new folder. A kill between the two renames leaves the old one hidden beside it
    until `clear_leftovers`.
    """
    with writing(folder):
        make_folder(folder.parent)
        with _temporary_folder(folder.parent) as temporary:
            new, old = temporary / "new", temporary / "old" / folder.name
            new.mkdir()
            old.parent.mkdir()
            write(new)
            _make_readable(new)
            try:
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
            except BaseException:
                _bring_back(old, folder)
                raise
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder so that an interruption leaves no part of it under its name."""
    with _temporary_folder(folder.parent) as temporary:
        folder.rename(temporary / "new")


def fill_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then move its files into `folder` one by one; other files there stay."""
    with writing(folder):
        make_folder(folder)
        with _temporary_folder(folder) as temporary:
            write(temporary)
            _make_readable(temporary)
            for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
                place = folder / file.relative_to(temporary)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)


def clear_leftovers(folder: Path) -> None:
    """Remove partial files of killed processes in `folder`. No other process may be writing there.

    A folder whose replacement was killed between the two renames is restored.
    """
    for left in folder.glob(f"{TEMPORARY}*"):
        for old in left.glob("old/*"):
            _bring_back(old, folder / old.name)
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let errors of writing name `path`, not a temporary file."""
    try:
        yield
    except SafetensorError as error:
        # safetensors reports a full disk by another type of error, with the system's number in its text.
        number = re.search(r"os error (\d+)", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix=TEMPORARY, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _bring_back(old: Path, folder: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)


def _make_readable(folder: Path) -> None:
    """Widen the permissions of temporary files to those of the umask."""
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def _umask() -> int:
    """Return the umask of this process."""
    with suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask"))
    # Other systems read it by setting it, for a moment and for all threads.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
