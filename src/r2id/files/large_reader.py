"""Pictures larger than memory, read tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import tifffile
import torch
from PIL import Image
from torch import Tensor

from r2id.errors import InputError
from r2id.files.images import (
    LARGE,
    TIFF_SUFFIXES,
    as_values,
    eight_bit,
    flatten,
    in_channels,
    pixels,
    reason,
    unreadable,
)
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.memory import CHUNK_PIXELS

LARGEST_CHUNK = 1 << 26

TURNS = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""For a TIFF's Orientation: whether its rows and its columns are to be reversed, and then exchanged."""


class LargeImage:
    """A tiled TIFF that is read tile by tile, as `R2IR.encode_chunks` takes it.

    Args:
        path: the file: 8 or 16 bits, grey or RGB, with or without transparency.
        channels, background: as for `read_image`.
    Raises:
        InputError: for a file that cannot be read so.
    """

    def __init__(self, path: Path, channels: int, background: int = 0) -> None:
        self.path, self.channels, self.background = path, channels, background
        try:
            self._file = tifffile.TiffFile(path)
            self._page: Any = self._file.pages.first
            self._turn = turn_of(self._page)
            kind = self._page.axes, self._page.dtype
            chunk, needed = math.prod(self._page.chunks), math.prod(self._page.chunked)
            listed = len(self._page.dataoffsets)
        except Exception as error:
            raise unreadable(str(path), error) from error
        if kind[0] not in ("YX", "YXS") or kind[1] not in (numpy.uint8, numpy.uint16) or self._page.photometric > 2:
            raise InputError(
                f"{path} has {kind[1]} pixels in the order {kind[0]}, photometric {self._page.photometric}; a TIFF of "
                f"over {LARGE} pixels is accepted with grey or RGB pixels of 8 or 16 bits, channels last"
            )
        self.size = upright_size(self._page)
        self._stored: Size = (self._page.imagelength, self._page.imagewidth)
        if chunk > LARGEST_CHUNK:
            raise InputError(
                f"{path} is stored in chunks of {chunk} pixels; "
                f"accepted are at most {LARGEST_CHUNK}, such as a TIFF with tiles of 256x256"
            )
        # A damaged size would be read as endless empty tiles.
        if listed != needed:
            raise InputError(
                f"{path} is damaged: its {size_text(self.size)} pixels are in {needed} chunks and it lists {listed}"
            )

    def chunks(self, advance: Callable[[int], object]) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and pixels [1, C, h, w] in [−1, 1] of every tile or strip, upright. Can be read once."""
        try:
            for levels, (_, _, top, left, _), (_, height, width, samples) in self._page.segments(maxworkers=1):
                if levels is None:
                    levels = numpy.zeros((1, height, width, samples), self._page.dtype)
                height, width = min(height, self._stored[0] - top), min(width, self._stored[1] - left)
                step = max(1, CHUNK_PIXELS // width)
                for y in range(0, height, step):
                    part = levels[0, y : min(y + step, height), :width]
                    yield self._upright(top + y, left, self._values(part))
                    advance(part.shape[0] * width)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{self.path} cannot be read ({reason(error)})") from error
        finally:
            self._file.close()

    def _upright(self, top: int, left: int, values: Tensor) -> tuple[slice, slice, Tensor]:
        """Rows, columns and pixels of a chunk, turned as the picture is to be seen."""
        starts, lengths, (*reversed_axes, exchanged) = [top, left], values.shape[-2:], self._turn
        for axis in (0, 1):
            if reversed_axes[axis]:
                starts[axis] = self._stored[axis] - starts[axis] - lengths[axis]
                values = values.flip(axis - 2)
        rows, columns = (slice(first, first + length) for first, length in zip(starts, lengths, strict=True))
        return (columns, rows, values.mT) if exchanged else (rows, columns, values)

    def _values(self, levels: numpy.ndarray) -> Tensor:
        if levels.dtype == numpy.uint16:
            levels = eight_bit(levels)
        if self._page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            levels = 255 - levels
        picture = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
        opaque = in_channels(flatten(picture, self.background, str(self.path)), self.channels)
        return as_values(torch.from_numpy(pixels(opaque))[None])


def tiff_size(path: Path) -> Size | None:
    """Height and width of a TIFF as it is to be seen, from its header; None for any other file."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            return upright_size(file.pages.first)
    except Exception:
        return None


def turn_of(page: Any) -> tuple[bool, bool, bool]:
    """Which of `TURNS` a page of a TIFF asks for; none for a value that no camera writes, as Pillow does."""
    return TURNS.get(page.tags.valueof("Orientation", 1), (False, False, False))


def upright_size(page: Any) -> Size:
    """Height and width of a page of a TIFF as it is to be seen."""
    size = page.imagelength, page.imagewidth
    return size[::-1] if turn_of(page)[2] else size
