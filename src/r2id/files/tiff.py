"""TIFFs of 16 bits or with transparency, most of which Pillow misreads or refuses."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy
import tifffile
from PIL import Image
from PIL.ExifTags import Base

TIFF_SUFFIXES = (".tif", ".tiff")
ICC_PROFILE = 34675
ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA: ("La", "RGBa"), tifffile.EXTRASAMPLE.UNASSALPHA: ("LA", "RGBA")}


def read_tiff(path: Path) -> Image.Image | None:
    """Read the first picture of a TIFF of 16 bits or with transparency; return None for files that Pillow reads.

    Pillow also reads compressions that tifffile does not have, such as LZW.
    """
    with contextlib.ExitStack() as stack:
        try:
            page: Any = stack.enter_context(tifffile.TiffFile(path)).pages.first
            needed = page.dtype == numpy.uint16 or page.extrasamples
        except Exception:
            # Not a TIFF, or one whose fault Pillow reports.
            return None
        if not (needed and has_known_pixels(page) and is_decodable(page)):
            return None
        # Pillow's own limit against decompression bombs.
        if Image.MAX_IMAGE_PIXELS and page.imagelength * page.imagewidth > 2 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"{page.imagelength * page.imagewidth} pixels")
        if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > path.stat().st_size:
            raise ValueError("image file is truncated")
        levels = page.asarray()
        if page.axes == "SYX":
            levels = levels.transpose(1, 2, 0)
        picture = as_picture(levels.reshape(page.imagelength, page.imagewidth, -1), page)
        picture.getexif()[Base.Orientation] = page.tags.valueof("Orientation", 1)
        return picture


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
    colours = levels.shape[-1] - len(page.extrasamples)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        # Only colour is inverted, not transparency.
        most = numpy.iinfo(levels.dtype).max
        levels = numpy.concatenate([most - levels[..., :colours], levels[..., colours:]], -1)
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


def eight_bit(levels: numpy.ndarray) -> numpy.ndarray:
    """Return levels of 16 bits, rounded to 8."""
    return ((levels.astype(numpy.uint32) + 128) // 257).astype(numpy.uint8)
