"""Pictures larger than memory, read tile by tile."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import tifffile
import torch
from PIL import Image
from torch import Tensor

from r2id.errors import InputError
from r2id.files.images import as_values, flatten, in_channels, is_large, pixels, reason, unreadable
from r2id.files.pictures import described
from r2id.files.tiff import ICC_PROFILE, TIFF_SUFFIXES, as_picture, has_known_pixels, is_decodable, straight
from r2id.geometry.sizes import Region, Size, size_text
from r2id.runtime.memory import CHUNK_PIXELS, check_fits_in_memory

LARGEST_CHUNK = 1 << 26
KEPT_BYTES = 1 << 27
"""Bytes of tiles that are kept, so that a row of blocks reads each only once."""

SIDEWAYS = (5, 6, 7, 8)
"""TIFF orientations that exchange rows and columns."""


class _LargeTiff:
    """A TIFF whose tiles or strips are read one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = tifffile.TiffFile(path)
            self._page: Any = self._file.pages.first
            readable = is_read_in_tiles(self._page)
            chunk, needed = math.prod(self._page.chunks), math.prod(self._page.chunked)
            listed = len(self._page.dataoffsets)
        except Exception as error:
            raise unreadable(str(path), error) from error
        if not readable:
            raise InputError(
                f"{path} is too large to be read at once, and is not stored so that tiles can be read; give a "
                "TIFF of grey or RGB pixels of 8 or 16 bits, channels last, upright, uncompressed or deflated"
            )
        self.size: Size = (self._page.imagelength, self._page.imagewidth)
        if chunk > LARGEST_CHUNK:
            raise InputError(
                f"{path} is stored in chunks of {chunk} pixels; "
                f"they must have at most {LARGEST_CHUNK}, such as a TIFF with tiles of 256x256"
            )
        # A damaged size would give endless empty tiles.
        if listed != needed:
            raise InputError(
                f"{path} is damaged: its {size_text(self.size)} pixels are in {needed} chunks and it lists {listed}"
            )
        self._kept: OrderedDict[int, numpy.ndarray] = OrderedDict()

    def _stored(self, region: Region) -> numpy.ndarray:
        """Read stored pixels [h, w, samples] of a region (top, left, bottom, right); the tiles read last are kept."""
        top, left, bottom, right = region
        height, width = self._page.chunks[:2]
        first = self._tile(0)
        levels: numpy.ndarray = numpy.empty((bottom - top, right - left, first.shape[-1]), first.dtype)
        for row in range(top // height, -(-bottom // height)):
            for column in range(left // width, -(-right // width)):
                y, x = row * height, column * width
                tile = self._tile(row * self._page.chunked[1] + column)
                part = tile[max(0, top - y) : bottom - y, max(0, left - x) : right - x]
                start = max(0, y - top), max(0, x - left)
                levels[start[0] : start[0] + part.shape[0], start[1] : start[1] + part.shape[1]] = part
        return levels

    def _tile(self, index: int) -> numpy.ndarray:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        try:
            self._file.filehandle.seek(self._page.dataoffsets[index])
            stored = self._file.filehandle.read(self._page.databytecounts[index])
            if len(stored) < self._page.databytecounts[index]:
                raise ValueError("image file is truncated")
            decoded, _, shape = self._page.decode(stored or None, index)
        except Exception as error:
            raise InputError(f"{self.path} cannot be read ({reason(error)})") from error
        self._kept[index] = tile = numpy.zeros(shape[1:], self._page.dtype) if decoded is None else decoded[0]
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return tile


class LargePicture(_LargeTiff):
    """A large TIFF of which any region is read, as its levels are.

    Args:
        path: the file: 8 or 16 bits, grey or RGB, with or without transparency.
    Attributes:
        size: height and width.
        form: meaning of the levels.
    Raises:
        InputError: for a file that cannot be read in tiles.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        profile = self._page.tags.valueof(ICC_PROFILE)
        self.form = described(straight(self._tile(0), self._page), profile, path)

    def levels(self, region: Region) -> numpy.ndarray:
        """Read levels [h, w, channels] of a region (top, left, bottom, right)."""
        return straight(self._stored(region), self._page)


class LargeImage(_LargeTiff):
    """A large TIFF as pixels of R2IR: tile by tile for `encode_chunks`, or any region for `encode_regions`.

    Args:
        path: the file: 8 or 16 bits, grey or RGB, with or without transparency.
        channels, background: as for `read_image`.
    Raises:
        InputError: for a file that cannot be read in tiles.
    """

    def __init__(self, path: Path, channels: int, background: int = 0) -> None:
        super().__init__(path)
        self.channels, self.background = channels, background

    def region(self, region: Region) -> Tensor:
        """Read pixels [1, C, h, w] in [−1, 1] of a region (top, left, bottom, right)."""
        return self._values(self._stored(region))

    def chunks(self, advance: Callable[[int], object]) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield rows, columns and pixels [1, C, h, w] in [−1, 1] of every tile or strip. Works once."""
        try:
            for levels, (_, _, top, left, _), (_, height, width, samples) in self._page.segments(maxworkers=1):
                if levels is None:
                    levels = numpy.zeros((1, height, width, samples), self._page.dtype)
                height, width = min(height, self.size[0] - top), min(width, self.size[1] - left)
                step = max(1, CHUNK_PIXELS // width)
                for y in range(0, height, step):
                    part = levels[0, y : min(y + step, height), :width]
                    rows, columns = slice(top + y, top + y + len(part)), slice(left, left + width)
                    yield rows, columns, self._values(part)
                    advance(part.shape[0] * width)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{self.path} cannot be read ({reason(error)})") from error
        finally:
            self._file.close()

    def _values(self, levels: numpy.ndarray) -> Tensor:
        picture = as_picture(levels, self._page)
        opaque = in_channels(flatten(picture, self.background, str(self.path)), self.channels)
        return as_values(torch.from_numpy(pixels(opaque))[None])


def tiff_size(path: Path) -> Size | None:
    """Return height and width of a TIFF after its orientation, from its header; None for other files."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages.first
            size = page.imagelength, page.imagewidth
            return size[::-1] if page.tags.valueof("Orientation", 1) in SIDEWAYS else size
    except Exception:
        return None


def is_read_in_regions(path: Path) -> bool:
    """Return whether a file is a TIFF too large to be read at once. Raises InputError as `fits_at_once` does."""
    size = tiff_size(path)
    return size is not None and is_large(size) and not fits_at_once(path, size)


def fits_at_once(path: Path, size: Size) -> bool:
    """Return whether a TIFF without readable tiles is read whole, within Pillow's limit and the free memory.

    Raises InputError if only the memory is too small.
    """
    with contextlib.suppress(Exception), tifffile.TiffFile(path) as file:
        if is_read_in_tiles(file.pages.first):
            return False
    within = math.prod(size) <= 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
    if within:
        check_fits_in_memory([size], 1, 3)
    return within


def is_read_in_tiles(page: Any) -> bool:
    """Return whether the tiles of a page can be read one by one. Pillow reads other pages, if they fit in memory."""
    upright = page.tags.valueof("Orientation", 1) not in range(2, 9)
    return upright and page.axes != "SYX" and has_known_pixels(page) and is_decodable(page)
