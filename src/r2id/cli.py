"""The command line. Nothing heavy is imported before a command runs, so help is instant."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import tyro

from r2id.errors import InputError
from r2id.progress import progress
from r2id.sizes import Region, Size, check_region, size_text
from r2id.training.presets import (
    DIFFUSER_PRESETS,
    PRESET_NOTES,
    RESAMPLER_PRESETS,
    DiffuserTraining,
    ResamplerTraining,
)

if TYPE_CHECKING:
    import torch

    from r2id.latents import Latents
    from r2id.pipeline import R2Pipeline
    from r2id.resampler import R2IR
    from r2id.training.data import ImageDataset


def parse_size(text: str) -> Size:
    """ "27x18" → (27, 18). Raises InputError for anything but two whole numbers of at least 1."""
    # More digits than any format takes, and few enough to be counted with.
    sides = re.fullmatch("([0-9]{1,18})x([0-9]{1,18})", text.lower())
    if not sides:
        raise InputError(f"size {text!r} is not HxW, a height and a width in pixels such as 27x18")
    height, width = map(int, sides.groups())
    if height < 1 or width < 1:
        raise InputError(f"size {text!r} is empty; height and width must be at least 1")
    return height, width


def parse_region(text: str) -> tuple[int, int, int, int]:
    """ "0,0,16,16" → (0, 0, 16, 16). Raises InputError for anything but four whole numbers."""
    parts = text.split(",")
    try:
        top, left, bottom, right = (int(part) for part in parts)
    except ValueError:
        raise InputError(
            f"region {text!r} is not top,left,bottom,right in pixels of the output, such as 0,0,16,16"
        ) from None
    return top, left, bottom, right


def parse_labels(text: str) -> list[str]:
    """ "0-3,7,cat" → ["0", "1", "2", "3", "7", "cat"]: names separated by commas, and ranges of whole numbers."""
    labels: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        numbers = re.fullmatch("([0-9]+)-([0-9]+)", part)
        if numbers:
            first, last = numbers.groups()
            if max(len(first), len(last)) > 9 or not 0 <= int(last) - int(first) <= 100_000:
                raise InputError(f"label range {part!r} is not low-high, such as 0-9")
            labels += [str(number) for number in range(int(first), int(last) + 1)]
        elif part:
            labels.append(part)
    if not labels:
        raise InputError(f"labels {text!r} names none; give names or ranges separated by commas, such as 0-9")
    return labels


class OptionError(Exception):
    """An option that cannot be read. No ValueError, which tyro would put into a box of its own words."""


def _read_option(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except InputError as error:
        raise OptionError(str(error)) from error


SIZES = tyro.constructors.ConstructorRegistry()


@SIZES.primitive_rule
def _size_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    if get_origin(type_info.type) is not tuple or get_args(type_info.type) != (int, int):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="HxW",
        instance_from_str=lambda arguments: _read_option(parse_size, arguments[0]),
        is_instance=lambda value: isinstance(value, tuple) and len(value) == 2,
        str_from_instance=lambda size: [f"{size[0]}x{size[1]}"],
    )


app = tyro.extras.SubcommandApp()
train_app = tyro.extras.SubcommandApp()
app.command(train_app, name="train", help="Train one of the two networks, from a preset.")


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model runs, where and how."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""
    device: str | None = None
    """Device such as cpu or cuda; by default the GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class GeneratorChoice(ModelChoice):
    """Which model makes pictures, where and how."""

    precision: Literal["no", "bf16"] = "no"
    """Precision of the networks: no is float32 (on GPUs TensorFloat32); bf16 is faster, and pictures differ a little. A
    device without units for bf16 computes in float32."""


@dataclass(frozen=True, kw_only=True)
class Sampling(GeneratorChoice):
    """How to denoise."""

    steps: int = 20
    """Denoising steps."""
    guidance: float = 4.0
    """Strength of classifier-free guidance; 1 is none."""
    guidance_interval: tuple[float, float] = (0.3, 0.8)
    """From which to which time, 0 clean to 1 noise, guidance is applied."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the pipeline's call."""
        return {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "guidance_interval": self.guidance_interval,
        }


