"""Sizes and regions of pictures. Sizes are (height, width) everywhere, HxW in text."""

from __future__ import annotations

from collections.abc import Sequence

from r2id.errors import InputError

Size = tuple[int, int]
Region = tuple[int, int, int, int]


def check_size(size: Sequence[float], name: str = "size") -> Size:
    """Return `size` as two ints. Raises InputError unless it is (height, width), both whole and at least 1."""
    try:
        height, width = size
        whole = height >= 1 and width >= 1 and height % 1 == 0 and width % 1 == 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{name} is {size!r}; it must be (height, width), two whole numbers of at least 1")
    return int(height), int(width)


def check_region(region: Region, size: Size) -> Region:
    """Return `region`. Raises InputError unless it is a non-empty (top, left, bottom, right) inside `size`."""
    top, left, bottom, right = region
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise InputError(
            f"region {top},{left},{bottom},{right} is not inside the picture; it must be top,left,bottom,right with "
            f"0 <= top < bottom <= {size[0]} and 0 <= left < right <= {size[1]}"
        )
    return region


def size_text(size: Size) -> str:
    """(27, 18) → "27x18"."""
    return f"{size[0]}x{size[1]}"
