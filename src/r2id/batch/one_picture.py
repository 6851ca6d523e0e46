"""Encoding one image file and decoding one latent to a file, of any size."""

from __future__ import annotations

from pathlib import Path

from r2id.errors import InputError
from r2id.files.checksums import checksum
from r2id.files.images import as_output, as_values, is_large, read_image, save_image
from r2id.files.large_reader import LargeImage, fits_at_once, tiff_size
from r2id.files.large_writer import write_large
from r2id.files.latents import Latents
from r2id.geometry.sizes import Region, Size, check_region
from r2id.networks.resampler import R2IR
from r2id.runtime.memory import check_fits_in_memory
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.progress import Progress, unseen


def read_latent(resampler: R2IR, path: Path, model: str) -> Latents:
    """Read a file of one latent. Raises InputError for more latents, or other weights than those of `model`."""
    latents = Latents.load(path)
    latents.check_weights(resampler, path, model)
    if len(latents.values) != 1:
        raise InputError(f"{path} holds {len(latents.values)} latents; decode shows them all, resample one")
    return latents


def encode_file(
    resampler: R2IR, path: Path, latent_size: Size, background: int = 0, progress: Progress = unseen
) -> Latents:
    """Encode an image file. A large tiled TIFF is read tile by tile."""
    channels = resampler.config.image_channels
    size = tiff_size(path)
    if size and is_large(size) and not fits_at_once(path, size):
        image = LargeImage(path, channels, background)
        with progress(size[0] * size[1], f"reading {path.name}") as advance:
            chunks = ((y, x, pixels.to(resampler.device, resampler.dtype)) for y, x, pixels in image.chunks(advance))
            values = resampler.encode_chunks(chunks, size, latent_size)
            return Latents(values, size, (), resampler.checksum(), size)
    whole = read_image(path, channels=channels, background=background)
    pixels = as_values(whole[None]).to(resampler.device, resampler.dtype)
    size = (whole.shape[-2], whole.shape[-1])
    return Latents(resampler.encode(pixels, latent_size), size, (), resampler.checksum(), size)


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
