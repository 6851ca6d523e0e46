"""Entry points of trainings: building R2IR and R2ID, and saving them."""

from __future__ import annotations

import ast
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from r2id.data.dataset import Dataset, LatentDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import replace_folder
from r2id.files.cards import keep_card
from r2id.geometry.sizes import Size, with_longer_side
from r2id.networks.arguments import check_arguments
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.batch_order import latent_sizes
from r2id.training.checking import check_training
from r2id.training.conditioners import conditioning_parts
from r2id.training.latent_statistics import adapt_to, measure_latents
from r2id.training.loading import load_labelled_images, load_pictures, load_resampler, load_samples
from r2id.training.loop import train
from r2id.training.objectives import DiffusionObjective, Objective, ReconstructionObjective
from r2id.training.pictures import PictureObjective
from r2id.training.settings import DiffuserTraining, PictureTraining, ResamplerTraining


def train_resampler(config: ResamplerTraining | PictureTraining) -> Path:
    """Train R2IR; returns the folder it was saved to, `config.output`/resampler.

    Raises InputError for data, settings or checkpoints that cannot be used.
    """
    since = time.monotonic()
    check_training(config)
    pictures = isinstance(config, PictureTraining)
    data = load_pictures(config) if isinstance(config, PictureTraining) else load_labelled_images(config)
    channels = data[0].images.shape[1]
    torch.manual_seed(config.seed)
    if config.init_from:
        resampler = load_resampler(config.init_from, None if pictures else channels)
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
        objective = ReconstructionObjective(
            resampler, config.latent_noise, config.pixel_share, config.latent_jitter, config.two_tone
        )

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
    check_training(config)
    config, data, resampler = load_samples(config)
    channels = resampler.config.latent_channels if resampler else data[0].parts[0].shape[1]
    mirrored = config.flips or any(one.mirrored for one in data)
    if config.picture_weight and (resampler is None or resampler.is_pyramid):
        raise InputError(
            f"picture_weight is {config.picture_weight}, and pictures of {config.resampler} cannot be compared; "
            "give an R2IR that is no pyramid, or 0"
        )
    canvas = data[0].canvas if len({one.canvas for one in data}) == 1 else None
    start = R2Pipeline.from_pretrained(config.init_from) if config.init_from else None
    if resampler and resampler.is_pyramid:
        if start and start.resampler and start.resampler.checksum() == resampler.checksum():
            resampler.take_statistics(start.resampler)
        else:
            adapt_to(resampler, data, [latent_sizes(config, data, one)[0] for one in data])
    torch.manual_seed(config.seed)
    most = max(max(size) for one in data for size in latent_sizes(config, data, one))
    if start:
        diffuser = start.diffuser
        if diffuser.config.channels != channels:
            diffuser = diffuser.with_channels(channels)
        diffuser.register_to_config(canvas=canvas)
        if mirrored and not diffuser.config.augmentations:
            raise InputError(f"the diffuser of {config.init_from} was not told of mirrored pictures; leave them out")
    else:
        diffuser = _build(
            R2ID,
            {
                "channels": channels,
                "sample_size": most,
                "canvas": canvas,
                "noise_reference_size": max(config.latent_sizes[0]),
                "radius": 1.5 / max(config.latent_sizes[0]),
                "augmentations": int(mirrored),
            }
            | network_arguments(config.model),
        )
    defaults = _generation_defaults(config, canvas and _image_size(data[0], resampler), start)
    if resampler and resampler.is_pyramid:
        # Its latents hold fixed pixels of a picture, of which a network knows no larger ones than it learnt.
        defaults["most_latents"] = max(most, defaults.get("most_latents") or 0)
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
        flips=config.flips,
        picture_weight=config.picture_weight,
    )

    def save(record: dict[str, Any]) -> Path:
        grids = sorted({one.size for one in data if isinstance(one, LatentDataset)}, key=math.prod)
        # In `latent_sizes`, those of several proportions are one square grid.
        stored = {"stored_grids": grids} if len(grids) > 1 else {}
        diffuser.register_to_config(training=record | stored)

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
    # The data may show other things.
    how.pop("examples", None)
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


def _build(network: type, arguments: dict[str, Any]) -> Any:
    """Build the network with these arguments. InputError names an unknown or invalid one."""
    check_arguments(network, arguments)
    try:
        return network(**arguments)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"the model cannot be built: {error}") from error
