"""Image files, and conversion between 8-bit pixels and values in [−1, 1]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.files.tiff import eight_bit, read_tiff
from r2id.geometry.sizes import Size

LARGE = 1 << 24
"""Most pixels of pictures that are written and read whole; larger ones use tiles."""


def is_large(size: Size) -> bool:
    """Return whether a picture of this size is written and read in tiles."""
    return size[0] * size[1] > LARGE


MOST_TINT = 8
"""Levels by which the channels of a grey pixel may differ, as in JPEGs of grey pictures."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

# Accepted under any name. Pillow has more, but some start other programs (EPS) or unpack without end.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "ICO", "PCX", "SGI")
# Accepted by suffix only, because their content does not identify them.
FORMATS_BY_SUFFIX = ("TGA",)
PHOTOMETRIC, MIN_IS_WHITE = 262, 0
"""TIFF tag of inverted levels, which Pillow ignores for 16-bit pixels."""
ACCEPTED_IMAGES = f"give whole {', '.join(IMAGE_SUFFIXES)} files, or AVIF, JPEG 2000, TGA and the like"


def read_image(path: str | Path, *, channels: int | None, background: int = 0) -> torch.Tensor:
    """Read one image file as uint8 [C, H, W].

    16 bits become 8, EXIF orientation is applied, and an animation gives its first frame.

    Args:
        path: a file in one of the `FORMATS`, or TGA.
        channels: 1 for grey, 3 for RGB, None for grey if the file is stored as grey, else RGB.
        background: grey level, 0 (black) to 255, behind transparent pixels.

    Raises:
        InputError: the file is missing, truncated, too large or not an image, or an argument is not accepted.
    """
    check_channels(channels)
    check_background(background)
    return torch.from_numpy(pixels(in_channels(open_picture(Path(path), background), channels)))


def check_image_suffix(path: Path) -> None:
    """Raise InputError unless the file's suffix names an image type that Pillow writes."""
    Image.init()
    if Image.EXTENSION.get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path} has no suffix of an image type that can be written; take .png, .jpg, .webp or .tif")


def save_image(picture: Image.Image, path: Path) -> None:
    """Write a picture in the format of its suffix, whole or not at all."""
    write_whole(path, picture.save)


