"""Presets: settings of trainings that are known to work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from r2id.training.settings import DiffuserTraining, PictureTraining, ResamplerTraining

PRESET_NOTES = {
    "mnist": "Digits, in about five hours for both networks on 2 CPU cores that multiply in bfloat16.",
    "mnist-one-size": "The published claim put to the test: 4x4 latents of 32x32 images, and no other size.",
    "mnist-reference": "The published recipe, to compare with.",
    "mnist-splats": "Digits as 128 Gaussian splats, on 8x8 latents of two splats each.",
    "rgb-16x": "RGB pictures around 256x256, at a sixteenth of their height and width: 31 and 287 million parameters.",
    "flowers": "Photographs by class, on stored latents of R2IR's bundled pictures.",
    "emoji": "Drawings from words, on stored latents of R2IR's bundled pictures.",
    "pictures": "Photographs and drawings of any size: R2IR's pyramid, in three hours on 2 CPU cores.",
    "pictures-large": "The same for a GPU: larger crops, more of them, and a network of 14 million parameters.",
}

# 768 channels hold the values of a square of 16×16 RGB pixels.
_RGB = ("dim=1024", "num_heads=16")

_RGB_IMAGES: dict[str, Any] = {
    "data": "images",
    "image_size": (256, 256),
    "channels": 3,
    "latent_sizes": ((16, 16), (16, 16), (12, 12), (24, 24), (12, 20), (20, 12)),
}

_RESAMPLER = ResamplerTraining(
    latent_sizes=((4, 4), (4, 4), (4, 4), (5, 5), (6, 6), (8, 8), (4, 8), (8, 4)),
    steps=7_000,
    batch_size=128,
    learning_rate=2e-3,
    warmup_steps=200,
    beta2=0.98,
    precision="bf16",
    compile=True,
    latent_noise=0.07,
    latent_jitter=0.25,
    pixel_share=0.5,
    model=("num_blocks=1", "pixel_dim=64"),
)

_PICTURES = PictureTraining(
    num_workers=2,
    steps=10_000,
    batch_size=16,
    learning_rate=8e-4,
    warmup_steps=200,
    beta2=0.98,
    precision="bf16",
)

RESAMPLER_PRESETS: dict[str, ResamplerTraining | PictureTraining] = {
    "mnist": _RESAMPLER,
    "mnist-one-size": replace(_RESAMPLER, latent_sizes=((4, 4),), steps=3_000),
    "mnist-reference": ResamplerTraining(
        model=("attention=global", "feature_map=elu", "jitter=sampled"),
    ),
    # Splats take no noise: a place is right to a tenth of a cell, or the stroke is blurred.
    "mnist-splats": ResamplerTraining(
        latent_sizes=((8, 8), (8, 8), (8, 8), (8, 8), (6, 6), (10, 10)),
        steps=5_000,
        batch_size=32,
        learning_rate=1.5e-3,
        warmup_steps=100,
        beta2=0.98,
        ema_decay=0.995,
        latent_jitter=0.1,
        pixel_share=0.5,
        two_tone=0.16,
        model=("attention=splats", "latent_channels=14", "num_blocks=1"),
    ),
    "rgb-16x": ResamplerTraining(
        **_RGB_IMAGES,
        steps=100_000,
        batch_size=32,
        learning_rate=5e-4,
        precision="bf16",
        compile=True,
        latent_noise=0.05,
        latent_jitter=0.25,
        pixel_share=0.5,
        model=(*_RGB, "latent_channels=768", "num_blocks=1", "sample_size=256", "latent_size=16", "pixel_dim=128"),
    ),
    "pictures": _PICTURES,
    "pictures-large": replace(
        _PICTURES,
        num_workers=8,
        latent_sizes=((12, 12),),
        steps=20_000,
        batch_size=128,
        compile=True,
        model=("widths=(48,128,256,384)", "block_dim=128"),
    ),
}

_DIFFUSER = DiffuserTraining(
    latent_sizes=(
        ((4, 4),) * 3
        + ((5, 5), (6, 6), (8, 8), (8, 8), (10, 10), (10, 10), (16, 16), (16, 16))
        + ((4, 8), (8, 4), (4, 10), (10, 4), (7, 16), (16, 7))
    ),
    steps=21_000,
    batch_size=128,
    warmup_steps=300,
    beta2=0.98,
    precision="bf16",
    compile=True,
    # The kernel and the positions must resolve 16×16 latents, or R2ID cannot average out the noise.
    model=("encoder_blocks=4", "decoder_blocks=4", "sample_size=16", "basis=10"),
)

# With 64 channels in 288 a network has room for the noise, and learns the velocity sooner than the clean sample.
_FLOWERS = DiffuserTraining(
    resampler="pictures",
    steps=20_000,
    batch_size=32,
    optimizer="muon",
    learning_rate=1.5e-3,
    final_learning_rate=2e-5,
    warmup_steps=200,
    weight_decay=0.1,
    beta2=0.98,
    times="logit-normal",
    time_mean=0.6,
    time_std=1.3,
    precision="bf16",
    portable=True,
    num_tokens=4,
    model=(
        "dim=288",
        "num_heads=6",
        "encoder_blocks=3",
        "decoder_blocks=4",
        "attention=softmax",
        "basis=4",
        "local_radius=0.1875",
        "pooled_tokens=True",
    ),
)

DIFFUSER_PRESETS = {
    "flowers": _FLOWERS,
    # A drawing's colours and form show through nearly all noise. Where training has less, it hardly learns the texts.
    "emoji": replace(
        _FLOWERS,
        text_encoder="words",
        background=255,
        time_mean=1.0,
        time_std=1.4,
    ),
    "mnist": _DIFFUSER,
    # Digits are known to the weights of mnist; their other latents are not.
    "mnist-splats": DiffuserTraining(
        resampler="mnist-splats",
        init_from="mnist",
        latent_sizes=((8, 8), (8, 8), (8, 8), (8, 8), (6, 6), (10, 10)),
        steps=20_000,
        batch_size=64,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warmup_steps=200,
        beta2=0.98,
        precision="bf16",
        compile=True,
        portable=True,
        picture_weight=0.3,
    ),
    # One grid cannot teach the noise of an area on others, so the noise is the schedule's own. Rows and columns move,
    # so that training covers the latents between grid points.
    "mnist-one-size": replace(
        _DIFFUSER,
        latent_sizes=((4, 4),),
        latent_jitter=0.3,
        steps=5_000,
        model=("encoder_blocks=4", "decoder_blocks=4", "sample_size=8", "noise_reference_size=None"),
    ),
    "mnist-reference": DiffuserTraining(
        model=(
            "feature_map=elu",
            "jitter=sampled",
            "prediction_type=epsilon",
            "sample_size=4",
            "noise_reference_size=None",
            "radius=None",
        ),
    ),
    "rgb-16x": DiffuserTraining(
        **_RGB_IMAGES,
        steps=200_000,
        batch_size=64,
        learning_rate=3e-4,
        warmup_steps=2_000,
        precision="bf16",
        compile=True,
        # The radius is one and a half cells of 16x16 latents, as of 4x4 in preset mnist.
        model=(*_RGB, "time_dim=256", "token_dim=1024", "sample_size=16", "noise_reference_size=16", "radius=0.09375"),
    ),
}
