"""Mean and standard deviation of a resampler's latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from r2id.data.dataset import Dataset, ImageDataset
from r2id.networks.resampler import R2IR
from r2id.training.batch_order import latent_sizes, seen_counts
from r2id.training.settings import Training

TILES = 100
"""Tiles that the latents of a pyramid are measured on. Each has some hundred latents."""


@torch.no_grad()
def measure_latents(resampler: R2IR, config: Training, data: Sequence[ImageDataset], count: int = 2000) -> None:
    """Store mean and standard deviation per latent channel, over images and latent grids, in the resampler.

    A pyramid encodes whole tiles at its own pixels a cell, whatever the crops that it learnt from.
    """
    is_pyramid = resampler.config.attention == "pyramid"
    count = TILES if is_pyramid else count
    counts = seen_counts(data)
    moments, shares = [], []
    for some, seen in zip(data, counts, strict=True):
        share = seen / sum(counts)
        chosen = spread_over(some, math.ceil(count * share)).split(min(100, config.batch_size))
        sizes = (None,) if is_pyramid else latent_sizes(config, data, some)
        for size in dict.fromkeys(sizes):
            batches = (some.batch(indices, resampler.device) for indices in chosen)
            values = torch.cat([resampler.encode(batch, size).movedim(1, 0).flatten(1) for batch in batches], dim=1)
            moments.append(torch.stack([values.mean(1), values.square().mean(1)]))
            shares.append(share)
    # Every grid has the same weight, whatever its number of samples.
    weights = torch.tensor(shares, device=resampler.device)[:, None, None]
    mean, square = (torch.stack(moments) * weights).sum(0) / weights.sum()
    resampler.latent_mean.copy_(mean)
    resampler.latent_std.copy_((square - mean.square()).clamp_min(1e-6).sqrt())


def spread_over(data: Dataset, count: int) -> Tensor:
    """Return indices of `count` evenly spaced images, which show all labels of data sorted by label."""
    return torch.linspace(0, len(data) - 1, min(count, len(data))).long()
