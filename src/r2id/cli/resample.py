"""`r2id resample`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from r2id.cli.models import GeneratorChoice, load_encoder
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
    """Picture files, and folders of them. With another model, one file, or a .safetensors file of one latent. Or one
    file of splats, .ply or .npz, which needs no model."""
    output: Path | None = None
    """File to write, its type by its suffix, or a folder; .svg, .ply and .npz hold splats. By default a single picture
    is written beside itself, with the size in its name."""
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
    from r2id.batch.one_picture import check_splats
    from r2id.batch.resampling import Target
    from r2id.files.latents import SUFFIX
    from r2id.files.splats import READ_SUFFIXES, SUFFIXES

    region = parse_region(config.region) if config.region else None
    ways = {name: getattr(config, name) for name in ("scale", "size", "width", "height")}
    # Checked before the model is loaded, which takes a moment.
    paths = (*config.images, *([config.output] if config.output else []))
    latents = [path for path in paths if path.suffix.lower() == SUFFIX]
    sized = any(value is not None for value in ways.values())
    if not config.images:
        raise InputError("no picture is given; give files, or folders of them")
    splats = [path for path in paths if path.suffix.lower() in SUFFIXES]
    read = [path for path in splats if path in config.images]
    for path in read:
        if path.suffix.lower() not in READ_SUFFIXES:
            raise InputError(f"{path} is a drawing and holds no pixels; give a picture, or its splats as .ply or .npz")
    keeps_size = config.model != "pictures" or latents or splats
    target = Target(**ways, region=region) if sized or not keeps_size else None
    if read:
        resample_splats(config, target)
        return
    if config.latent_size and latents and latents[0] in config.images:
        raise InputError(f"--latent-size is given and {latents[0]} is a latent already; leave it out")
    resampler, latent_size = load_encoder(config.model, config.latent_size, config.device, config.precision)
    if config.output and config.output in splats:
        check_splats(resampler, config.output, config.model)
    if resampler.is_pyramid and not latents:
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


def resample_splats(config: Resample, target: Target | None) -> None:
    """Render a file of splats, or write it in another format of splats."""
    from r2id.batch.one_picture import resample_splats as run

    if len(config.images) > 1 or config.output is None or config.resume:
        raise InputError("splats are resampled one file at a time, to an --output and without --resume")
    for name in ("latent_size", "background"):
        if getattr(config, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is given, which splats do not have; leave it out")
    if target and target.scale is not None:
        raise InputError(f"--scale is {target.scale:g} and splats have no pixels; give --size, --width or --height")
    region = parse_region(config.region) if config.region else None
    print(f"{config.output}: {run(config.images[0], config.output, target, region, progress)}")


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

    from r2id.batch.one_picture import (
        encode_file,
        read_latent,
        shown_size,
        what_is_lost,
        write_as_splats,
        write_picture,
    )
    from r2id.files.atomic import check_writable
    from r2id.files.large_reader import tiff_size
    from r2id.files.large_writer import check_output, check_suffix
    from r2id.files.latents import SUFFIX
    from r2id.files.pictures import PixelFormat
    from r2id.files.splats import SUFFIXES
    from r2id.runtime.memory import check_fits_in_memory

    keep, as_splats = output.suffix.lower() == SUFFIX, output.suffix.lower() in SUFFIXES
    if (keep or as_splats) and (target or region):
        what = "the latent" if keep else "splats"
        raise InputError(f"output {output} is a file of {what}, which has no --size, --scale or --region")
    # The size of most pictures is known only after reading.
    size = target.size if target and target.size else tiff_size(image)
    size = target.of(size) if target and size else size
    shown = shown_size(size, region) if size else (1, 1)
    if not (keep or as_splats):
        check_suffix(output, shown)
    if latent_size:
        check_fits_in_memory([latent_size], 1, resampler.features)
    if keep:
        check_writable(output)
    elif not as_splats:
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
        elif as_splats:
            print(f"{output}: {write_as_splats(resampler, latents, output)} splats")
            return
        else:
            size = latents.picture_size(resampler.longer_side(latents.size, latents.canvas))
            size = target.of(size) if target else size
            check_suffix(output, shown_size(size, region))
            shown = write_picture(resampler, latents, size, output, precision, region, progress)
    print(f"{output}: {size_text(shown)}")