@dataclass(frozen=True, kw_only=True)
class Sample(Sampling):
    """Generate pictures of labels or texts and write each at every size."""

    output: Path
    """Folder to write to: OUTPUT/<H>x<W>/<index>-<label>.png, and all of a size in OUTPUT/<H>x<W>.png. With the
    suffix of an image, the file of a single picture, which may be larger than memory as .tif or .png."""
    labels: str | None = None
    """Labels, separated by commas; 0-9 is a range. By default all that the model knows."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to show, for a model that was trained on captions; repeat it for more."""
    per_label: int = 1
    """Pictures of each label or prompt."""
    latent_size: Size = (8, 8)
    """Height and width of the latents."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, by default those of training; repeat it for more sizes of the same pictures."""
    seed: int = 0
    """Picture number i is drawn from seed + i, whatever else is generated with it."""
    batch_size: int = 100
    """Pictures generated at once."""
    keep_latents: bool = False
    """Write the latent of each picture to OUTPUT/latents/<index>.safetensors, too, which `decode` and `resample` read.
    """
    resume: bool = False
    """Keep the pictures of an interrupted run that are there already; otherwise all are made anew."""


@app.command(name="sample")
def sample(config: tyro.conf.OmitArgPrefixes[Sample]) -> None:
    """Generate pictures of labels or texts and write each at every size."""
    from r2id.images import IMAGE_SUFFIXES
    from r2id.offline import Pictures, generate
    from r2id.pipeline import check_fits_in_memory
    from r2id.precision import usable_precision
    from r2id.processes import Share

    labels = parse_labels(config.labels) if config.labels is not None else list(config.prompt)
    if config.labels is not None and config.prompt:
        raise InputError("--labels and --prompt are both given; give the one that the model was trained on")
    for name in ("per_label", "steps", "batch_size"):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; it must be at least 1")
    pipeline = load_pipeline(config)
    labels = labels or pipeline.conditioner.label_names
    if not labels:
        raise InputError("no text given; this model shows what --prompt says")
    if not config.size and pipeline.diffuser.config.canvas is None:
        raise InputError("this model was trained on pictures of several sizes; give --size")
    sizes = config.size or (tuple(pipeline.diffuser.config.canvas),)
    check_seed(config.seed)
    requests = [label for label in labels for _ in range(config.per_label)]
    if config.keep_latents and pipeline.resampler is None:
        raise InputError(f"model {config.model} works on pixels and has no latents to keep")
    if config.output.suffix.lower() in IMAGE_SUFFIXES:
        return sample_one(pipeline, config, requests, sizes)
    check_fits_in_memory(sizes, min(len(requests), config.batch_size), 3)
    pictures = Pictures(config.output, requests, sizes, config.keep_latents)
    settings = asdict(config) | {"labels": requests, "model": pipeline.checksum()}
    settings["precision"] = usable_precision(config.precision, pipeline.device)
    for name in ("output", "resume", "batch_size", "device", "per_label", "prompt", "keep_latents"):
        settings.pop(name)
    share = Share.of_this_process()
    with autocast(pipeline.device, config):
        made = generate(
            pipeline,
            pictures,
            config.latent_size,
            config.seed,
            config.batch_size,
            config.resume,
            settings,
            config.arguments,
            progress,
        )
    # Whichever process is last finds nothing missing.
    if not pictures.missing(range(len(requests))):
        pictures.write_grids(columns=max(config.per_label, 10))
    for size in sizes:
        pictures_of = "picture" if made == 1 else "pictures"
        print(f"{made} {pictures_of} of {size_text(size)} in {config.output / size_text(size)}{share}")
    if config.keep_latents:
        print(f"their latents in {pictures.latent_file(0).parent}")


