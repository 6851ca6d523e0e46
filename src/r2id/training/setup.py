"""Entry points of trainings: building R2IR and R2ID, loading their data and saving them."""

from __future__ import annotations

import ast
import inspect
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env

from r2id.data.captions import labelled_by_captions
from r2id.data.dataset import AnyDataset, Dataset, ImageDataset, LatentDataset
from r2id.data.drawings import load_drawings
from r2id.data.latents import load_latents
from r2id.data.loading import load_sizes
from r2id.data.pixels import map_pixels
from r2id.data.tiles import load_tiles
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import replace_folder
from r2id.files.cards import keep_card
from r2id.files.latents import latent_files
from r2id.geometry.sizes import Size, check_size, size_text, with_longer_side
from r2id.networks.diffuser import R2ID
from r2id.networks.lattices import POINTS
from r2id.networks.loading import load_part
from r2id.networks.resampler import R2IR
from r2id.training.batch_order import latent_sizes
from r2id.training.conditioners import conditioning_parts
from r2id.training.latent_statistics import measure_latents
from r2id.training.loop import train
from r2id.training.objectives import DiffusionObjective, Objective, ReconstructionObjective
from r2id.training.pictures import PictureObjective
from r2id.training.settings import DiffuserTraining, ImageTraining, PictureTraining, ResamplerTraining, Training

RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("steps", "seconds", "batch_size", "log_every", "checkpoint_every", "num_tokens", "tile_size"), 1, math.inf),
    (("gradient_accumulation",), 1, 2**31),
    (("warmup_steps", "sample_every", "seed", "num_workers"), 0, 2**62),
    (
        (
            *("learning_rate", "final_learning_rate", "weight_decay", "gradient_clip"),
            *("latent_noise", "latent_jitter", "time_std"),
        ),
        0,
        math.inf,
    ),
    (("beta2", "ema_decay", "label_dropout", "pixel_share", "drawing_share", "squared_from", "whole_share"), 0, 1),
)
"""Names of settings with their smallest and largest accepted values."""


def train_resampler(config: ResamplerTraining | PictureTraining) -> Path:
    """Train R2IR; returns the folder it was saved to, `config.output`/resampler.

    Raises InputError for data, settings or checkpoints that cannot be used.
    """
    since = time.monotonic()
    check_settings(config)
    pictures = isinstance(config, PictureTraining)
    data = _labelled(config, _load_pictures(config) if isinstance(config, PictureTraining) else _load_images(config))
    channels = data[0].images.shape[1]
    torch.manual_seed(config.seed)
    if config.init_from:
        resampler = _load_resampler(config.init_from, None if pictures else channels)
    else:
        resampler = _build(
            R2IR,
            {
                "image_channels": channels,
                "sample_size": max(max(one.images.shape[-2:]) for one in data),
                "latent_size": max(config.latent_sizes[0]),
            }
            | ({"attention": "pyramid"} if pictures else {})
            | network_arguments(config.model),
        )
    if isinstance(config, PictureTraining):
        objective: Objective = PictureObjective(resampler, config.tile_size, config.latent_noise, config.squared_from)
    else:
        objective = ReconstructionObjective(resampler, config.latent_noise, config.pixel_share, config.latent_jitter)

    def save(record: dict[str, Any]) -> Path:
        # Compiled for other sizes, it would be compiled anew.
        with torch.compiler.set_stance("force_eager"):
            measure_latents(resampler, config, data)
        resampler.register_to_config(training=record)
        return replace_folder(config.output / "resampler", resampler.save_pretrained)

    return train(config, objective, resampler, data, save, since)


