"""Files and folders that are whole or absent."""

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
"""How the name of every temporary folder begins."""


def file_name(text: str) -> str:
    """A label or text as part of a file's name: "T-shirt/top" must stay one name inside a folder."""
    return re.sub(r"[^\w.-]+", "_", text)[:80]


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are not there; raises NotADirectoryError where a file is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = _nearest(folder)
        if there.is_dir():
            raise
        raise _not_a_folder(there, folder) from error


def check_writable(path: Path) -> None:
    """Raises, before the work for it is done, where no file can be written at `path`; leaves nothing there.

    Raises InputError where `path` is a folder, and the system's OSError, with the name `path`, where it cannot be
    written for another reason.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file")
    folder = _nearest(path.parent)
    if not folder.is_dir():
        raise _not_a_folder(folder, path)
    # Permissions alone do not tell: of a read-only disk, of /proc.
    with writing(path), tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY):
        pass


def free_space(path: Path) -> int:
    """Bytes that are free on the disk where `path` is, or would be."""
    return shutil.disk_usage(_nearest(path)).free


def _nearest(path: Path) -> Path:
    """The path itself or, of those above it, the first that is there."""
    return next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))


def _not_a_folder(file: Path, path: Path) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, f"{file} is not a folder", str(path))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of the same name, then move it to `path`; makes the folder if needed."""
    with writing(path):
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)


def replace_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary folder, then put it in the place of `folder`.

    Interrupted at any moment, `folder` is the old one or the new one; only if the process is killed between two renames
    does the old one lie hidden beside it, until `clear_leftovers`.
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
    """Remove a folder so that no part of it is left under its name if this is interrupted."""
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
    """Remove what killed processes left of their writing in `folder`, where nobody else may be writing.

    A folder that was to be replaced, by a process killed between the two renames, comes back.
    """
    for left in folder.glob(f"{TEMPORARY}*"):
        for old in left.glob("old/*"):
            _bring_back(old, folder / old.name)
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of writing name `path`: the caller knows it by this name, not by a temporary one."""
    try:
        yield
    except SafetensorError as error:
        # A full disk is an error of another type here, with the system's number in its text.
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
    """Undo the narrow permissions of temporary files, as far as the umask says."""
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def _umask() -> int:
    """The permissions that files of this process do not get."""
    with suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask"))
    # Elsewhere it is read by setting it, for a moment and for all threads.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
