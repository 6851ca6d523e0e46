"""Loading of what a training learns: images, tiles of photographs, drawings, or latents with their R2IR."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from r2id.errors import InputError
from r2id.files.latents import latent_files
from r2id.geometry.sizes import size_text
from r2id.networks.lattices import POINTS
from r2id.networks.loading import load_part
from r2id.networks.resampler import R2IR
from r2id.training.settings import DiffuserTraining, ImageTraining, PictureTraining, Training


def load_samples(config: DiffuserTraining) -> tuple[DiffuserTraining, Sequence[Dataset], R2IR | None]:
    """Return the settings, completed by stored latents, the data, which are images or latents, and the R2IR of the
    latents."""
    files = latent_files(Path(config.data).expanduser())
    if files and config.resampler == "none":
        raise InputError(f"resampler is none and {config.data} holds latents; give the R2IR that encoded them")
    if (files or config.resampler == "none") and config.latent_jitter:
        fixed, case = ("stored latents", "with them") if files else ("pixels", "without a resampler")
        raise InputError(f"latent_jitter is {config.latent_jitter}; {fixed} cannot move, so {case} it is 0")
    if not files and config.whole_share is not None:
        raise InputError(
            f"whole_share is {config.whole_share} and {config.data} holds no latents; store them by encode"
        )
    if not files:
        images = load_labelled_images(config)
        channels = images[0].images.shape[1]
        return config, images, None if config.resampler == "none" else load_resampler(config.resampler, channels)
    if config.flips:
        raise InputError(f"flips is on and {config.data} holds latents; encode mirrored ones with --mirrored instead")
    resampler, stored = load_resampler(config.resampler), load_latents(files)
    if stored[0].model != resampler.checksum():
        raise InputError(
            f"{config.data} holds latents of other weights than the resampler {config.resampler}; give the R2IR that "
            "encoded them by --resampler"
        )
    data = _weighted_by_fit(config, _labelled(config, stored))
    return _at_stored_grids(config, stored), data, resampler


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


def load_pictures(config: PictureTraining) -> list[ImageDataset]:
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
        return _labelled(config, data)
    source, found = ("; ".join(words) for words in zip(*((one.source, one.found) for one in data), strict=True))
    total, drawn = sum(map(len, data)), config.drawing_share
    weighted = [
        replace(one, source=source, found=found, weight=share * total / len(one))
        for one, share in zip(data, (1 - drawn, drawn), strict=True)
    ]
    return _labelled(config, weighted)


def load_labelled_images(config: ImageTraining) -> list[ImageDataset]:
    """Load the images, with labels, as a data set for each size."""
    images = _shared(
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
    return _labelled(config, images)


def _labelled(config: Training, data: list[AnyDataset]) -> list[AnyDataset]:
    """Return the data with a label, or a caption, for every image, and print one line about the data."""
    text_encoder = config.text_encoder if isinstance(config, DiffuserTraining) else None
    if text_encoder and data[0].captions is None:
        raise InputError(
            f"text_encoder is {text_encoder} and {data[0].source} has no captions; give a column "
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


def load_resampler(name: str, channels: int | None = None) -> R2IR:
    """Load a trained R2IR, alone or of a pipeline. Raises InputError if its images have other `channels`."""
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
