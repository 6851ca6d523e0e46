"""Pictures as their files hold them: 8 or 16 bits, grey or RGB, with transparency, colour profile and EXIF."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import png
import tifffile
from PIL import Image
from PIL.ExifTags import Base

from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.files.exif import add_exif, kept_exif, tiff_exif
from r2id.files.images import MIN_IS_WHITE, PHOTOMETRIC, formats_of, in_srgb, unreadable
from r2id.files.png_writer import SIGNATURE, write_png
from r2id.files.tiff import TIFF_SUFFIXES, eight_bit, read_straight
from r2id.geometry.sizes import Size, size_text

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
ORIENTATION = Base.Orientation


@dataclass(frozen=True)
class PixelFormat:
    """What the levels of a picture mean.

    Attributes:
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        depth: bits of a level, 8 or 16.
        profile: ICC profile of the levels; none is sRGB.
        exif: EXIF data, as Pillow writes them.
    """

    channels: int
    depth: int = 8
    profile: bytes | None = None
    exif: bytes | None = None

    @property
    def transparent(self) -> bool:
        return self.channels % 2 == 0

    @property
    def colours(self) -> int:
        return 1 if self.channels < 3 else 3

    @property
    def dtype(self) -> type:
        return numpy.uint8 if self.depth == 8 else numpy.uint16


@dataclass(frozen=True)
class Picture:
    """Levels [H, W, channels] of a picture, alpha last and not multiplied into the colours."""

    levels: numpy.ndarray
    form: PixelFormat

    @property
    def size(self) -> Size:
        return self.levels.shape[0], self.levels.shape[1]

    def on(self, background: int) -> Picture:
        """Return the picture on a grey level, 0 to 255, where it is transparent."""
        if not self.form.transparent:
            return self
        most = 2**self.form.depth - 1
        alpha = self.levels[..., -1:].astype(numpy.float64) / most
        colours = self.levels[..., :-1] * alpha + background / 255 * most * (1 - alpha)
        return Picture(colours.round().astype(self.levels.dtype), replace(self.form, channels=self.form.channels - 1))


@dataclass(frozen=True)
class FileType:
    """What a type of file holds: transparency, 16 bits, pixels of grey alone; its longest side; how Pillow saves it."""

    transparent: bool
    deep: bool
    grey: bool
    longest: int
    options: dict[str, Any]


_LOSSLESS = FileType(True, True, True, 2**31 - 1, {})
_JPEG = FileType(False, False, True, 65535, {"format": "JPEG", "quality": 95, "subsampling": 0})
FILE_TYPES = {
    ".png": _LOSSLESS,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jfif": _JPEG,
    ".webp": FileType(True, False, False, 16383, {"quality": 95}),
    ".tif": _LOSSLESS,
    ".tiff": _LOSSLESS,
    ".avif": FileType(True, False, False, 65535, {"quality": 90}),
    ".bmp": FileType(False, False, True, 2**31 - 1, {}),
}
"""By their suffixes. GIF is not among them, which has no more than 256 colours."""


def file_type(path: Path) -> FileType:
    """Return the type that a file's suffix names. Raises InputError for one that cannot hold a picture as it is."""
    kind = FILE_TYPES.get(path.suffix.lower())
    Image.init()
    if kind is None or Image.EXTENSION.get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path} has no suffix of a file that keeps a picture; choose from {', '.join(FILE_TYPES)}")
    return kind


def check_side(path: Path, size: Size) -> None:
    """Raises InputError for a size that the type of file does not hold."""
    longest = file_type(path).longest
    if max(size) > longest:
        raise InputError(
            f"{path} cannot hold {size_text(size)} pixels; a {path.suffix} file has at most {longest} along a side"
        )


def format_for(path: Path, form: PixelFormat) -> PixelFormat:
    """Return the format as the type of file holds it: 16 bits become 8 where it has no more.

    Raises InputError where it has no transparency.
    """
    kind = file_type(path)
    if form.transparent and not kind.transparent:
        raise InputError(
            f"{path} cannot hold the picture's transparency; give --background, or an output of .png, .webp or .tif"
        )
    return form if kind.deep else replace(form, depth=8)


