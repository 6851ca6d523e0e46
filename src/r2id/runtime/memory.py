"""Checks of free memory, and the size of chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import psutil

from r2id.errors import InputError
from r2id.geometry.sizes import size_text

CHUNK_PIXELS = 1 << 18
"""Pixels of an image that are encoded at once."""


def check_fits_in_memory(sizes: Sequence[Sequence[int]], count: int, channels: int, what: str | None = None) -> None:
    """Raise InputError if `count` pictures of every size, as float32, joined and as bytes, exceed free memory.

    The error names them, or `what` they are for.
    """
    needed = sum(map(math.prod, sizes)) * count * channels * (4 + 4 + 1)
    check_bytes_fit(needed, what or f"{count} times {', '.join(map(size_text, sizes))}")


def check_bytes_fit(needed: int, what: str) -> None:
    """Raise InputError if `what` needs more bytes than are free in memory."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{what} needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "ask for fewer or smaller pictures"
        )
