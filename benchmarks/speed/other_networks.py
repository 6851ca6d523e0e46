"""Networks of others, of the sizes that R2ID and R2IR are compared with."""

from __future__ import annotations

from typing import Any

import diffusers

CHANNELS = 64
"""Of the latents that all denoise."""


def dit(side: int) -> Any:
    """DiT (Peebles & Xie 2023), with quadratic attention."""
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=CHANNELS,
        num_layers=8,
        sample_size=side,
        patch_size=1,
        num_embeds_ada_norm=10,
    )


def sana(side: int) -> Any:
    """Sana (Xie et al. 2024), with linear attention, and convolutions in its feed-forward."""
    return diffusers.SanaTransformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=6,
        attention_head_dim=32,
        num_layers=9,
        num_cross_attention_heads=6,
        cross_attention_head_dim=32,
        cross_attention_dim=192,
        caption_channels=192,
        sample_size=side,
    )


def unet(side: int) -> Any:
    """The convolutional UNet."""
    return diffusers.UNet2DModel(
        sample_size=side,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 96, 160),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        num_class_embeds=11,
    )


def autoencoder() -> Any:
    """AutoencoderKL (Rombach et al. 2022) at an eighth of height and width, without its quadratic attention."""
    return diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        mid_block_add_attention=False,
    )