def formats_of(path: Path) -> tuple[str, ...]:
    """Return the accepted formats of a file of this name."""
    Image.init()
    named = Image.EXTENSION.get(path.suffix.lower())
    return (*FORMATS, named) if named in FORMATS_BY_SUFFIX else FORMATS


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture, by its suffix or its first bytes. It may still be damaged."""
    formats = formats_of(path)
    if Image.EXTENSION.get(path.suffix.lower()) in formats:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=formats).close()
    except Image.DecompressionBombError:
        return True
    except Exception:
        return False
    return True


def open_picture(path: Path, background: int) -> Image.Image:
    """Read the picture of a file and `flatten` it."""
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of an image.")
    try:
        # Pillow warns of odd metadata, and of sizes that are large but accepted.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tiff = read_tiff(path)
            if tiff:
                return flatten(tiff, background, str(path))
            with Image.open(path, formats=formats_of(path)) as picture:
                return flatten(picture, background, str(path))
    except InputError:
        raise
    except Exception as error:
        raise unreadable(str(path), error) from error


def flatten(picture: Image.Image, background: int, name: str) -> Image.Image:
    """Return the picture upright, opaque, in sRGB and in mode L or RGB."""
    try:
        profile = picture.info.get("icc_profile")
        inverted = getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE
        picture = ImageOps.exif_transpose(picture)
        if picture.mode == "F" or picture.mode.startswith("I"):
            return in_srgb(_in_eight_bits(picture, inverted, background, name), profile, True).convert("L")
        grey = picture.mode in ("1", "L", "LA")
        transparent = picture.info.get("transparency")
        if picture.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:
            # Pillow keeps the upper 8 bits of 16-bit pixels, but all 16 bits of the transparent colour.
            picture.info["transparency"] = tuple(level >> 8 for level in transparent)
        if picture.has_transparency_data:
            canvas = Image.new("RGBA", picture.size, (background, background, background, 255))
            canvas.alpha_composite(in_srgb(picture.convert("RGBA"), profile, grey))
            return canvas.getchannel("R") if grey else canvas.convert("RGB")
        return in_srgb(picture, profile, grey).convert("L" if grey else "RGB")
    except InputError:
        raise
    except Exception as error:
        raise unreadable(name, error) from error


def in_srgb(picture: Image.Image, profile: bytes | None, grey: bool) -> Image.Image:
    """Convert a picture from its ICC profile to sRGB.

    It is unchanged if the profile is sRGB's own, damaged or of another kind of picture.
    """
    if not profile:
        return picture
    kinds = {"CMYK": "CMYK"} if picture.mode == "CMYK" else {"RGB": "RGB"} | ({"GRAY": "L"} if grey else {})
    try:
        meaning = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(meaning).lower():
            return picture
        levels = picture.convert(kinds[meaning.profile.xcolor_space.strip()])
        converted = ImageCms.profileToProfile(levels, meaning, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, KeyError):
        return picture
    assert converted is not None
    if picture.mode == "RGBA":
        converted.putalpha(picture.getchannel("A"))
    return converted


def _in_eight_bits(picture: Image.Image, inverted: bool, background: int, name: str) -> Image.Image:
    levels = numpy.asarray(picture)
    transparent = picture.info.get("transparency")
    # Pillow opens some 16-bit files in its 32-bit mode "I"; real 32-bit pixels have no agreed white.
    if picture.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise InputError(f"{name} has 32-bit pixels; they must have 8 or 16 bits per channel.")
    rounded = eight_bit(65535 - levels if inverted else levels)
    if transparent is not None:
        rounded[levels == transparent] = background
    return Image.fromarray(rounded)


def as_values(levels: torch.Tensor) -> torch.Tensor:
    """Return 8-bit pixels as values in [−1, 1], the range of both networks."""
    return levels.float() / 127.5 - 1


def unreadable(name: str, error: Exception) -> InputError:
    """Return the error for a file that cannot be read."""
    # Decoders raise nearly every built-in type for damaged files, so callers catch them all.
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        tiles = ", or a larger .tif to `r2id encode` and `resample`" if name.lower().endswith((".tif", ".tiff")) else ""
        return InputError(f"{name} is too large ({reason(error)}); give an image of at most {most} pixels{tiles}.")
    why = "no known format" if isinstance(error, UnidentifiedImageError) else reason(error)
    return InputError(f"{name} cannot be read as an image ({why}); {ACCEPTED_IMAGES}.")


def in_channels(picture: Image.Image, channels: int | None) -> Image.Image:
    """Return a flattened picture as grey (1), RGB (3) or unchanged (None)."""
    mode = {None: picture.mode, 1: "L", 3: "RGB"}[channels]
    return picture if picture.mode == mode else picture.convert(mode)


def has_colour(picture: Image.Image) -> bool:
    """Return whether a flattened picture has a pixel whose channels differ by more than `MOST_TINT`."""
    return picture.mode != "L" and bool((numpy.ptp(numpy.asarray(picture), axis=-1) > MOST_TINT).any())


def pixels(picture: Image.Image) -> numpy.ndarray:
    """Return a flattened picture as uint8 [C, H, W]."""
    values = numpy.array(picture)
    return values[None] if values.ndim == 2 else numpy.ascontiguousarray(values.transpose(2, 0, 1))


def check_channels(channels: int | None) -> None:
    """Raise InputError unless `channels` is 1, 3 or None."""
    if channels not in (None, 1, 3):
        raise InputError(f"channels is {channels}; it must be 1 (grey), 3 (RGB), or None for what the data has.")


def check_background(background: int) -> None:
    """Raise InputError unless `background` is a grey level."""
    if not 0 <= background <= 255:
        raise InputError(f"background is {background}; it must be a grey level from 0 to 255.")


def reason(error: Exception) -> str:
    """Return the first line of an error, for use within a sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".:- ") or type(error).__name__


def check_output_type(output_type: str, accepted: Sequence[str] = ("pil", "np", "pt")) -> None:
    """Raise InputError unless `output_type` is accepted."""
    if output_type not in accepted:
        names = ", ".join(map(repr, accepted[:-1]))
        raise InputError(f"output_type is {output_type!r}; it must be {names} or {accepted[-1]!r}")


def as_output(pictures: Tensor, output_type: str) -> Any:
    """Return pictures [B, C, H, W] in [−1, 1] as PIL images, as numpy [B, H, W, C] in [0, 1], or unchanged."""
    if output_type == "pt":
        return pictures
    if output_type == "np":
        return ((pictures.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu().numpy()
    return [_as_image(as_levels(picture)) for picture in pictures]


def as_levels(picture: Tensor, depth: int = 8) -> numpy.ndarray:
    """Convert a picture [C, H, W] in [−1, 1] to pixels [H, W, C] of 8 or 16 bits."""
    most = 2**depth - 1
    whole = picture.float().add(1).mul_(most / 2).round_().clamp_(0, most)
    # torch has few operations on 16 bits without a sign.
    levels: numpy.ndarray = whole.to("cpu", torch.uint8 if depth == 8 else torch.int32).movedim(0, -1).numpy()
    return levels if depth == 8 else levels.astype(numpy.uint16)


def _as_image(levels: numpy.ndarray) -> Image.Image:
    """Return a PIL image of 8-bit pixels [H, W, C], grey if C is 1."""
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
