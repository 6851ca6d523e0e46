"""Checks of the settings of a training."""

from __future__ import annotations

import math

from r2id.errors import InputError
from r2id.geometry.sizes import check_size
from r2id.training.settings import DiffuserTraining, Training

RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("steps", "seconds", "batch_size", "log_every", "checkpoint_every", "num_tokens", "tile_size"), 1, math.inf),
    (("gradient_accumulation",), 1, 2**31),
    (("warmup_steps", "sample_every", "seed", "num_workers"), 0, 2**62),
    (
        (
            *("learning_rate", "final_learning_rate", "weight_decay", "gradient_clip"),
            *("latent_noise", "latent_jitter", "time_std", "two_tone", "picture_weight"),
        ),
        0,
        math.inf,
    ),
    (("beta2", "ema_decay", "label_dropout", "pixel_share", "drawing_share", "squared_from", "whole_share"), 0, 1),
)
"""Names of settings with their smallest and largest accepted values."""


def check_training(config: Training) -> None:
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
        raise InputError("optimizer is muon and shard is on; muon needs whole matrices, so choose adamw")
    if isinstance(config, DiffuserTraining):
        check_crop(config)
        if config.picture_weight and (config.crop or config.latent_jitter):
            raise InputError(
                f"picture_weight is {config.picture_weight}; pictures of crops or jittered latents are not compared, "
                "so leave out crop and latent_jitter"
            )


def check_crop(config: DiffuserTraining) -> None:
    """Raise InputError for a window of latents that cannot be."""
    if config.crop is None:
        if config.whole_share is not None:
            raise InputError(f"whole_share is {config.whole_share} and crop is not set; set the size of the window")
        return
    check_size(config.crop, "crop")
    if config.latent_jitter:
        raise InputError(f"latent_jitter is {config.latent_jitter}; windows are of even grids, so with crop it is 0")
