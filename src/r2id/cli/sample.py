"""`r2id sample`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from r2id.cli.models import RequestedSampling, check_labels, chosen_model, load_pipeline
from r2id.cli.parsing import check_seed, parse_labels
from r2id.cli.results import result_line
from r2id.errors import InputError
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import progress

if TYPE_CHECKING:
    from r2id.batch.pictures import Generation
    from r2id.diffusion.pipeline import R2Pipeline


@dataclass(frozen=True, kw_only=True)
class Sample(RequestedSampling):
    """Generate pictures of labels or texts and write each at every size."""

    output: Path
    """Folder to write to: OUTPUT/<H>x<W>/<index>-<label>.png, and all of a size in OUTPUT/<H>x<W>.png. With the
    suffix of an image, the file of a single picture, which may be larger than memory as .tif or .png; with .svg, .ply
    or .npz that of its splats, by a model such as mnist-splats."""
    labels: Annotated[str | None, tyro.conf.arg(aliases=["--class"])] = None
    """Labels, separated by commas, in any case; 0-9 is a range, unless it is a name. By default all that the model
    knows."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to show, for a model that was trained on captions; repeat it for more."""
    per_label: int = 1
    """Pictures of each label or prompt."""
    latent_size: Size | None = None
    """Height and width of the latents, by default the model's own. More than it learnt are sampled in stages."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, by default the model's own; repeat it for more sizes of the same pictures."""
    joint: bool = False
    """Sample all sizes as one picture, composed for the proportions of each."""
    panorama: bool = False
    """Generate a picture many times wider or higher than those of training, in overlapping windows, each of which shows
    the label or prompt."""
    seed: int = 0
    """Picture i is generated from seed + i, independently of the others."""
    batch_size: int = 100
    """Pictures generated at once."""
    compile: bool = False
    """Compile the denoising step: a minute or more at first, then faster steps. It pays for many pictures."""
    keep_latents: bool = False
    """Also write the latent of each picture to OUTPUT/latents/<index>.safetensors, for `decode` and `resample`."""
    resume: bool = False
    """Keep the pictures of an interrupted run; otherwise all are made anew. Either way, a folder that
    holds pictures of other settings is refused: remove it, or give another OUTPUT."""


