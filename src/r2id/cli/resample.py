"""`r2id resample`, `encode` and `decode`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from r2id.cli.models import GeneratorChoice, ModelChoice, load_encoder, load_resampler
from r2id.cli.parsing import parse_region
from r2id.cli.results import result_line
from r2id.errors import InputError
from r2id.geometry.sizes import Region, Size, size_text
from r2id.runtime.progress import progress

if TYPE_CHECKING:
    from r2id.batch.resampling import Target
    from r2id.networks.resampler import R2IR


@dataclass(frozen=True, kw_only=True)
class Resample(GeneratorChoice):
    """Make pictures larger or smaller.

    The bundled model `pictures` takes photographs and drawings of any size. Any other resamples what it was trained on:
    `--model mnist`, one picture of a digit.
    """

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Picture files, and folders of them. With another model, one file, or a .safetensors file of one latent."""
    output: Path | None = None
    """File to write, its type by its suffix, or a folder. By default a single picture is written beside itself, with
    the size in its name."""
    scale: float | None = None
    """Factor of height and width, such as 2.5, or 0.5 for half of them."""
    size: Size | None = None
    """Height and width of the resampled picture."""
    width: int | None = None
    """Its width; its height keeps the proportions."""
    height: int | None = None
    """Its height; its width keeps the proportions."""
    region: str | None = None
    """Part of the resampled picture to render: top,left,bottom,right in its pixels."""
    background: int | None = None
    """Grey level, 0 to 255, behind transparent pixels; by default they stay transparent, or are black with another
    model."""
    resume: bool = False
    """Keep pictures in the folder OUTPUT that are there already and no older than their sources; otherwise all are made
    anew. Either way, a folder that holds pictures of other settings is refused."""
    latent_size: Size | None = None
    """Height and width of the latent that another model encodes to; by default the model's own, and for `pictures` one
    for each 16x16 pixels. With an output of suffix .safetensors the latent is kept, and nothing is decoded."""
    model: str = "pictures"
    """A folder, bundled weights, or a Hugging Face hub id."""


def resample(config: tyro.conf.OmitArgPrefixes[Resample]) -> None:
    """Make pictures larger or smaller."""
    from r2id.batch.resampling import Target
    from r2id.files.latents import SUFFIX

    region = parse_region(config.region) if config.region else None
    ways = {name: getattr(config, name) for name in ("scale", "size", "width", "height")}
    # Checked before the model is loaded, which takes a moment.
    paths = (*config.images, *([config.output] if config.output else []))
    latents = [path for path in paths if path.suffix.lower() == SUFFIX]
    sized = any(value is not None for value in ways.values())
    target = Target(**ways, region=region) if sized or (config.model == "pictures" and not latents) else None
    if not config.images:
        raise InputError("no picture is given; give files, or folders of them")
    if config.latent_size and latents and latents[0] in config.images:
        raise InputError(f"--latent-size is given and {latents[0]} is a latent already; leave it out")
    resampler, latent_size = load_encoder(config.model, config.latent_size, config.device, config.precision)
    if resampler.config.attention == "pyramid" and not latents:
        if config.latent_size:
            raise InputError(f"--latent-size is given; {config.model} has as many latents as a picture needs")
        resample_pictures(
            resampler,
            config.images,
            config.output,
            target or Target(**ways, region=region),
            precision=config.precision,
            background=config.background,
            resume=config.resume,
        )
        return
    if len(config.images) > 1 or config.output is None or config.resume:
        raise InputError(f"model {config.model} takes one picture, an --output and no --resume")
    through_latent(
        resampler,
        config.images[0],
        config.output,
        latent_size,
        target,
        region,
        model=config.model,
        precision=config.precision,
        background=config.background or 0,
    )


