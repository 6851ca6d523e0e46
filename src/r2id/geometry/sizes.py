"""Sizes and regions of pictures. Sizes are (height, width) everywhere, HxW in text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r2id.errors import InputError

Size = tuple[int, int]
Region = tuple[int, int, int, int]


def listed(value: Any) -> Any:
    """Return arrays and numbers of numpy or torch, also in a list or tuple, as those of Python."""
    if isinstance(value, (list, tuple)):
        return [listed(one) for one in value] if isinstance(value, list) else tuple(map(listed, value))
    # A number may be symbolic, in a graph of any size, and has no attributes then.
    return value.tolist() if not isinstance(value, (int, float)) and hasattr(value, "tolist") else value


def first_given(*values: Any) -> Any:
    """Return the first value that is not None, or None. Arrays, which have no truth value, may be among them."""
    for value in values:
        if value is not None:
            return value
    return None


def check_size(size: Sequence[float], name: str = "size") -> Size:
    """Return `size` as two ints. Raises InputError unless it is (height, width), both whole and at least 1."""
    size = listed(size)
    try:
        height, width = size
        whole = height >= 1 and width >= 1 and height % 1 == 0 and width % 1 == 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{name} is {size!r}; it must be (height, width), two whole numbers of at least 1")
    return int(height), int(width)


def check_lengths(size: Sequence[float]) -> tuple[int, ...]:
    """Return the lengths of the axes as ints. Raises InputError unless all are whole numbers of at least 1."""
    try:
        whole = len(size) > 0 and all(length >= 1 and length % 1 == 0 for length in size)
    except TypeError:
        whole = False
    if not whole:
        raise InputError(f"size is {size!r}; it must be whole numbers of at least 1, one for each axis")
    return tuple(int(length) for length in size)


def alike_size(size: Size, target: Size, step: int | None = None) -> Size:
    """Return a size with the proportions of `size` and about as many pixels as `target`.

    Sides are multiples of `step`, by default a sixteenth of the side of a square with that many pixels. Many shapes
    then have few sizes.
    """
    area, ratio = target[0] * target[1], size[0] / size[1]
    step = step or max(1, round(area**0.5 / 16))
    return _rounded((area * ratio) ** 0.5, step), _rounded((area / ratio) ** 0.5, step)


def in_proportion(latent_size: Sequence[float], canvas: Sequence[float]) -> Size:
    """Return a latent grid as dense on `canvas` as `latent_size` on a square: (16, 16) gives (12, 21) for 9:16."""
    ratio = canvas[0] / canvas[1]
    return _rounded(latent_size[0] * ratio**0.5), _rounded(latent_size[1] / ratio**0.5)


def with_longer_side(length: int, canvas: Sequence[float]) -> Size:
    """Return the size in the proportions of a canvas whose longer side is `length`."""
    return _rounded(length * canvas[0] / max(canvas)), _rounded(length * canvas[1] / max(canvas))


def with_width(width: int, size: Size) -> Size:
    """Return the size of that width with the proportions of `size`."""
    return _rounded(width * size[0] / size[1]), width


def with_height(height: int, size: Size) -> Size:
    """Return the size of that height with the proportions of `size`."""
    return height, _rounded(height * size[1] / size[0])


def scaled(size: Size, factors: tuple[float, float]) -> Size:
    """Return height and width times these factors, rounded and at least 1."""
    return _rounded(size[0] * factors[0]), _rounded(size[1] * factors[1])


def _rounded(length: float, step: int = 1) -> int:
    return step * max(1, round(length / step))


def check_region(region: Region, size: Size) -> Region:
    """Return `region`. Raises InputError unless it is a non-empty (top, left, bottom, right) inside `size`."""
    top, left, bottom, right = region
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise InputError(
            f"region {top},{left},{bottom},{right} is not inside the picture; it must be top,left,bottom,right with "
            f"0 <= top < bottom <= {size[0]} and 0 <= left < right <= {size[1]}"
        )
    return region


def size_text(size: Sequence[float]) -> str:
    """(27, 18) → "27x18"."""
    return "x".join(map(str, size))


def resolution_limit(num_high: int) -> int:
    """Return the largest number of samples along a side whose neighbours the highest frequency tells apart.

    sin(π·2^(num_high − 1)·x) turns by a half wave, the most that sampling can resolve, over 1/2^(num_high − 1).
    """
    return 2 ** (num_high - 1)
