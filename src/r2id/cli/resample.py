"""`r2id resample`, `encode` and `decode`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from r2id.cli.models import GeneratorChoice, ModelChoice, autocast, load_encoder, load_resampler
from r2id.cli.parsing import parse_region
from r2id.errors import InputError
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import progress


@dataclass(frozen=True, kw_only=True)
class Resample(GeneratorChoice):
    """Encode an image to a latent and decode it at any size.

    The model can only show what it was trained on: the bundled one, single digits.
    """

    image: tyro.conf.Positional[Path]
    """Image file to encode, or a .safetensors file of one latent, which is decoded as it is."""
    output: Path
    """File to write, PNG or another type by its suffix; .safetensors keeps the latent and decodes nothing."""
    latent_size: Size | None = None
    """Height and width of the encoded latent; by default the model's own."""
    size: Size | None = None
    """Height and width of the whole decoded picture; by default the image's own."""
    region: str | None = None
    """Part of the decoded picture to render: top,left,bottom,right in its pixels."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""


def resample(config: tyro.conf.OmitArgPrefixes[Resample]) -> None:
    """Encode an image to a latent and decode it at any size."""
    import torch

    from r2id.batch.one_picture import encode_file, read_latent, shown_size, write_picture
    from r2id.files.atomic import check_writable
    from r2id.files.large_reader import tiff_size
    from r2id.files.large_writer import check_output, check_suffix
    from r2id.files.latents import SUFFIX
    from r2id.runtime.memory import check_fits_in_memory

    region = parse_region(config.region) if config.region else None
    keep = config.output.suffix.lower() == SUFFIX
    if keep and (config.size or region):
        raise InputError(f"output {config.output} is a file of the latent, which has no --size and no --region")
    # The size of most pictures is known only after reading.
    size = config.size or tiff_size(config.image)
    shown = shown_size(size, region) if size else (1, 1)
    if not keep:
        check_suffix(config.output, shown)
    resampler, latent_size = load_encoder(config, config.latent_size)
    check_fits_in_memory([latent_size], 1, 4 * resampler.config.dim)
    if keep:
        check_writable(config.output)
    else:
        check_output(config.output, shown, resampler.config.image_channels)
    with torch.inference_mode():
        is_latent = config.image.suffix.lower() == SUFFIX
        if is_latent:
            latents = read_latent(resampler, config.image, config.model)
        else:
            latents = encode_file(resampler, config.image, latent_size, config.background, progress)
        if keep:
            latents.save(config.output)
            shown = latents.size
        else:
            size = config.size or latents.picture_size(resampler.config.sample_size)
            check_suffix(config.output, shown_size(size, region))
            shown = write_picture(resampler, latents, size, config.output, config.precision, region, progress)
    print(f"{config.output}: {size_text(shown)}")


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
    latent_size: Size | None = None
    """Height and width of the latents; by default the model's own."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""
    caption_column: str | None = None
    """Column of the captions that are kept, by default text, caption or prompt."""
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
    from r2id.batch.one_picture import encode_file
    from r2id.data.loading import load_images
    from r2id.runtime.memory import check_fits_in_memory
    from r2id.runtime.processes import Share

    if config.batch_size < 1:
        raise InputError(f"--batch-size is {config.batch_size}; it must be at least 1")
    file = Path(config.data).expanduser()
    if file.is_file() and config.image_size:
        raise InputError(f"--image-size is given and {file} is one file, which is encoded as it is; leave it out")
    resampler, latent_size = load_encoder(config, config.latent_size)
    check_fits_in_memory([latent_size], 1, 4 * resampler.config.dim)
    share = Share.of_this_process()
    if file.is_file():
        settings = {"latent_size": latent_size, "background": config.background, "model": resampler.checksum()}
        with torch.inference_mode():
            made = encode_one(
                lambda: encode_file(resampler, file, latent_size, config.background, progress),
                file,
                settings,
                config.output,
                config.resume,
            )
        latents_of = "latent" if made == 1 else "latents"
        print(f"{made} {latents_of} of {size_text(latent_size)} in {config.output}{share}")
        return
    data = load_images(
        config.data,
        config.split,
        image_size=config.image_size,
        channels=resampler.config.image_channels,
        background=config.background,
        caption_column=config.caption_column,
    )
    made = run(resampler, data, latent_size, config.output, config.batch_size, config.resume, progress)
    latents_of = "latent" if made == 1 else "latents"
    print(f"{made} {latents_of} of {size_text(latent_size)} in {config.output}{share}")


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


def decode(config: tyro.conf.OmitArgPrefixes[Decode]) -> None:
    """Decode files of latents to pictures, at any number of sizes."""
    import torch

    from r2id.batch.pictures import Pictures
    from r2id.files.images import IMAGE_SUFFIXES, as_output, save_image
    from r2id.files.latents import SUFFIX, Latents
    from r2id.networks.resampler import decode_some_at_once
    from r2id.runtime.memory import check_fits_in_memory

    if config.output.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"output {config.output} is named as a file; give a folder, or decode one latent by resample")
    files = sorted(config.latents.glob(f"*{SUFFIX}")) if config.latents.is_dir() else [config.latents]
    if not files:
        raise InputError(f"{config.latents} holds no files of latents ({SUFFIX})")
    latents = Latents.joined([Latents.load(file) for file in files])
    resampler = load_resampler(config)
    latents.check_weights(resampler, config.latents, config.model)
    sizes = config.size or (latents.picture_size(resampler.config.sample_size),)
    check_fits_in_memory(sizes, 1, resampler.config.image_channels)
    pictures = Pictures(config.output, latents.labels or ("picture",) * len(latents.values), sizes)
    decoding = autocast(resampler.device, config)
    with progress(len(latents.values) * len(sizes), "decoding") as advance, torch.inference_mode(), decoding:
        for size in sizes:
            values = latents.values.to(resampler.device, resampler.dtype)
            indices = iter(range(len(values)))
            for images in decode_some_at_once(resampler, values, size, latents.canvas):
                for image in as_output(images, "pil"):
                    save_image(image, pictures.file(next(indices), size))
                    advance(1)
    pictures.write_grids(columns=10)
    for size in sizes:
        pictures_of = "picture" if len(latents.values) == 1 else "pictures"
        print(f"{len(latents.values)} {pictures_of} of {size_text(size)} in {config.output / size_text(size)}")