def sample_one(pipeline: R2Pipeline, config: Sample, requests: Sequence[str], sizes: Sequence[Size]) -> None:
    """Generate a single picture and write it to the file `config.output`."""
    import torch

    from r2id.large import check_output

    if config.keep_latents:
        raise InputError(f"output {config.output} is one file; to keep latents as well, give a folder")
    if len(requests) != 1 or len(sizes) != 1:
        raise InputError(
            f"output {config.output} is one file and {len(requests) * len(sizes)} pictures were asked for; "
            "give a folder, or one label and one size"
        )
    if pipeline.resampler is None:
        raise InputError("this model works on pixels and has no resampler to decode one file with; give a folder")
    check_output(config.output, sizes[0], pipeline.resampler.config.image_channels)
    with torch.inference_mode():
        with autocast(pipeline.device, config):
            generator = torch.Generator().manual_seed(config.seed)
            latents = pipeline(requests, config.latent_size, [], generator=generator, **config.arguments).latents
        canvas = pipeline.diffuser.config.canvas or config.latent_size
        shown = write_picture(pipeline.resampler, latents, tuple(canvas), sizes[0], None, config)
    print(f"{config.output}: {size_text(shown)}")


@dataclass(frozen=True, kw_only=True)
class Resample(GeneratorChoice):
    """Encode an image to a latent and decode it at any size.

    The model can only show what it was trained on: the bundled one, single digits.
    """

    image: tyro.conf.Positional[Path]
    """Image file to encode, or a .safetensors file of one latent, which is decoded as it is."""
    output: Path
    """File to write, PNG or another type by its suffix; .safetensors keeps the latent and decodes nothing."""
    latent_size: Size = (8, 8)
    """Height and width of the latent that an image is encoded to."""
    size: Size | None = None
    """Height and width of the whole decoded picture; by default the image's own."""
    region: str | None = None
    """Part of the decoded picture to render: top,left,bottom,right in its pixels."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""


@app.command(name="resample")
def resample(config: tyro.conf.OmitArgPrefixes[Resample]) -> None:
    """Encode an image to a latent and decode it at any size."""
    import torch

    from r2id.files import check_writable
    from r2id.large import check_output, check_suffix, tiff_size
    from r2id.latents import SUFFIX
    from r2id.pipeline import check_fits_in_memory

    region = parse_region(config.region) if config.region else None
    keep = config.output.suffix.lower() == SUFFIX
    if keep and (config.size or region):
        raise InputError(f"output {config.output} is a file of the latent, which has no --size and no --region")
    # Of most pictures it is known only when they are read.
    size = config.size or tiff_size(config.image)
    shown = shown_size(size, region) if size else (1, 1)
    if not keep:
        check_suffix(config.output, shown)
    resampler = load_resampler(config)
    check_fits_in_memory([config.latent_size], 1, 4 * resampler.config.dim)
    if keep:
        check_writable(config.output)
    else:
        check_output(config.output, shown, resampler.config.image_channels)
    with torch.inference_mode():
        is_latent = config.image.suffix.lower() == SUFFIX
        latents = read_latent(resampler, config) if is_latent else encode_file(resampler, config.image, config)
        if keep:
            latents.save(config.output)
            shown = latents.size
        else:
            size = config.size or latents.canvas
            check_suffix(config.output, shown_size(size, region))
            values = latents.values.to(resampler.device, resampler.dtype)
            shown = write_picture(resampler, values, latents.canvas, size, region, config)
    print(f"{config.output}: {size_text(shown)}")


def read_latent(resampler: R2IR, config: Resample) -> Latents:
    """The one latent that the file `config.image` holds."""
    from r2id.latents import Latents

    latents = Latents.load(config.image)
    latents.check_weights(resampler, config.image, config.model)
    if len(latents.values) != 1:
        raise InputError(f"{config.image} holds {len(latents.values)} latents; decode shows them all, resample one")
    return latents


def encode_file(resampler: R2IR, path: Path, config: Resample | Encode) -> Latents:
    """The latent of an image file. A large TIFF is read tile by tile."""
    from r2id.images import as_values, read_image
    from r2id.large import LargeImage, is_large, tiff_size
    from r2id.latents import Latents

    channels = resampler.config.image_channels
    size = tiff_size(path)
    if size and is_large(size):
        image = LargeImage(path, channels, config.background)
        with progress(size[0] * size[1], f"reading {path.name}") as advance:
            pieces = ((y, x, pixels.to(resampler.device, resampler.dtype)) for y, x, pixels in image.pieces(advance))
            return Latents(resampler.encode_pieces(pieces, size, config.latent_size), size, (), resampler.checksum())
    whole = read_image(path, channels=channels, background=config.background)
    pixels = as_values(whole[None]).to(resampler.device, resampler.dtype)
    canvas = (whole.shape[-2], whole.shape[-1])
    return Latents(resampler.encode(pixels, config.latent_size), canvas, (), resampler.checksum())


def shown_size(size: Size, region: Region | None) -> Size:
    """Size of a picture, or of the region of it that is rendered. Raises InputError for a region outside of it."""
    if region:
        check_region(region, size)
    return (region[2] - region[0], region[3] - region[1]) if region else size


def write_picture(
    resampler: R2IR,
    latent: torch.Tensor,
    canvas: Size,
    size: Size,
    region: Region | None,
    config: Sample | Resample,
) -> Size:
    """Decode one latent at `size`, or a region of that, to a file, a large one in tiles; returns the picture's size."""
    from r2id.images import save_image
    from r2id.large import is_large, write_large
    from r2id.model import checksum
    from r2id.pipeline import as_output, check_fits_in_memory
    from r2id.precision import usable_precision

    shown = shown_size(size, region)
    with autocast(resampler.device, config):
        field = resampler.field(latent, canvas)
        if is_large(shown):
            # Latents depend on the precision too, which is the more readable difference.
            precision = usable_precision(config.precision, resampler.device)
            identity = {"precision": precision, "model": resampler.checksum(), "latent": checksum([latent])}
            write_large(field, size, region, config.output, identity, progress)
        else:
            check_fits_in_memory([shown], 1, field.channels)
            save_image(as_output(field.render(size, region), "pil")[0], config.output)
    return shown


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
    """Height and width that every image is resized to; by default as they are, all of one size."""
    latent_size: Size = (8, 8)
    """Height and width of the latents."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""
    batch_size: int = 1000
    """Images per file."""
    resume: bool = False
    """Keep the files of an interrupted run that are there already; otherwise all are made anew."""


@app.command(name="encode")
def encode(config: tyro.conf.OmitArgPrefixes[Encode]) -> None:
    """Encode a data set to files of latents, shared between the processes of `accelerate launch`."""
    import torch

    from r2id.offline import encode as run
    from r2id.offline import encode_one
    from r2id.pipeline import check_fits_in_memory
    from r2id.processes import Share
    from r2id.training.data import load_images

    if config.batch_size < 1:
        raise InputError(f"--batch-size is {config.batch_size}; it must be at least 1")
    file = Path(config.data).expanduser()
    if file.is_file() and config.image_size:
        raise InputError(f"--image-size is given and {file} is one file, which is encoded as it is; leave it out")
    resampler = load_resampler(config)
    check_fits_in_memory([config.latent_size], 1, 4 * resampler.config.dim)
    share = Share.of_this_process()
    if file.is_file():
        settings = {"latent_size": config.latent_size, "background": config.background, "model": resampler.checksum()}
        with torch.inference_mode():
            made = encode_one(
                lambda: encode_file(resampler, file, config), file, settings, config.output, config.resume
            )
        print(f"{made} latents of {size_text(config.latent_size)} in {config.output}{share}")
        return
    data = load_images(
        config.data,
        config.split,
        image_size=config.image_size,
        channels=resampler.config.image_channels,
        background=config.background,
    )
    made = run(resampler, data, config.latent_size, config.output, config.batch_size, config.resume, progress)
    print(f"{made} latents of {size_text(config.latent_size)} in {config.output}{share}")


@dataclass(frozen=True, kw_only=True)
class Decode(GeneratorChoice):
    """Decode files of latents to pictures, at any number of sizes."""

    latents: tyro.conf.Positional[Path]
    """A file of latents, or a folder of such, from `encode` or `sample --keep-latents`."""
    output: Path
    """Folder to write to: OUTPUT/<H>x<W>/<index>-<label>.png, and all of a size in OUTPUT/<H>x<W>.png."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, by default those that were encoded; repeat it for more."""


