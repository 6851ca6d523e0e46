"""`r2id encode` and `decode`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from r2id.cli.models import GeneratorChoice, ModelChoice, load_encoder, load_resampler
from r2id.cli.results import result_line
from r2id.errors import InputError
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import progress

if TYPE_CHECKING:
    from r2id.networks.resampler import R2IR


@dataclass(frozen=True, kw_only=True)
class Encode(ModelChoice):
    """Encode a data set to files of latents, shared between the processes of `accelerate launch`."""

    output: Path
    """Folder to write to: OUTPUT/<index of the first image>.safetensors for each batch."""
    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, the id of a dataset on the Hugging Face hub, or a single
    image file, which may be larger than memory as a tiled .tif."""
    split: str = "train"
    """Split of the data."""
    image_size: Size | None = None
    """Height and width to resize every image to; by default none, which needs images of one size."""
    keep_proportions: bool = False
    """Resize every image to about as many pixels as --image-size, in its own proportions and whole cells. Latents of
    each size are in a folder of their own, OUTPUT/HxW."""
    pad_to: Size | None = None
    """Height and width of a canvas with every image in its middle, and the background around it, to train on canvases
    of several proportions."""
    latent_size: Size | None = None
    """Height and width of the latents; by default the model's own, or those of `--pixels-per-cell`."""
    pixels_per_cell: float | None = None
    """Pixels along a side for each latent, for `--model pictures`, such as 16, 8 or 4: fewer keep more; by default the
    model's own. For a single image file, bytes a pixel and PSNR are printed."""
    dtype: Literal["float16", "uint8"] = "float16"
    """Type of the numbers in the files; uint8 takes half the bytes."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""
    caption_column: str | None = None
    """Column of the captions that are kept, by default text, caption or prompt."""
    refine: int = 0
    """Gradient steps, such as 100, that bring the picture of each latent closer to the image than one pass does."""
    mirrored: bool = False
    """Mirror the images from left to right first, to train on both; a training tells the network which are."""
    batch_size: int = 1000
    """Images per file."""
    resume: bool = False
    """Keep the files of an interrupted run; otherwise all are made anew. Either way, a folder that
    holds latents of other settings is refused: remove it, or give another OUTPUT."""


def encode(config: tyro.conf.OmitArgPrefixes[Encode]) -> None:
    """Encode a data set to files of latents, shared between the processes of `accelerate launch`."""
    import torch

    from r2id.batch.encoding import encode as run
    from r2id.batch.encoding import encode_one
    from r2id.batch.one_picture import check_cells, encode_file
    from r2id.data.loading import check_one_size, load_sizes
    from r2id.runtime.memory import check_fits_in_memory
    from r2id.runtime.processes import Share

    if config.batch_size < 1:
        raise InputError(f"--batch-size is {config.batch_size}; it must be at least 1")
    file = Path(config.data).expanduser()
    if file.is_file() and config.image_size:
        raise InputError(f"--image-size is given and {file} is one file, which is encoded as it is; leave it out")
    for name in ("mirrored", "keep_proportions", "pad_to"):
        if file.is_file() and getattr(config, name):
            raise InputError(f"--{name.replace('_', '-')} is given and {file} is one file; it is for data sets")
    if config.refine < 0:
        raise InputError(f"--refine is {config.refine}; it must be at least 0")
    resampler, latent_size = load_encoder(config.model, config.latent_size, config.device)
    if config.refine and resampler.is_pyramid:
        raise InputError(f"--refine is {config.refine}; model {config.model} reads pictures in parts, so leave it out")
    if config.pixels_per_cell is not None and latent_size:
        raise InputError(
            f"--pixels-per-cell is {config.pixels_per_cell:g}; it is for a picture or a folder by a model such as "
            "pictures, without --latent-size"
        )
    pixels = config.pixels_per_cell
    if latent_size:
        check_fits_in_memory([latent_size], 1, resampler.features)
    elif pixels is None:
        pixels = resampler.config.pixels_per_cell
    if file.is_file() and pixels is not None:
        encode_photograph(
            resampler,
            file,
            config.output,
            pixels,
            background=config.background,
            dtype=config.dtype,
            resume=config.resume,
        )
        return
    share = Share.of_this_process()
    if file.is_file() and latent_size:
        settings = {"latent_size": latent_size, "background": config.background, "model": resampler.checksum()}
        settings["refine"] = config.refine
        with torch.inference_mode():
            made = encode_one(
                lambda: encode_file(
                    resampler, file, latent_size, config.background, progress, refinement=config.refine
                ),
                file,
                settings,
                config.output,
                config.resume,
                config.dtype,
            )
        print(
            result_line(made, int(not share.index), "latent", f"of {size_text(latent_size)} in {config.output}{share}")
        )
        return
    if config.keep_proportions and pixels is None:
        raise InputError("--keep-proportions is given; it is for a model such as pictures")
    every_size = load_sizes(
        config.data,
        config.split,
        image_size=config.image_size,
        keep_proportions=config.keep_proportions,
        multiple=None if pixels is None else max(1, round(pixels)),
        pad_to=config.pad_to,
        channels=resampler.config.image_channels,
        background=config.background,
        caption_column=config.caption_column,
    )
    if not config.keep_proportions:
        check_one_size(every_size)
    how = (config.batch_size, config.resume, progress, config.dtype, pixels, config.mirrored, config.refine)
    for data in every_size:
        size = latent_size if pixels is None else check_cells(resampler, data.image_size, pixels)
        assert size
        folder = config.output / size_text(data.image_size) if config.keep_proportions else config.output
        made, of_share = run(resampler, data, latent_size, folder, *how)
        print(result_line(made, of_share, "latent", f"of {size_text(size)} in {folder}{share}"))


def encode_photograph(
    resampler: R2IR, file: Path, output: Path, pixels: float, *, background: int, dtype: str, resume: bool
) -> None:
    """Encode one picture to as many latents as it needs, and print what they cost and keep."""
    import torch

    from r2id.batch.encoding import encode_one
    from r2id.batch.one_picture import encode_file, psnr_of
    from r2id.files.latents import SUFFIX, Latents
    from r2id.runtime.processes import Share

    settings = {"pixels_per_cell": pixels, "background": background, "model": resampler.checksum()}
    with torch.inference_mode():
        made = encode_one(
            lambda: encode_file(resampler, file, None, background, progress, pixels),
            file,
            settings,
            output,
            resume,
            dtype,
        )
        if not made:
            share = Share.of_this_process()
            print(result_line(0, int(not share.index), "latent", f"in {output}{share}"))
            return
        path = output / f"{0:08d}{SUFFIX}"
        latents = Latents.load(path)
        height, width = latents.picture_size(0)
        cost = path.stat().st_size / (height * width)
        psnr = psnr_of(resampler, latents, file, background)
    print(f"{path}: {size_text(latents.size)} latents, {cost:.3f} bytes a pixel, PSNR {psnr:.2f} dB")


@dataclass(frozen=True, kw_only=True)
class Decode(GeneratorChoice):
    """Decode files of latents to pictures, at any number of sizes."""

    latents: tyro.conf.Positional[Path]
    """A file of latents, or a folder of such, from `encode` or `sample --keep-latents`."""
    output: Path
    """Folder to write to: OUTPUT/<H>x<W>/<index>-<label>.png, and all of a size in OUTPUT/<H>x<W>.png."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, by default those that were encoded or sampled, or else in the canvas's
    proportions with as many pixels along the longer side as the model was trained on; repeat it for more."""
    scale: float | None = None
    """Factor of that default, instead of a size, such as 2.5."""


def decode(config: tyro.conf.OmitArgPrefixes[Decode]) -> None:
    """Decode files of latents to pictures, at any number of sizes."""
    import torch

    from r2id.batch.pictures import Pictures
    from r2id.batch.resampling import Target
    from r2id.files.images import IMAGE_SUFFIXES, as_output, save_image
    from r2id.files.latents import SUFFIX, Latents
    from r2id.networks.batches import decode_some_at_once
    from r2id.runtime.memory import check_fits_in_memory
    from r2id.runtime.precision import autocast

    if config.size and config.scale is not None:
        raise InputError(f"--size and --scale {config.scale:g} are given; give one of them")
    if config.output.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"output {config.output} is named as a file; give a folder, or decode one latent by resample")
    files = sorted(config.latents.glob(f"*{SUFFIX}")) if config.latents.is_dir() else [config.latents]
    if not files:
        raise InputError(f"{config.latents} holds no files of latents ({SUFFIX})")
    latents = Latents.joined([Latents.load(file) for file in files])
    resampler = load_resampler(config.model, config.device, config.precision)
    latents.check_weights(resampler, config.latents, config.model)
    own = latents.picture_size(resampler.longer_side(latents.size, latents.canvas))
    sizes = config.size or (own if config.scale is None else Target(scale=config.scale).of(own),)
    check_fits_in_memory(sizes, 1, resampler.config.image_channels)
    pictures = Pictures(config.output, latents.labels or ("picture",) * len(latents.values), sizes)
    decoding = autocast(config.precision, resampler.device)
    with progress(len(latents.values) * len(sizes), "decoding") as advance, torch.inference_mode(), decoding:
        for size in sizes:
            values = latents.values.to(resampler.device, resampler.dtype)
            indices = iter(range(len(values)))
            for images in decode_some_at_once(resampler, values, size, latents.canvas):
                for image in as_output(images, "pil"):
                    save_image(image, pictures.file(next(indices), size))
                    advance(1)
    pictures.write_grids(columns=10)
    count = len(latents.values)
    for size in sizes:
        print(result_line(count, count, "picture", f"of {size_text(size)} in {config.output / size_text(size)}"))
