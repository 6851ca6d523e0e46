"""Encoding one image file and decoding one latent to a file, of any size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import torch
from torch import Tensor

from r2id.batch.resampling import Target
from r2id.errors import InputError
from r2id.fields.cell_field import CellField
from r2id.fields.splats import SplatField
from r2id.files.atomic import check_writable
from r2id.files.checksums import checksum, file_checksum
from r2id.files.images import as_levels, as_output, as_values, is_large, read_image, save_image
from r2id.files.large_reader import LargeImage, is_read_in_regions, tiff_size
from r2id.files.large_writer import check_output, write_large
from r2id.files.latents import Latents
from r2id.files.pictures import PixelFormat
from r2id.files.splats import SUFFIXES, read_splats, write_splats
from r2id.geometry.canvas import canvas_of
from r2id.geometry.cells import whole_cells
from r2id.geometry.sizes import Region, Size, check_region, size_text, with_longer_side
from r2id.geometry.tiles import tiles_by_block
from r2id.networks.lattices import Pixels, regions_of
from r2id.networks.refinement import refine
from r2id.networks.resampler import R2IR
from r2id.runtime.memory import check_fits_in_memory
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.progress import Progress, unseen

SIDE = 1 << 16
"""Pixels along the longer side of splats, only to take proportions from."""
SAMPLES_BY_SPLATS = 6
"""Samples along the side of a picture, over the root of the number of its splats."""
DETAILED = 4
"""Times the side of the training pictures from which a picture holds details that such an R2IR has not seen."""


def read_latent(resampler: R2IR, path: Path, model: str) -> Latents:
    """Read a file of one latent. Raises InputError for more latents, or other weights than those of `model`."""
    latents = Latents.load(path)
    latents.check_weights(resampler, path, model)
    if len(latents.values) != 1:
        raise InputError(f"{path} holds {len(latents.values)} latents; decode shows them all, resample one")
    return latents


def check_pixels_per_cell(pixels_per_cell: float) -> None:
    """Raise InputError for fewer pixels a cell than 1, or no finite number."""
    if not 1 <= pixels_per_cell < math.inf:
        raise InputError(f"pixels_per_cell is {pixels_per_cell:g}; it must be at least 1, such as 16, 8 or 4")


def check_cells(resampler: R2IR, size: Size, pixels_per_cell: float) -> Size:
    """Return the (h, w) of a pyramid's latent of a picture of `size`. Raises InputError for fewer pixels a cell than 1,
    or a latent larger than memory."""
    check_pixels_per_cell(pixels_per_cell)
    grid = whole_cells((size[0] / pixels_per_cell, size[1] / pixels_per_cell))
    check_fits_in_memory([grid], 1, resampler.features)
    return grid


def encode_file(
    resampler: R2IR,
    path: Path,
    latent_size: Size | None,
    background: int = 0,
    progress: Progress = unseen,
    pixels_per_cell: float | None = None,
    refinement: int = 0,
) -> Latents:
    """Encode an image file. A large tiled TIFF is read tile by tile, or by a pyramid in the regions that blocks need.

    Args:
        resampler: the encoder.
        path: the file.
        latent_size: (h, w) of the latent; a pyramid takes `pixels_per_cell` instead, by default its own.
        background: grey level, 0 to 255, behind transparent pixels.
        progress: shows how far it is.
        pixels_per_cell: pixels along a side for each latent, at least 1.
        refinement: gradient steps that refine the latent of a picture that is read as a whole.
    Raises:
        InputError: for a file that cannot be read, fewer pixels per cell, more latents than memory, or a refinement of
            a picture that is read in parts.
    """
    if pixels_per_cell is not None:
        check_pixels_per_cell(pixels_per_cell)
    channels = resampler.config.image_channels
    if refinement and is_read_in_regions(path):
        raise InputError(f"{path} is read in parts, and only a whole picture is refined; leave out refine")
    if not resampler.is_pyramid and latent_size and is_read_in_regions(path):
        image = LargeImage(path, channels, background)
        size = image.size
        with progress(size[0] * size[1], f"reading {path.name}") as advance:
            chunks = ((y, x, pixels.to(resampler.device, resampler.dtype)) for y, x, pixels in image.chunks(advance))
            values = resampler.encode_chunks(chunks, size, latent_size)
            return Latents(values, size, (), resampler.checksum(), size)
    region_of, size = _regions(path, channels, background)

    def pixels(region: Region) -> Tensor:
        return region_of(region).to(resampler.device, resampler.dtype)

    if resampler.is_pyramid:
        if pixels_per_cell is not None:
            check_cells(resampler, size, pixels_per_cell)
        values = resampler.encode_regions(pixels, size, latent_size, pixels_per_cell)
    else:
        whole = pixels((0, 0, *size))
        values = resampler.encode(whole, latent_size, pixels_per_cell=pixels_per_cell)
        if refinement:
            with progress(refinement, f"refining {path.name}") as advance:
                values = refine(resampler, values, whole, refinement, progress=lambda _: advance(1))
    return Latents(values, canvas_of(values) or size, (), resampler.checksum(), size)


def _regions(path: Path, channels: int, background: int) -> tuple[Pixels, Size]:
    """Return what gives the pixels of the regions of an image file, which may be larger than memory, and its size."""
    if is_read_in_regions(path):
        large = LargeImage(path, channels, background)
        return large.region, large.size
    whole = as_values(read_image(path, channels=channels, background=background)[None])
    return regions_of(whole), (whole.shape[-2], whole.shape[-1])


def what_is_lost(resampler: R2IR, path: Path, model: str) -> str | None:
    """Return a sentence on what an R2IR of one size loses of a picture, colours or details; None for nothing.

    A file that is read in tiles is not looked at.
    """
    size = tiff_size(path)
    if resampler.is_pyramid or (size and is_large(size)):
        return None
    picture = read_image(path, channels=None)
    side = resampler.config.sample_size
    in_colour = len(picture) == 3 and not picture.eq(picture[:1]).all()
    lost = ["the colours"] if in_colour and resampler.config.image_channels == 1 else []
    if max(picture.shape[1:]) > DETAILED * side:
        lost.append("fine details")
    if not lost:
        return None
    kind = {1: "grey", 3: "RGB"}[resampler.config.image_channels]
    return (
        f"model {model} was trained on {kind} pictures of {side} pixels a side and loses {' and '.join(lost)} of "
        f"{path}; --model pictures keeps them"
    )


def psnr_of(resampler: R2IR, latents: Latents, path: Path, background: int = 0) -> float:
    """PSNR in dB, of 8 bits, of what one latent of a pyramid holds, against the image file that was encoded."""
    pixels, size = _regions(path, resampler.config.image_channels, background)
    field = resampler.field(latents.values.to(resampler.device, resampler.dtype), latents.canvas)
    assert isinstance(field, CellField)
    squares = 0.0
    for region in tiles_by_block((0, 0, *size), field.blocks(size)):
        tiles = (as_levels(one[0]) for one in (field.render(size, region), pixels(region)))
        squares += numpy.square(numpy.subtract(*tiles, dtype=float)).sum()
    return 10 * math.log10(255**2 / max(1e-10, squares / (size[0] * size[1] * field.channels)))


def check_splats(resampler: R2IR, output: Path, model: str) -> None:
    """Raise InputError for a file of splats that cannot be written, or a model without splats."""
    if not resampler.has_splats:
        raise InputError(f"output {output} is a file of splats, which model {model} has none of; give an image file")
    check_writable(output)


def resample_splats(
    source: Path, output: Path, target: Target | None, region: Region | None, progress: Progress
) -> str:
    """Render a file of splats to a picture of a size, or a region of it, or write it in another format of splats.

    Returns what was written. Raises InputError for a file that cannot be read or written, or a size that is missing or
    given for splats.
    """
    splats, as_splats = read_splats(source), output.suffix.lower() in SUFFIXES
    if as_splats and (target or region):
        raise InputError(f"output {output} is a file of splats, which has no --size, --width, --height or --region")
    if as_splats:
        write_splats(output, splats)
        return f"{splats.centres.shape[1]} splats"
    if target is None:
        raise InputError(f"{source} has splats and no pixels; give --size, --width or --height, in pixels")
    # A file does not tell how finely its model was trained; so many samples show sharp edges as that does.
    samples = math.ceil(SAMPLES_BY_SPLATS * splats.centres.shape[1] ** 0.5)
    size = target.of(with_longer_side(SIDE, splats.extent))
    field, shown = SplatField(splats, samples), shown_size(size, region)
    check_output(output, shown, PixelFormat(field.channels))
    with torch.inference_mode():
        if is_large(shown):
            write_large(field, size, region, output, {"checksum of the splats": file_checksum(source)}, progress)
        else:
            check_fits_in_memory([shown], 1, field.channels)
            save_image(as_output(field.render(size, region), "pil")[0], output)
    return size_text(shown)


def write_as_splats(resampler: R2IR, latents: Latents, output: Path) -> int:
    """Write the splats of one latent to a file; return their number."""
    splats = resampler.splats(latents.values.to(resampler.device, resampler.dtype), latents.canvas)
    write_splats(output, splats)
    return splats.centres.shape[1]


def shown_size(size: Size, region: Region | None) -> Size:
    """Return the size of a picture, or of its rendered region. Raises InputError for a region outside it."""
    if region:
        check_region(region, size)
    return (region[2] - region[0], region[3] - region[1]) if region else size


def write_picture(
    resampler: R2IR,
    latents: Latents,
    size: Size,
    output: Path,
    precision: str,
    region: Region | None = None,
    progress: Progress = unseen,
) -> Size:
    """Decode one latent at `size`, or a region of it, to a file, in tiles if large; returns the picture's size."""
    shown = shown_size(size, region)
    values = latents.values.to(resampler.device, resampler.dtype)
    with autocast(precision, resampler.device):
        field = resampler.field(values, latents.canvas)
        if is_large(shown):
            # Latents depend on the precision too; an error that names it is easier to read.
            usable = usable_precision(precision, resampler.device)
            identity = {
                "precision": usable,
                "checksum of the model": resampler.checksum(),
                "checksum of the latents": checksum([values]),
            }
            write_large(field, size, region, output, identity, progress)
        else:
            check_fits_in_memory([shown], 1, field.channels)
            save_image(as_output(field.render(size, region), "pil")[0], output)
    return shown