@app.command(name="decode")
def decode(config: tyro.conf.OmitArgPrefixes[Decode]) -> None:
    """Decode files of latents to pictures, at any number of sizes."""
    import torch

    from r2id.images import IMAGE_SUFFIXES, save_image
    from r2id.latents import SUFFIX, Latents
    from r2id.offline import Pictures
    from r2id.pipeline import as_output, check_fits_in_memory, decode_some_at_once

    if config.output.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"output {config.output} is named as a file; give a folder, or decode one latent by resample")
    files = sorted(config.latents.glob(f"*{SUFFIX}")) if config.latents.is_dir() else [config.latents]
    if not files:
        raise InputError(f"{config.latents} holds no files of latents ({SUFFIX})")
    latents = Latents.joined([Latents.load(file) for file in files])
    resampler = load_resampler(config)
    latents.check_weights(resampler, config.latents, config.model)
    sizes = config.size or (latents.canvas,)
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
        print(f"{len(latents.values)} pictures of {size_text(size)} in {config.output / size_text(size)}")


@dataclass(frozen=True)
class Info:
    """Show a model's parts and what it was trained on."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""


@app.command(name="info")
def info(config: tyro.conf.OmitArgPrefixes[Info]) -> None:
    """Show a model's parts and what it was trained on."""
    from r2id.card import trainings
    from r2id.coordinates import resolution_limit

    choice = ModelChoice(model=config.model, device="cpu")
    parts: dict[str, Any] = {}
    print(f"model {config.model}")
    if is_resampler(config.model):
        parts["resampler"] = load_resampler(choice)
    else:
        pipeline = load_pipeline(choice)
        parts |= {"resampler": pipeline.resampler} if pipeline.resampler else {}
        parts |= {"diffuser": pipeline.diffuser, "conditioner": pipeline.conditioner}
        print(f"labels {', '.join(pipeline.conditioner.label_names) or 'none: it shows texts'}")
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        print(f"\n{name}: {type(part).__name__}, {count:,} parameters")
        if "num_high" in part.config:
            limit = resolution_limit(part.config.num_high)
            print(f"  its highest position frequency tells {limit} samples per side apart")
            if part.config.jitter == "expected":
                print(f"  of which training kept those that tell {part.config.sample_size} apart")
        hidden = ("training", "label_names")
        settings = {key: value for key, value in part.config.items() if key not in hidden and not key.startswith("_")}
        _print_settings("settings", settings)
        for turn, record in trainings(part.config.get("training")):
            _print_settings(f"training{turn}", record)