def resample_pictures(
    resampler: R2IR,
    images: Sequence[Path],
    output: Path | None,
    target: Target,
    *,
    precision: str,
    background: int | None,
    resume: bool,
) -> None:
    """Resample any number of pictures with all that their files hold, as for `r2id resample`."""
    from dataclasses import asdict

    from r2id.batch.resampling import Job, jobs_for, resample_file, resample_files
    from r2id.runtime.precision import usable_precision
    from r2id.runtime.processes import Share

    jobs, left_out = jobs_for(images, output, target)

    def run(job: Job) -> Size:
        return resample_file(resampler, job.source, job.output, target, precision, background, progress)

    if output is None or jobs[0].output == output:
        if resume:
            raise InputError("--resume is given for one output file; it is for a folder of them, leave it out")
        print(f"{jobs[0].output}: {size_text(run(jobs[0]))}")
        return
    settings = asdict(target) | {
        "background": background,
        "precision": usable_precision(precision, resampler.device),
        "model": resampler.checksum(),
    }
    made, failures = resample_files(jobs, run, output, settings, resume, progress)
    share = Share.of_this_process()
    kept_or_made = len(share.of(len(jobs))) - len(failures)
    print(result_line(made, kept_or_made, "picture", f"in {output}{share}"))
    if left_out:
        print(f"r2id: left out {left_out} {'file' if left_out == 1 else 'files'} in no picture format", file=sys.stderr)
    for sentence in failures:
        print(f"r2id: {sentence}", file=sys.stderr)
    if failures:
        sys.exit(1)


def through_latent(
    resampler: R2IR,
    image: Path,
    output: Path,
    latent_size: Size | None,
    target: Target | None,
    region: Region | None,
    *,
    model: str,
    precision: str,
    background: int,
) -> None:
    """Encode one picture to a latent of some size, or read one, and decode or keep it; `model` names it in errors."""
    import torch

    from r2id.batch.one_picture import encode_file, read_latent, shown_size, what_is_lost, write_picture
    from r2id.files.atomic import check_writable
    from r2id.files.large_reader import tiff_size
    from r2id.files.large_writer import check_output, check_suffix
    from r2id.files.latents import SUFFIX
    from r2id.files.pictures import PixelFormat
    from r2id.runtime.memory import check_fits_in_memory

    keep = output.suffix.lower() == SUFFIX
    if keep and (target or region):
        raise InputError(f"output {output} is a file of the latent, which has no --size, --scale or --region")
    # The size of most pictures is known only after reading.
    size = target.size if target and target.size else tiff_size(image)
    size = target.of(size) if target and size else size
    shown = shown_size(size, region) if size else (1, 1)
    if not keep:
        check_suffix(output, shown)
    if latent_size:
        check_fits_in_memory([latent_size], 1, resampler.features)
    if keep:
        check_writable(output)
    else:
        check_output(output, shown, PixelFormat(resampler.config.image_channels))
    with torch.inference_mode():
        if image.suffix.lower() == SUFFIX:
            latents = read_latent(resampler, image, model)
        else:
            if lost := what_is_lost(resampler, image, model):
                print(f"r2id: {lost}", file=sys.stderr)
            pixels = None if latent_size else resampler.config.pixels_per_cell
            latents = encode_file(resampler, image, latent_size, background, progress, pixels)
        if keep:
            latents.save(output)
            shown = latents.size
        else:
            size = latents.picture_size(resampler.longer_side(latents.size, latents.canvas))
            size = target.of(size) if target else size
            check_suffix(output, shown_size(size, region))
            shown = write_picture(resampler, latents, size, output, precision, region, progress)
    print(f"{output}: {size_text(shown)}")


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
    from r2id.data.loading import load_images
    from r2id.runtime.memory import check_fits_in_memory
    from r2id.runtime.processes import Share

    if config.batch_size < 1:
        raise InputError(f"--batch-size is {config.batch_size}; it must be at least 1")
    file = Path(config.data).expanduser()
    if file.is_file() and config.image_size:
        raise InputError(f"--image-size is given and {file} is one file, which is encoded as it is; leave it out")
    if file.is_file() and config.mirrored:
        raise InputError(f"--mirrored is given and {file} is one file; it is for data sets to train on")
    resampler, latent_size = load_encoder(config.model, config.latent_size, config.device)
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
        with torch.inference_mode():
            made = encode_one(
                lambda: encode_file(resampler, file, latent_size, config.background, progress),
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
    data = load_images(
        config.data,
        config.split,
        image_size=config.image_size,
        channels=resampler.config.image_channels,
        background=config.background,
        caption_column=config.caption_column,
    )
    size = latent_size
    if pixels is not None:
        size = check_cells(resampler, data.image_size, pixels)
    assert size
    how = (config.output, config.batch_size, config.resume, progress, config.dtype, pixels, config.mirrored)
    made, of_share = run(resampler, data, latent_size, *how)
    print(result_line(made, of_share, "latent", f"of {size_text(size)} in {config.output}{share}"))


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
    from r2id.networks.resampler import decode_some_at_once
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
