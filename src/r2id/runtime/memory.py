"""Checks of free memory, the size of chunks, and what becomes of freed memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import psutil

from r2id.errors import InputError
from r2id.geometry.sizes import Size, size_text

CHUNK_PIXELS = 1 << 18
"""Pixels of an image that are encoded at once."""

KEPT_BYTES = 1 << 28
"""Freed memory that a process keeps."""
MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}
"""Parameters of glibc's mallopt(3), by the environment variables that set them too."""


def keep_freed_memory() -> None:
    """Have this process keep freed memory, up to KEPT_BYTES, unless the environment sets glibc's thresholds.

    glibc returns each large tensor to the system, which fills the next one with zeros. Other C libraries stay as they
    are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for variable, parameter in MALLOPT.items():
        if variable not in os.environ:
            mallopt(parameter, KEPT_BYTES)


def check_fits_in_memory(sizes: Sequence[Size], count: int, channels: int) -> None:
    """Raise InputError if `count` pictures of every size, as float32, joined and as bytes, exceed free memory."""
    needed = sum(height * width for height, width in sizes) * count * channels * (4 + 4 + 1)
    check_bytes_fit(needed, f"{count} times {', '.join(map(size_text, sizes))}")


def check_bytes_fit(needed: int, what: str) -> None:
    """Raise InputError if `what` needs more bytes than are free in memory."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{what} needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "ask for fewer or smaller pictures"
        )