def _print_settings(title: str, settings: dict[str, Any]) -> None:
    """Settings in lines of readable length."""
    text = ", ".join(f"{key}={value}" for key, value in settings.items())
    print(textwrap.fill(f"{title}: {text}", 110, initial_indent="  ", subsequent_indent="    "))


@dataclass(frozen=True, kw_only=True)
class Evaluate(Sampling):
    """Measure reconstruction, generation and denoising on the test split."""

    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, or the id of a dataset on the Hugging Face hub."""
    split: str = "test"
    """Split of the data to measure on."""
    image_size: Size | None = None
    """Height and width that every image is resized to, by default those of training."""
    quick: bool = False
    """Measure in a minute: at most 100 images (25 at four times the size, 50 for the t-scrape) and 100 generated
    pictures beside 1000 real ones, with 8x8 latents and pictures of 32x32 and 27x18 unless others are given."""
    count: int = 1000
    """Pictures to generate at each latent size; 0 for none."""
    limit: int | None = None
    """Test images to reconstruct; by default all, 0 for none."""
    t_scrape: int = 512
    """Test images whose noise is measured at every time; 0 for none."""
    latent_size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the latents, 4x4 8x8 14x14 if none is given; repeat it for more."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, 32x32 64x64 27x18 16x16 if none is given; repeat it for more."""
    seed: int = 0
    """Seed of the generated pictures and of all noise."""
    precision: Literal["no", "bf16"] = "no"
    """Precision of the networks for generation and the t-scrape: no is float32; bf16 is faster, and changes the
    pictures a little. A device without units for bf16 computes in float32. Reconstruction is always measured in
    float32."""
    output: Path | None = None
    """Folder for evaluation.json, whole after every latent size, and the t-scrape as CSV and plot."""
    resume: bool = False
    """Go on after the figures of an interrupted run in OUTPUT, or within a minute of where its generation stopped;
    otherwise all are measured anew."""