def train_diffuser(config: DiffuserTraining) -> Path:
    """Train R2ID and its conditioner; returns the folder of the whole pipeline, `config.output`/pipeline.

    Grids of stored latents in `config.data` replace `config.latent_sizes`.

    Raises InputError for data, settings, a resampler, a text encoder or checkpoints that cannot be used.
    """
    since = time.monotonic()
    check_settings(config)
    config, data, resampler = _load_samples(config)
    data = _weighted_by_fit(config, data)
    channels = resampler.config.latent_channels if resampler else data[0].parts[0].shape[1]
    canvas = data[0].canvas if len({one.canvas for one in data}) == 1 else None
    torch.manual_seed(config.seed)
    start = R2Pipeline.from_pretrained(config.init_from) if config.init_from else None
    if start:
        diffuser = start.diffuser
        diffuser.register_to_config(canvas=canvas)
        if diffuser.config.channels != channels:
            raise InputError(
                f"the diffuser of {config.init_from} takes {diffuser.config.channels} channels and what it would "
                f"learn has {channels}; give the resampler that it was trained with"
            )
    else:
        diffuser = _build(
            R2ID,
            {
                "channels": channels,
                "sample_size": max(max(size) for one in data for size in latent_sizes(config, data, one)),
                "canvas": canvas,
                "noise_reference_size": max(config.latent_sizes[0]),
                "radius": 1.5 / max(config.latent_sizes[0]),
            }
            | network_arguments(config.model),
        )
    defaults = _generation_defaults(config, canvas and _image_size(data[0], resampler), start)
    trained = start and start.conditioner
    parts, captions = conditioning_parts(
        config.text_encoder, data[0].label_names, config.num_tokens, diffuser.config.token_dim, trained
    )
    pipeline = R2Pipeline(diffuser, resampler=resampler, generation_defaults=defaults, **parts)
    objective = DiffusionObjective(
        pipeline,
        config.label_dropout,
        config.latent_jitter,
        captions,
        times=(config.time_mean, config.time_std) if config.times == "logit-normal" else None,
        crop=config.crop,
    )

    def save(record: dict[str, Any]) -> Path:
        diffuser.register_to_config(training=record)

        def write(folder: Path) -> None:
            pipeline.save_pretrained(folder)
            keep_card(config.output / "pipeline", folder)

        return replace_folder(config.output / "pipeline", write)

    return train(config, objective, diffuser, data, save, since)