def read_picture(path: Path) -> Picture:
    """Read a picture file, upright. Of a TIFF of several pages the first is read.

    Raises InputError for a file that is missing, damaged, an animation, of more than 16 bits, or CMYK without profile.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of an image")
    try:
        # Of odd metadata, and of sizes that are large but accepted.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix.lower() in TIFF_SUFFIXES:
                straight = read_straight(path)
                if straight:
                    levels, profile, orientation = straight
                    return _upright(levels, profile, tiff_exif(path), orientation)
            with Image.open(path, formats=formats_of(path)) as image:
                image.load()  # Which tells whole files from truncated ones.
                return picture_of(image, str(path), _deep_png(path))
    except InputError:
        raise
    except Exception as error:
        raise unreadable(str(path), error) from error


def picture_of(image: Image.Image, name: str, levels: numpy.ndarray | None = None) -> Picture:
    """Convert a Pillow image to a picture, upright. Raises InputError as `read_picture` does.

    Args:
        image: what Pillow made of it.
        name: how errors call it.
        levels: [H, W, C], uint8 or uint16, where Pillow does not hold them all.
    """
    if getattr(image, "is_animated", False) and image.format not in ("TIFF", "MPO"):
        frames = getattr(image, "n_frames", 0)
        raise InputError(f"{name} is an animation of {frames} frames; give a single picture")
    image.load()
    profile = image.info.get("icc_profile")
    exif, orientation = None, 1
    with contextlib.suppress(Exception):
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
    if image.mode == "CMYK":
        if not profile:
            raise InputError(f"{name} is in CMYK without a colour profile; convert it to RGB first")
        image, profile = in_srgb(image, profile, False), None
        if image.mode != "RGB":
            raise InputError(f"{name} is in CMYK with a colour profile that cannot be read; convert it to RGB first")
    return _upright(_levels_of(image, name) if levels is None else levels, profile, kept_exif(exif), orientation)


def as_image(picture: Picture) -> Image.Image:
    """Convert a picture to a Pillow image, which has 16 bits of grey alone: others become 8."""
    levels, form = picture.levels, picture.form
    if form.depth == 16 and form.channels > 1:
        levels = eight_bit(levels)
    image = Image.fromarray(levels[..., 0] if form.channels == 1 else levels)
    if form.profile:
        image.info["icc_profile"] = form.profile
    if form.exif:
        image.info["exif"] = form.exif
    return image


def save_picture(picture: Picture, path: Path) -> None:
    """Write a picture, of the type its suffix names, whole or not at all."""
    kind, form = file_type(path), format_for(path, picture.form)
    levels = eight_bit(picture.levels) if form.depth < picture.form.depth else picture.levels
    if form.depth == 16 and path.suffix.lower() in TIFF_SUFFIXES:
        write_whole(path, lambda file: _write_tiff(file, levels, form))
        return
    if form.depth == 16:
        about = form.profile, form.exif
        write_whole(path, lambda file: write_png(file, picture.size, form.channels, 16, [levels], *about))
        return
    image, profile = as_image(Picture(levels, form)), form.profile
    if form.colours == 1 and profile and not kind.grey:
        image, profile = in_srgb(image.convert("RGBA" if form.transparent else "RGB"), profile, True), None
    options = kind.options | {name: about for name, about in (("icc_profile", profile), ("exif", form.exif)) if about}
    image.info.clear()
    write_whole(path, lambda file: image.save(file, **options))


def photometric(form: PixelFormat) -> dict[str, Any]:
    """Return the arguments that describe a format to tifffile."""
    return {
        "photometric": "minisblack" if form.colours == 1 else "rgb",
        "planarconfig": "contig",
        "extrasamples": ["unassalpha"] if form.transparent else None,
        "iccprofile": form.profile,
        "metadata": None,
    }


def _write_tiff(path: Path, levels: numpy.ndarray, form: PixelFormat) -> None:
    whole = levels[..., 0] if form.channels == 1 else levels
    tifffile.imwrite(path, whole, byteorder="<", **photometric(form))
    if form.exif:
        add_exif(path, form.exif)


def _levels_of(image: Image.Image, name: str) -> numpy.ndarray:
    """[H, W, C] of an image that is not CMYK, alpha last."""
    transparent = image.info.get("transparency")
    if image.mode == "F" or image.mode.startswith("I"):
        levels = numpy.asarray(image)
        # Pillow opens some 16-bit files in its 32-bit mode "I"; real 32-bit pixels have no agreed white.
        if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
            raise InputError(f"{name} has 32-bit pixels; they must have 8 or 16 bits per channel")
        inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE
        grey = (65535 - levels if inverted else levels).astype(numpy.uint16)[..., None]
        if transparent is None:
            return grey
        return numpy.concatenate([grey, numpy.where(grey == transparent, 0, 65535).astype(numpy.uint16)], -1)
    if image.mode == "1":
        image = image.convert("L")
        if transparent is not None:
            image.info["transparency"] = 255 if transparent else 0
    mode = ("L" if image.mode in ("L", "LA", "La") else "RGB") + ("A" if image.has_transparency_data else "")
    levels = numpy.array(image.convert(mode))
    return levels[..., None] if levels.ndim == 2 else levels


def _deep_png(path: Path) -> numpy.ndarray | None:
    """[H, W, C] of a PNG of 16-bit colours, of which Pillow keeps 8; None of any other file."""
    with path.open("rb") as file:
        head = file.read(26)
        if head[:8] != SIGNATURE or tuple(head[24:26]) not in ((16, 2), (16, 4), (16, 6)):
            return None
        file.seek(0)
        width, height, rows, about = png.Reader(file).read()
        levels = numpy.array([numpy.array(row, numpy.uint16) for row in rows]).reshape(height, width, -1)
    if "transparent" not in about:
        return levels
    hidden = (levels == numpy.array(about["transparent"], numpy.uint16)).reshape(-1, levels.shape[-1]).all(1)
    alpha = numpy.where(hidden, 0, 65535).astype(numpy.uint16).reshape(height, width, 1)
    return numpy.concatenate([levels, alpha], -1)


def _upright(levels: numpy.ndarray, profile: bytes | None, exif: bytes | None, orientation: int) -> Picture:
    """The picture turned as its camera noted, with what of its metadata stays true."""
    if orientation in (5, 6, 7, 8):
        levels = levels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    return Picture(numpy.ascontiguousarray(levels), _described(levels, profile, exif))


def described(levels: numpy.ndarray, profile: bytes | None, path: Path) -> PixelFormat:
    """Return what levels [H, W, C] of a file mean, with its EXIF data."""
    return _described(levels, profile, tiff_exif(path))


def _described(levels: numpy.ndarray, profile: bytes | None, exif: bytes | None) -> PixelFormat:
    channels = levels.shape[-1]
    # Writers and readers refuse a profile of another kind of picture.
    meant = b"GRAY" if channels < 3 else b"RGB "
    profile = profile if profile and profile[16:20] == meant else None
    return PixelFormat(channels, 8 * levels.dtype.itemsize, profile, exif)