@app.command(name="evaluate")
def evaluate(config: tyro.conf.OmitArgPrefixes[Evaluate]) -> None:
    """Measure reconstruction, generation and denoising on the test split."""
    from r2id.evaluation.evaluate import Plan
    from r2id.evaluation.evaluate import evaluate as run

    check_seed(config.seed)
    options = {field.name for field in fields(Plan)} & {field.name for field in fields(config)}
    plan = Plan(**{name: getattr(config, name) for name in options})
    pipeline = load_pipeline(config)
    data = load_test_images(pipeline, config.data, config.split, config.image_size)
    about = {"model": config.model, "split": config.split, "image_size": config.image_size}
    run(pipeline, data, plan, about=about, output=config.output, resume=config.resume, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Demo(GeneratorChoice):
    """Write a gallery: the same latents at ten sizes, and latents of other sizes and shapes."""

    output: Path = Path("out")
    """Folder to write to."""
    labels: str | None = None
    """Labels, separated by commas; 0-9 is a range. By default all that the model knows, at most ten."""
    seed: int = 1
    """Seed of the pictures."""
    precision: Literal["no", "bf16"] = "bf16"
    """Precision of the networks: no is float32 (on GPUs TensorFloat32); bf16 is faster, and pictures differ a little. A
    device without units for bf16 computes in float32."""


@app.command(name="demo")
def demo(config: tyro.conf.OmitArgPrefixes[Demo]) -> None:
    """Write a gallery: the same latents at ten sizes, and latents of other sizes and shapes."""
    from r2id.gallery import write_gallery

    check_seed(config.seed)
    labels = parse_labels(config.labels) if config.labels is not None else None
    pipeline = load_pipeline(config)
    labels = labels or pipeline.conditioner.label_names[:10]
    with autocast(pipeline.device, config):
        page = write_gallery(pipeline, labels, config.seed, config.output)
    print(f"open {page}, or look at the pictures beside it")


@dataclass(frozen=True, kw_only=True)
class Showcase(GeneratorChoice):
    """Write every picture of the published experiments, and a page that shows them."""

    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, or the id of a dataset on the Hugging Face hub."""
    split: str = "test"
    """Split of the data whose images are encoded."""
    image_size: Size | None = None
    """Height and width that every image is resized to, by default those of training."""
    output: Path = Path("docs/gallery")
    """Folder for the pictures; the page is OUTPUT.md, with figures that `evaluate --output` left there or in folders
    there."""
    seed: int = 1
    """Seed of the pictures."""


@app.command(name="showcase")
def showcase(config: tyro.conf.OmitArgPrefixes[Showcase]) -> None:
    """Write every picture of the published experiments, and a page that shows them."""
    from r2id.evaluation.showcase import write_showcase
    from r2id.precision import usable_precision

    check_seed(config.seed)
    pipeline = load_pipeline(config)
    data = load_test_images(pipeline, config.data, config.split, config.image_size)
    options = {name: getattr(config, name) for name in ("model", "split", "image_size")}
    options["precision"] = usable_precision(config.precision, pipeline.device)
    with autocast(pipeline.device, config):
        print(f"open {write_showcase(pipeline, data, config.seed, config.output, options)}")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write R2ID and R2IR's decoder as ONNX, for sampling without torch."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""
    output: Path
    """Folder to write to: OUTPUT/diffuser.onnx, OUTPUT/decoder.onnx and OUTPUT/model.json."""


@app.command(name="export")
def export(config: tyro.conf.OmitArgPrefixes[Export]) -> None:
    """Write R2ID and R2IR's decoder as ONNX, for sampling without torch."""
    from r2id.export import export_onnx

    pipeline = load_pipeline(ModelChoice(model=config.model, device="cpu"))
    for name, difference in export_onnx(pipeline, config.output).items():
        print(f"{config.output / name}: in ONNX Runtime as in torch, to {difference:.1e}")


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a model card: what is known of a model, for people and for the Hugging Face hub."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""
    output: Path | None = None
    """File to write, by default README.md in the model's folder. A card that somebody wrote is never written over."""
    name: str | None = None
    """Name under which the card shows how to load the model, such as the hub id it will have; by default MODEL."""
    license: str | None = None
    """License of the weights, as the hub names it, such as apache-2.0."""
    data_license: str | None = None
    """License of the data they were trained on, in words."""
    evaluation: Path | None = None
    """The evaluation.json of `evaluate` for these weights; its figures at the trained size are taken."""


@app.command(name="card")
def card(config: tyro.conf.OmitArgPrefixes[Card]) -> None:
    """Write a model card: what is known of a model, for people and for the Hugging Face hub."""
    from r2id.card import CARD, is_default, model_card, read_card
    from r2id.files import write_whole

    if config.output is None and not Path(config.model).is_dir():
        raise InputError(f"model {config.model} is no folder that a card could go to; give --output")
    path = config.output or Path(config.model) / CARD
    if not is_default(read_card(path)):
        raise InputError(f"{path} is there already, and somebody's own; move it away or give another --output")
    choice = ModelChoice(model=config.model, device="cpu")
    model = load_resampler(choice) if is_resampler(config.model) else load_pipeline(choice)
    made = model_card(model, config.name or config.model, config.license, config.data_license, config.evaluation)
    write_whole(path, made.save)
    print(f"{path}: the card of {config.name or config.model}")


@dataclass(frozen=True, kw_only=True)
class App(ModelChoice):
    """Serve a web page on this machine: generate, decode again at other sizes, zoom, resample pictures."""

    port: int = 7860
    """Port of the page, http://127.0.0.1:PORT."""
    browser: bool = False
    """Open the page in the browser."""


@app.command(name="app")
def serve(config: tyro.conf.OmitArgPrefixes[App]) -> None:
    """Serve a web page on this machine: generate, decode again at other sizes, zoom, resample pictures."""
    if not 1 <= config.port <= 65535:
        raise InputError(f"port is {config.port}; it must be from 1 to 65535")
    from r2id.app.studio import Studio

    # Asked to end in any way, the page takes its files along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    studio = Studio(load_pipeline(config))
    # Gradio reads them as it is imported.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(studio.folder)}
    from r2id.app.page import launch

    page = launch(studio, config.port, config.browser)
    print(f"serving http://127.0.0.1:{config.port}, until Ctrl-C", flush=True)
    page.block_thread()


def load_test_images(pipeline: R2Pipeline, data: str, split: str, size: Size | None) -> ImageDataset:
    """Images of the channels, on the background, and by default of the size that a pipeline was trained on."""
    from r2id.training.data import load_images

    if size is None and pipeline.diffuser.config.canvas is None:
        raise InputError("this model was trained on pictures of several sizes; give --image-size to measure it at one")
    canvas = size or tuple(pipeline.diffuser.config.canvas)
    channels = pipeline.resampler.config.image_channels if pipeline.resampler else pipeline.diffuser.config.channels
    background = (pipeline.diffuser.config.training or {}).get("background", 0)
    return load_images(data, split, image_size=canvas, channels=channels, background=background)


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that torch does not take, or whose successors it may not."""
    if not 0 <= seed < 2**62:
        raise InputError(f"seed is {seed}; it must be from 0 to {2**62 - 1}")


def _choice_of(presets: Mapping[str, ResamplerTraining | DiffuserTraining]) -> Any:
    """One subcommand per preset, whose options start from its settings."""
    return tyro.extras.subcommand_type_from_defaults(
        presets, {name: PRESET_NOTES[name] for name, preset in presets.items()}, prefix_names=False
    )


FLAT = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
ResamplerPreset = Annotated[
    ResamplerTraining, tyro.conf.arg(constructor=_choice_of(RESAMPLER_PRESETS)), FLAT[0], FLAT[1]
]
DiffuserPreset = Annotated[DiffuserTraining, tyro.conf.arg(constructor=_choice_of(DIFFUSER_PRESETS)), FLAT[0], FLAT[1]]


@train_app.command(name="resampler")
def train_resampler(config: ResamplerPreset) -> None:
    """Train R2IR to encode and decode images, from a preset."""
    allow_tensor_float32()
    from r2id.training.trainer import train_resampler as run

    announce(f"the trained resampler is in {run(config)}")


@train_app.command(name="diffuser")
def train_diffuser(config: DiffuserPreset) -> None:
    """Train R2ID to generate the latents of a trained R2IR, or pixels, from a preset."""
    allow_tensor_float32()
    from r2id.training.trainer import train_diffuser as run

    hide_loading_bars()
    announce(f"the trained pipeline is in {run(config)}")


def announce(text: str) -> None:
    """Print what all processes have done together, once."""
    from r2id.processes import Share

    if Share.of_this_process().index == 0:
        print(text)


def choose_device(choice: ModelChoice) -> torch.device:
    """The chosen device, by default the GPU if there is one; says so where it lacks the precision that was chosen."""
    import torch

    from r2id.model import usable_device
    from r2id.precision import REPLACED, usable_precision
    from r2id.processes import Share

    allow_tensor_float32()
    # Of several processes on one machine, each takes its own GPU.
    default = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    device = usable_device(choice.device or default)
    lacking = isinstance(choice, GeneratorChoice) and usable_precision(choice.precision, device) != choice.precision
    if lacking and Share.of_this_process().index == 0:
        print(f"r2id: {REPLACED}", file=sys.stderr)
    return device


def allow_tensor_float32() -> None:
    """Let a GPU multiply float32 matrices as TensorFloat32: several times as fast, and exact to three digits.

    That is for a program to decide, not for a library. Where there is no GPU nothing changes.
    """
    import torch

    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def hide_loading_bars() -> None:
    """No progress bars for loading weights, which takes no time here."""
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if diffusers.utils.is_transformers_available():
        from transformers.utils import logging

        logging.disable_progress_bar()


def load_pipeline(choice: ModelChoice) -> R2Pipeline:
    """The chosen pipeline on its device."""
    from r2id.pipeline import R2Pipeline

    hide_loading_bars()
    device = choose_device(choice)
    pipeline = R2Pipeline.from_pretrained(choice.model).to(device)
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty(), desc="denoising", leave=False)
    return pipeline


def is_resampler(name: str) -> bool:
    """Whether a folder holds an R2IR alone, as `r2id train resampler` writes it, rather than a whole pipeline."""
    return (Path(name) / "config.json").is_file() and not (Path(name) / "model_index.json").exists()


def load_resampler(choice: ModelChoice) -> R2IR:
    """The R2IR of a pipeline, or the one that a folder holds alone, on the chosen device."""
    from r2id.resampler import R2IR

    if is_resampler(choice.model):
        return R2IR.from_pretrained(choice.model).to(choose_device(choice))
    resampler = load_pipeline(choice).resampler
    if resampler is None:
        raise InputError(f"model {choice.model} works on pixels and has no resampler")
    return resampler


def autocast(device: torch.device, choice: GeneratorChoice) -> torch.autocast:
    """The precision that was chosen, as a context."""
    from r2id.precision import autocast

    return autocast(choice.precision, device)


EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "tensorboard": "train",
    "torchmetrics": "eval",
    "matplotlib": "eval",
    "gradio": "app",
    "transformers": "text",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
}
"""Packages that only some commands need, and the extra that brings them."""


def main() -> None:
    """Run the command line; errors a user can mend end it with one sentence and exit status 2."""
    try:
        app.cli(prog="r2id", description="Generate and resample images at any resolution.", registry=SIZES)
    except (InputError, OptionError) as error:
        print(f"r2id: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        print(f"r2id: {str(interrupt) or 'stopped'}", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        wanted = f"'r2id[{EXTRAS[package]}]'" if package in EXTRAS else "r2id"
        print(f"r2id: {package} is not installed, or not whole; pip install {wanted}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print("r2id: the memory is full; ask for fewer or smaller pictures", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(
            f"r2id: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}",
            file=sys.stderr,
        )
        sys.exit(2)