def sample(config: tyro.conf.OmitArgPrefixes[Sample]) -> None:
    """Generate pictures of labels or texts and write each at every size."""
    from r2id.batch.pictures import Generation, Pictures, generate
    from r2id.diffusion.defaults import sampling_options
    from r2id.files.images import IMAGE_SUFFIXES
    from r2id.files.splats import SUFFIXES
    from r2id.runtime.memory import check_fits_in_memory
    from r2id.runtime.processes import Share

    if config.labels is not None and config.prompt:
        raise InputError(
            "--labels, or --class, and --prompt are both given; give the one that the model was trained on"
        )
    for name in ("per_label", "num_inference_steps", "batch_size"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    model = chosen_model(config.model, config.labels, config.prompt)
    check_labels(model, config.labels)
    pipeline = load_pipeline(model, config.device, config.precision, config.compile)
    known = pipeline.conditioner.label_names
    labels = parse_labels(config.labels, known) if config.labels is not None else list(config.prompt) or known
    if not labels:
        raise InputError("no text given; this model shows what --prompt says")
    if config.joint:
        check_joint(config.size, config.keep_latents)
    if config.panorama:
        check_panorama(config.size, config.joint, config.keep_latents)
    own = config.joint or config.panorama
    defaults = pipeline.defaults_on(None if own else next(iter(config.size), config.latent_size))
    latent_size, sizes = config.latent_size or defaults.latent_size, config.size or (defaults.size,)
    check_seed(config.seed)
    requests = [label for label in labels for _ in range(config.per_label)]
    if config.keep_latents and pipeline.resampler is None:
        raise InputError(f"model {model} works on pixels and has no latents to keep")
    how = Generation(
        seed=config.seed,
        latent_size=latent_size,
        precision=config.precision,
        joint=config.joint,
        panorama=config.panorama,
        **defaults.fill(sampling_options(config)),
    )
    if config.output.suffix.lower() in (*IMAGE_SUFFIXES, *SUFFIXES):
        if config.keep_latents:
            raise InputError(f"output {config.output} is one file; to keep latents as well, give a folder")
        return sample_one(pipeline, requests, sizes, how, config.output, model)
    check_fits_in_memory(sizes, min(len(requests), config.batch_size), 3)
    pictures = Pictures(config.output, requests, sizes, config.keep_latents)
    share = Share.of_this_process()
    made = generate(pipeline, pictures, how, config.batch_size, config.resume, progress)
    # The last process finds nothing missing.
    if not pictures.missing(range(len(requests))):
        pictures.write_grids(columns=max(config.per_label, 10))
    for size in sizes:
        where = f"of {size_text(size)} in {config.output / size_text(size)}{share}"
        print(result_line(made, len(share.of(len(requests))), "picture", where))
    if config.keep_latents:
        print(f"their latents in {pictures.latent_file(0).parent}")


def check_joint(sizes: Sequence[Size], keep_latents: bool) -> None:
    """Raise InputError unless a joint sample has several sizes, each with its own latents, which are not kept."""
    if len(set(sizes)) < 2:
        raise InputError("--joint is given without several sizes; repeat --size for each canvas")
    if keep_latents:
        raise InputError("--joint samples latents for each size, and --keep-latents keeps those of one; leave one out")


def check_panorama(sizes: Sequence[Size], joint: bool, keep_latents: bool) -> None:
    """Raise InputError unless a panorama has one size, and none of what belongs to pictures of one canvas."""
    if len(sizes) != 1:
        raise InputError(f"--panorama is given with {len(sizes)} sizes; give one --size")
    for name, given in (("--joint", joint), ("--keep-latents", keep_latents)):
        if given:
            raise InputError(f"--panorama and {name} are both given; leave one out")


def sample_one(
    pipeline: R2Pipeline, requests: Sequence[str], sizes: Sequence[Size], how: Generation, output: Path, model: str
) -> None:
    """Generate a single picture and write it, or its splats, to the file `output`; `model` names it in errors."""
    import torch

    from r2id.batch.one_picture import check_splats, write_as_splats, write_picture
    from r2id.files.images import save_image
    from r2id.files.large_writer import check_output
    from r2id.files.latents import Latents
    from r2id.files.pictures import PixelFormat
    from r2id.files.splats import SUFFIXES
    from r2id.runtime.precision import autocast

    if len(requests) != 1 or len(sizes) != 1:
        raise InputError(
            f"output {output} is one file and {len(requests) * len(sizes)} pictures were asked for; "
            "give a folder, or one label and one size"
        )
    if pipeline.resampler is None:
        raise InputError("this model works on pixels and has no resampler to decode one file with; give a folder")
    as_splats = output.suffix.lower() in SUFFIXES
    if as_splats:
        check_splats(pipeline.resampler, output, model)
        if how.panorama:
            raise InputError(f"output {output} is a file of splats, which --panorama has none of; give an image file")
    else:
        check_output(output, sizes[0], PixelFormat(pipeline.resampler.config.image_channels))
    generators = [torch.Generator().manual_seed(how.seed)]
    if how.panorama:
        with torch.inference_mode(), autocast(how.precision, pipeline.device):
            made = how.call(pipeline, requests, sizes, generators)
        save_image(made.images[0][0], output)
        print(f"{output}: {size_text(sizes[0])}")
        return
    with torch.inference_mode():
        with autocast(how.precision, pipeline.device):
            made = how.call(pipeline, requests, sizes, generators, "latent")
            latents = Latents.of(pipeline, made.latents)
        if as_splats:
            print(f"{output}: {write_as_splats(pipeline.resampler, latents, output)} splats")
            return
        shown = write_picture(pipeline.resampler, latents, sizes[0], output, how.precision, progress=progress)
    print(f"{output}: {size_text(shown)}")
