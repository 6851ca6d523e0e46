"""`r2id train resampler mnist-splats`: digits are learnt as splats."""

import pytest
import torch
from small_trainings import DIGITS, SMALL

from r2id.cli.program import read
from r2id.data.loading import load_images
from r2id.errors import InputError
from r2id.networks.resampler import R2IR
from r2id.training.presets import RESAMPLER_PRESETS
from r2id.training.settings import ResamplerTraining
from r2id.training.setup import train_resampler

TINY = (
    "attention=splats",
    "latent_channels=14",
    "num_blocks=1",
    "dim=16",
    "num_heads=2",
    "basis=4",
    "value_dim=4",
    "num_high=3",
    "num_low=2",
)


def splat_training(output, **changes) -> ResamplerTraining:
    return ResamplerTraining(**{"data": str(DIGITS), "output": output, "model": TINY} | SMALL | changes)


def test_the_command_reads_the_preset():
    command, settings = read(["train", "resampler", "mnist-splats", "--steps", "3"])
    assert settings.steps == 3 and isinstance(settings, ResamplerTraining)
    assert settings.latent_sizes[0] == (8, 8) and settings.model == RESAMPLER_PRESETS["mnist-splats"].model


def test_training_lowers_the_error_and_resumes(tmp_path):
    whole = train_resampler(splat_training(tmp_path / "whole", steps=60, image_size=(12, 12)))
    resampler = R2IR.from_pretrained(whole)
    assert resampler.config.training["steps"] == 60 and resampler.config.sample_size == 12
    assert resampler.latent_std.min() > 1e-3
    started = R2IR.from_config(resampler.config)
    images = load_images(str(DIGITS), "train", image_size=(12, 12)).batch(torch.arange(20))
    errors = [
        (one.decode(one.encode(images, (2, 2)), (12, 12)) - images).square().mean() for one in (started, resampler)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_two_tones_make_the_picture_between_pixels_black_and_white(tmp_path):
    greys = []
    for weight in (0.0, 0.3):
        settings = splat_training(tmp_path / f"{weight}", steps=60, image_size=(12, 12), two_tone=weight)
        resampler = R2IR.from_pretrained(train_resampler(settings))
        images = load_images(str(DIGITS), "test", image_size=(12, 12)).batch(torch.arange(20))
        greys.append((1 - resampler.decode(resampler.encode(images, (2, 2)), (96, 96)).square()).mean())
    assert greys[1] < 0.8 * greys[0]


def test_a_trained_one_is_gone_on_from(tmp_path):
    first = train_resampler(splat_training(tmp_path / "first"))
    second = train_resampler(splat_training(tmp_path / "second", steps=1, warmup_steps=1, init_from=str(first)))
    assert R2IR.from_pretrained(second).config.training["started_from"]["steps"] == 7


def test_a_model_that_cannot_be_is_named(tmp_path):
    with pytest.raises(InputError, match="latent_channels is 15; a splat has 7"):
        train_resampler(splat_training(tmp_path, model=(*TINY, "latent_channels=15")))
    with pytest.raises(InputError, match="jitter is 'sampled'"):
        train_resampler(splat_training(tmp_path, model=(*TINY, "jitter=sampled")))
