"""TIFFs of 16 bits or with transparency, most of which Pillow misreads or refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import tifffile
from PIL import Image
from PIL.ExifTags import Base

from r2id.errors import InputError

TIFF_SUFFIXES = (".tif", ".tiff")
ICC_PROFILE = 34675
ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA: ("La", "RGBa"), tifffile.EXTRASAMPLE.UNASSALPHA: ("LA", "RGBA")}


def read_tiff(path: Path) -> Image.Image | None:
    """The first picture of a TIFF of 16 bits or with transparency; None for any other file, which Pillow reads.

    Compressions that tifffile does not know, such as LZW, are left to Pillow.
    """
    with _first_page(path) as page:
        if page is None:
            return None
        picture = as_picture(_stored(page, path), page)
        picture.getexif()[Base.Orientation] = page.tags.valueof("Orientation", 1)
        return picture


def read_straight(path: Path) -> tuple[numpy.ndarray, bytes | None, int] | None:
    """Read the same as levels [H, W, C] of 8 or 16 bits, as `straight` gives them, with profile and orientation."""
    with _first_page(path) as page:
        if page is None:
            return None
        levels = straight(_stored(page, path), page)
        return levels, page.tags.valueof(ICC_PROFILE), page.tags.valueof("Orientation", 1)


@contextlib.contextmanager
def _first_page(path: Path) -> Iterator[Any]:
    """The first page of a TIFF that Pillow does not read right, and tifffile does."""
    page: Any = None
    first: Any = None
    with contextlib.ExitStack() as stack:
        # Not a TIFF, or one of which Pillow may say what is wrong.
        with contextlib.suppress(Exception):
            first = stack.enter_context(tifffile.TiffFile(path)).pages.first
            needed = first.dtype == numpy.uint16 or first.extrasamples
            page = first if needed and has_known_pixels(first) and is_decodable(first) else None
        if first is not None and first.dtype is not None and first.dtype.itemsize > 2:
            raise InputError(
                f"{path} has {8 * first.dtype.itemsize}-bit pixels; they must have 8 or 16 bits per channel"
            )
        yield page


def _stored(page: Any, path: Path) -> numpy.ndarray:
    """Pixels [H, W, C] of a page, as stored."""
    # Pillow's own limit, against files that unpack without end.
    if Image.MAX_IMAGE_PIXELS and page.imagelength * page.imagewidth > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{page.imagelength * page.imagewidth} pixels")
    if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > path.stat().st_size:
        raise ValueError("image file is truncated")
    levels = page.asarray()
    if page.axes == "SYX":
        levels = levels.transpose(1, 2, 0)
    return levels.reshape(page.imagelength, page.imagewidth, -1)


def has_known_pixels(page: Any) -> bool:
    """Return whether a page has grey or RGB pixels of 8 or 16 bits, with or without transparency."""
    colours = 3 if page.photometric == tifffile.PHOTOMETRIC.RGB else 1
    return (
        page.axes in ("YX", "YXS", "SYX")
        and page.dtype in (numpy.uint8, numpy.uint16)
        and page.bitspersample in (8, 16)
        and page.photometric <= tifffile.PHOTOMETRIC.RGB
        and page.samplesperpixel == colours + len(page.extrasamples)
        and len(page.extrasamples) <= 1
    )


def is_decodable(page: Any) -> bool:
    """Return whether tifffile decodes a page without further codecs."""
    return page.compression in tifffile.TIFF.DECOMPRESSORS and page.predictor in (*tifffile.TIFF.UNPREDICTORS, 1)


def as_picture(levels: numpy.ndarray, page: Any) -> Image.Image:
    """Return stored pixels [H, W, C] of a page as a picture in mode L, LA, RGB or RGBA, with its colour profile."""
    levels, colours = _black_is_zero(levels, page)
    if levels.dtype == numpy.uint16:
        levels = eight_bit(levels)
    alpha = ALPHA.get(page.extrasamples[0]) if page.extrasamples else None
    grey, coloured = alpha or ("L", "RGB")
    levels = numpy.ascontiguousarray(levels if alpha else levels[..., :colours])
    mode = grey if colours == 1 else coloured
    picture = Image.frombytes(mode, (levels.shape[1], levels.shape[0]), levels.tobytes())
    if mode != mode.upper():
        picture = picture.convert(mode.upper())
    profile = page.tags.valueof(ICC_PROFILE)
    if profile:
        picture.info["icc_profile"] = profile
    return picture


def straight(levels: numpy.ndarray, page: Any) -> numpy.ndarray:
    """Convert pixels [H, W, C] of a page to levels of as many bits, alpha last and not multiplied into the colours."""
    levels, colours = _black_is_zero(levels, page)
    kind = page.extrasamples[0] if page.extrasamples else None
    if kind not in ALPHA:
        return levels[..., :colours]
    if kind == tifffile.EXTRASAMPLE.ASSOCALPHA:
        most = numpy.iinfo(levels.dtype).max
        alpha = numpy.maximum(levels[..., colours:].astype(numpy.uint64), 1)
        divided = (levels[..., :colours] * numpy.uint64(most) + alpha // 2) // alpha
        divided = numpy.minimum(divided, most).astype(levels.dtype)
        levels = numpy.concatenate([divided, levels[..., colours:]], -1)
    return levels


def _black_is_zero(levels: numpy.ndarray, page: Any) -> tuple[numpy.ndarray, int]:
    """Pixels [H, W, C] of a page of which 0 is black, and how many of the channels are colours."""
    colours = levels.shape[-1] - len(page.extrasamples)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        # The colour alone: transparency has one meaning.
        most = numpy.iinfo(levels.dtype).max
        levels = numpy.concatenate([most - levels[..., :colours], levels[..., colours:]], -1)
    return levels, colours


def eight_bit(levels: numpy.ndarray) -> numpy.ndarray:
    """Return levels of 16 bits, rounded to 8."""
    return ((levels.astype(numpy.uint32) + 128) // 257).astype(numpy.uint8)
