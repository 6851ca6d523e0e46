"""Grids of more latents than were learnt, sampled from coarse to fine (design §5).

The first stage samples a grid no longer than those of training, which composes the picture. Each further stage has up
to twice as many latents along a side. It starts from the picture of the stage before, with noise that hides fine detail
alone, and is predicted in windows of as many latents as were learnt. After DemoFusion (Du et al. 2023,
arXiv:2311.16973) and MegaFusion (Wu et al. 2024, arXiv:2408.11001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from r2id.diffusion.windows import Windows
from r2id.geometry.canvas import Canvas
from r2id.geometry.coordinates import Grid
from r2id.geometry.sizes import Size, scaled, with_longer_side
from r2id.networks.batches import clean_samples, decode_some_at_once
from r2id.networks.resampler import R2IR

LEAST_SIGNAL = 0.5
"""ᾱ from which on a stage goes on from the one before. With more noise, windows paint coarse strokes of their own over
the picture, and at 0.1 whole subjects."""
LARGEST_STEP = 2
"""Times the latents along a side of the stage before, at most, but for TOLERANCE."""
TOLERANCE = 1.1
"""Times as many latents along a side that need no stage more, as sides are whole numbers."""


def stages_of(latent_sizes: Sequence[Size], most: int | None) -> list[list[Size]]:
    """Return the grids of every stage, one for each canvas; the last ones are `latent_sizes`.

    Args:
        latent_sizes: (h, w) of each canvas.
        most: latents along the longer side that were learnt; None for a single stage.
    """
    excess = max(max(one) for one in latent_sizes) / most if most else 1.0
    steps = max(0, math.ceil(math.log(excess / TOLERANCE, LARGEST_STEP)))
    if not steps:
        return [list(latent_sizes)]
    factors = [excess ** (number / steps - 1) for number in range(steps + 1)]
    return [[scaled(one, (factor, factor)) for one in latent_sizes] for factor in factors]


def windows_of(grids: Sequence[Size], most: int | None) -> list[Windows] | None:
    """Return square windows of `most` latents along a side, or less where a grid has less, for each of the grids of a
    stage; None if they were learnt whole."""
    if len(stages_of(grids, most)) == 1:
        return None
    assert most
    sizes = [(min(most, height), min(most, width)) for height, width in grids]
    return [Windows(grid, size, size) for grid, size in zip(grids, sizes, strict=True)]


@torch.no_grad()
def refined(resampler: R2IR | None, samples: Tensor, latent_size: Size, canvas: Canvas) -> Tensor:
    """Return the samples [B, C, h', w'] of a finer grid that show the pictures of samples [B, C, h, w]."""
    grid = Grid.of_size(latent_size, canvas, samples.device)
    if resampler is None:
        return clean_samples(None, samples, grid)
    size = with_longer_side(resampler.longer_side(latent_size, canvas), canvas)
    latents = resampler.destandardise(samples).to(resampler.dtype)
    pictures = decode_some_at_once(resampler, latents, size, canvas)
    return torch.cat([clean_samples(resampler, some, grid) for some in pictures])