def _generation_defaults(config: DiffuserTraining, size: Size | None, start: R2Pipeline | None) -> dict[str, Any]:
    """Return the generation defaults to store: sizes, and the sampling of the initial model. Others follow from the
    networks.

    `size` is the common size of the pictures, or None.
    """
    how = asdict(start.generation_defaults) if start else {}
    if size is None and config.image_size:
        size = (round(math.prod(config.image_size) ** 0.5),) * 2
    # Quality is best in the middle of the training grids. Grids of other proportions than the first are exceptions.
    first = config.latent_sizes[0]
    alike = sorted(one for one in set(config.latent_sizes) if one[0] * first[1] == one[1] * first[0])
    return how | {"size": size, "latent_size": alike[len(alike) // 2]}


def _image_size(data: Dataset, resampler: R2IR | None) -> Size:
    """Return height and width of the pictures, or for latents without pictures as dense ones as R2IR's training had."""
    if data.image_size:
        return data.image_size
    assert resampler is not None and isinstance(data, LatentDataset)
    return with_longer_side(resampler.longer_side(data.size, data.canvas), data.canvas)


def _load_samples(config: DiffuserTraining) -> tuple[DiffuserTraining, Sequence[Dataset], R2IR | None]:
    """Return the settings, completed by stored latents, the data, which are images or latents, and the R2IR of the
    latents."""
    files = latent_files(Path(config.data).expanduser())
    if files and config.resampler == "none":
        raise InputError(f"resampler is none and {config.data} holds latents; give the R2IR that encoded them")
    if (files or config.resampler == "none") and config.latent_jitter:
        fixed, case = ("stored latents", "with them") if files else ("pixels", "without a resampler")
        raise InputError(f"latent_jitter is {config.latent_jitter}; {fixed} cannot move, so {case} it is 0")
    if not files:
        images = _labelled(config, _load_images(config))
        channels = images[0].images.shape[1]
        return config, images, None if config.resampler == "none" else _load_resampler(config.resampler, channels)
    resampler, stored = _load_resampler(config.resampler), load_latents(files)
    if stored[0].model != resampler.checksum():
        raise InputError(
            f"{config.data} holds latents of other weights than the resampler {config.resampler}; give the R2IR that "
            "encoded them by --resampler"
        )
    return _at_stored_grids(config, stored), _labelled(config, stored), resampler


def _weighted_by_fit(config: DiffuserTraining, data: Sequence[Dataset]) -> Sequence[Dataset]:
    """Return the data with `config.whole_share` of the steps for stored grids that fit in the window as a whole.

    Raises InputError if there are no such grids, or no others.
    """
    crop, share = config.crop, config.whole_share
    if crop is None or share is None:
        return data
    fits = [isinstance(one, LatentDataset) and one.size[0] <= crop[0] and one.size[1] <= crop[1] for one in data]
    if all(fits) or not any(fits):
        which = "every" if all(fits) else "no"
        raise InputError(
            f"whole_share is {share} and {which} stored grid fits in a window of {size_text(crop)}; "
            "store larger and smaller grids, or leave it out"
        )
    counts = [sum(len(one) for one, fit in zip(data, fits, strict=True) if fit is kind) for kind in (False, True)]
    # Only their ratio matters, and rounded counts must not lose it.
    weights = (1.0, share / (1 - share) * counts[0] / counts[1]) if share < 1 else (0.0, 1.0)
    return [replace(one, weight=weights[fit]) for one, fit in zip(data, fits, strict=True)]


def _at_stored_grids(config: DiffuserTraining, stored: Sequence[LatentDataset]) -> DiffuserTraining:
    """Return the settings with the grids of stored latents. Those in `latent_sizes` come first, in its order, because
    the first sets the scale. Latents of several proportions give one square grid with as many cells."""
    grids = list(dict.fromkeys(one.size for one in stored))
    if len({one.canvas for one in stored}) > 1:
        grids = [(round(math.prod(grids[0]) ** 0.5),) * 2]
    set_before = config.latent_sizes
    grids.sort(key=lambda grid: set_before.index(grid) if grid in set_before else len(set_before))
    return replace(config, latent_sizes=tuple(grids), image_size=stored[0].image_size)


def check_settings(config: Training) -> None:
    """Raise InputError for a setting out of its range."""
    if not config.latent_sizes:
        raise InputError("latent_sizes is empty; it must name at least one HxW")
    for size in config.latent_sizes:
        check_size(size, "latent_sizes")
    for names, least, most in RANGES:
        for name in names:
            value = getattr(config, name, None)
            if value is not None and not least <= value <= most:
                accepted = f"from {least} to {most}" if most < math.inf else f"at least {least}"
                raise InputError(f"{name} is {value}; it must be {accepted}")
    if config.shard and config.optimizer == "muon":
        raise InputError("optimizer is muon and shard is on; muon needs whole matrices, so accepted is adamw")
    if isinstance(config, DiffuserTraining):
        check_crop(config)


def check_crop(config: DiffuserTraining) -> None:
    """Raise InputError for a window of latents that cannot be."""
    if config.crop is None:
        if config.whole_share is not None:
            raise InputError(f"whole_share is {config.whole_share} and crop is not set; set the size of the window")
        return
    check_size(config.crop, "crop")
    if config.latent_jitter:
        raise InputError(f"latent_jitter is {config.latent_jitter}; windows are of even grids, so with crop it is 0")


def _load_pictures(config: PictureTraining) -> list[ImageDataset]:
    """Return tiles of photographs and, if there are any, drawings; one line tells of both."""
    for size in config.latent_sizes:
        if size[0] != size[1]:
            raise InputError(f"latent_sizes has {size_text(size)}; crops of pictures are square, such as 8x8")
    most = POINTS * max(max(size) for size in config.latent_sizes)
    if config.tile_size < most:
        raise InputError(f"tile_size is {config.tile_size}; the largest crop has {most} pixels and must fit in it")
    if config.drawing_size <= config.tile_size:
        raise InputError(f"drawing_size is {config.drawing_size}; it must exceed tile_size, {config.tile_size}")

    def tiles(pixels: Path | None) -> list[ImageDataset]:
        tiles = load_tiles(
            config.data,
            config.split,
            tile_size=config.tile_size,
            background=config.background,
            num_workers=config.num_workers,
            pixels=pixels,
        )
        return [tiles]

    def drawings(pixels: Path | None) -> list[ImageDataset]:
        size, workers = config.drawing_size, config.num_workers
        return [load_drawings(config.drawings, drawing_size=size, num_workers=workers, pixels=pixels)]

    data = _shared(tiles) + (_shared(drawings) if config.drawings else [])
    if len(data) == 1:
        return data
    source, found = ("; ".join(words) for words in zip(*((one.source, one.found) for one in data), strict=True))
    total, drawn = sum(map(len, data)), config.drawing_share
    return [
        replace(one, source=source, found=found, weight=share * total / len(one))
        for one, share in zip(data, (1 - drawn, drawn), strict=True)
    ]


def _load_images(config: ImageTraining) -> list[ImageDataset]:
    """Load the images as a data set for each size."""
    return _shared(
        lambda pixels: load_sizes(
            config.data,
            config.split,
            image_size=config.image_size,
            keep_proportions=config.keep_proportions,
            channels=config.channels,
            background=config.background,
            caption_column=config.caption_column,
            num_workers=config.num_workers,
            pixels=pixels,
        )
    )


def _labelled(config: Training, data: list[AnyDataset]) -> list[AnyDataset]:
    """Return the data with a label, or a caption, for every image, and print one line about the data."""
    text_encoder = config.text_encoder if isinstance(config, DiffuserTraining) else None
    if text_encoder and data[0].captions is None:
        raise InputError(
            f"text_encoder is {text_encoder} and {data[0].source} has no captions; accepted is a column "
            "text, caption or prompt in metadata.jsonl or metadata.csv, or a text file beside every image"
        )
    if _this_process().is_main_process:
        unlearnt = isinstance(config, DiffuserTraining) and data[0].captions and not text_encoder
        also = "; captions are learnt only with --text-encoder" if unlearnt else ""
        print(f"r2id: {data[0].found}{also}", file=sys.stderr)
    if text_encoder:
        return labelled_by_captions(data)
    if data[0].labels is None:
        zeros = (torch.zeros(len(some), dtype=torch.long) for some in data)
        return [replace(some, labels=labels, label_names=("image",)) for some, labels in zip(data, zeros, strict=True)]
    return _labels_that_occur(data)


def _labels_that_occur(data: Sequence[AnyDataset]) -> list[AnyDataset]:
    """Return the data without label names that no image has."""
    labels = [some.labels for some in data if some.labels is not None]
    kept, indices = torch.cat(labels).unique(return_inverse=True)
    names = tuple(data[0].label_names[index] for index in kept)
    parts = indices.split([len(some) for some in data])
    return [replace(some, labels=part, label_names=names) for some, part in zip(data, parts, strict=True)]


def _this_process() -> PartialState:
    # PartialState ignores this variable, and would stay one process.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def _shared(load: Callable[[Path | None], list[ImageDataset]]) -> list[ImageDataset]:
    """Return the result of `load`. One process per machine calls it, and all map the pixels that it stored."""
    process = _this_process()
    if process.num_processes == 1:
        return load(None)
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels"
        answer: Any = None
        if process.is_local_main_process:
            try:
                loaded = load(pixels)
                shapes = [tuple(one.images.shape) for one in loaded]
                answer = (pixels, shapes, [replace(one, images=one.images[:0].clone()) for one in loaded])
            except InputError as error:
                answer = error
        # The answer of the first process on this machine.
        answer = gather_object([answer])[process.process_index - process.local_process_index]
        if isinstance(answer, InputError):
            raise answer
        stored, shapes, described = answer
        data = [replace(one, images=images) for one, images in zip(described, map_pixels(stored, shapes), strict=True)]
        # The folder may be removed once all have mapped it.
        process.wait_for_everyone()
    return data


def network_arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """("dim=128", "attention=local") → {"dim": 128, "attention": "local"}. Raises InputError for another form."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"model argument {pair!r} is not NAME=VALUE, such as dim=128")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            arguments[name] = value
    return arguments


def _load_resampler(name: str, channels: int | None = None) -> R2IR:
    """Load a trained R2IR, alone or from a pipeline. Raises InputError if it takes images of other `channels`."""
    if name == DiffuserTraining.resampler and not Path(name).exists():
        raise InputError(
            f"the resampler {name} is not there; train it first by `r2id train resampler`, or give another"
        )
    resampler: R2IR = load_part(R2IR, name, "resampler")
    if channels and resampler.config.image_channels != channels:
        raise InputError(
            f"the resampler {name} takes {resampler.config.image_channels} channels and the images "
            f"have {channels}; set channels to {resampler.config.image_channels}"
        )
    return resampler


def _build(network: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Build the network with these arguments. InputError names an unknown or invalid one."""
    accepted = [name for name in inspect.signature(network).parameters if name != "self"]
    for name in arguments:
        if name not in accepted:
            raise InputError(f"the model has no argument {name!r}; accepted are {', '.join(accepted)}")
    try:
        return network(**arguments)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"the model cannot be built: {error}") from error
