"""File locks between processes, which end with the process that holds them.

They are advisory locks on a hidden file (`flock`), between all processes of a machine, and of several machines if the
file system supports it. Without them, as on Windows, nothing is held and nothing is refused. filelock is no substitute.
It has no shared locks, by which several processes write the pictures of one folder together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.atomic import make_folder
from r2id.files.record import check_settings

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


ATTEMPTS = 20
"""Attempts to open a lock whose folder is removed meanwhile."""


@contextmanager
def alone(path: Path, taken: str) -> Iterator[bool]:
    """Hold the lock file `path` exclusively.

    Yields whether it is held, False without locks. Raises InputError with the sentence `taken` if another process holds
    it.
    """
    with _open(path, shared=False) as (file, is_first):
        if file is not None and not is_first:
            raise InputError(taken)
        yield file is not None


@contextmanager
def together(path: Path, settings: dict[str, Any], begin: Callable[[], object]) -> Iterator[None]:
    """Share the lock file `path` with all processes of the same settings, which it contains.

    The first holder calls `begin` before any other can hold it. Raises InputError if the holders have other
    settings.
    """
    with _open(path, shared=True) as (file, is_first):
        if file is not None:
            if is_first:
                begin()
                path.write_text(json.dumps(settings))
                fcntl.flock(file, fcntl.LOCK_SH)
            others = f"another process is writing to {path.parent} with"
            advice = "wait until it ends, or give another output"
            check_settings(settings, json.loads(path.read_text()), others, advice)
        yield


@contextmanager
def _open(path: Path, shared: bool) -> Iterator[tuple[int | None, bool]]:
    """Yield the open lock file, None without locks, and whether this process is the first, exclusive holder.

    The last holder removes it, and the folder if it was created for the lock.
    """
    made = not path.parent.exists()
    file, is_first = _lock(path, shared) if fcntl else (None, False)
    try:
        yield file, is_first
    finally:
        if file is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                if made:
                    path.parent.rmdir()
            os.close(file)


def _lock(path: Path, shared: bool) -> tuple[int | None, bool]:
    """Return the values of `_open`. If others hold the lock, a shared one is joined; another is open but not held."""
    while True:
        file = _open_or_make(path)
        is_first = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_first = False
            if not shared:
                return file, is_first
            # This waits only while the first holder begins.
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            return None, False
        # The last holder may have removed it after it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file, is_first
        os.close(file)


def _open_or_make(path: Path) -> int:
    for _ in range(ATTEMPTS):
        # The last holder may have just removed the folder.
        with suppress(FileNotFoundError, FileExistsError):
            return _open_in_folder(path)
    return _open_in_folder(path)


def _open_in_folder(path: Path) -> int:
    make_folder(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
