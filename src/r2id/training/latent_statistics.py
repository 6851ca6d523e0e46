"""Mean and standard deviation of a resampler's latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from r2id.data.dataset import Dataset, ImageDataset
from r2id.geometry.canvas import canvas_of, plain
from r2id.geometry.sizes import Size
from r2id.networks.resampler import R2IR
from r2id.training.batch_order import latent_sizes, seen_counts
from r2id.training.settings import Training

TILES = 100
"""Tiles that the latents of a pyramid are measured on. Each has some hundred latents."""

SAMPLES = 1000
"""Pictures that the latents of a diffuser's data are measured on."""

PIXELS = 8
"""Pixels along a side of each latent in the pictures that its channels are measured by."""

COARSENESS = 0.5
"""Power of a channel's share of the picture that its scale is in proportion to: 0 for channels of one scale, 1 for
those of pixels."""


@torch.no_grad()
def measure_latents(resampler: R2IR, config: Training, data: Sequence[ImageDataset], count: int = 2000) -> None:
    """Store mean and standard deviation per latent channel, over images and latent grids, in the resampler.

    A pyramid encodes whole tiles at its own pixels a cell, whatever the crops that it learnt from.
    """
    count = TILES if resampler.is_pyramid else count
    counts = seen_counts(data)
    moments, shares = [], []
    for some, seen in zip(data, counts, strict=True):
        share = seen / sum(counts)
        chosen = spread_over(some, math.ceil(count * share)).split(min(100, config.batch_size))
        sizes = (None,) if resampler.is_pyramid else latent_sizes(config, data, some)
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


@torch.no_grad()
def adapt_to(
    resampler: R2IR, data: Sequence[Dataset], sizes: Sequence[Size | None], coarseness: float = COARSENESS
) -> None:
    """Store mean and scale per channel of the latents that a diffuser will learn, in a pyramid.

    A pyramid encodes any picture, so its own statistics are not those of a set of drawings. Its channels also show very
    unequally: one is the brightness of a cell, most are faint details. Noise that were equally strong in all would hide
    them together. Each channel is therefore scaled to a variance in proportion to what it changes in the picture, and
    the mean variance is 1. So noise hides details first, and sampling goes from coarse to fine, as it does with pixels.

    Args:
        resampler: the pyramid, on the device to compute on.
        data: stored latents, or images of one size in each.
        sizes: of each data set, the latents to encode images to; any for stored latents.
        coarseness: power of a channel's share of the picture that its scale is in proportion to.
    """
    latents = []
    counts = seen_counts(data)
    for some, size, seen in zip(data, sizes, counts, strict=True):
        chosen = spread_over(some, math.ceil(SAMPLES * seen / sum(counts)))
        parts = (some.batch(which, resampler.device) for which in chosen.split(50))
        latents += [plain(part if canvas_of(part) else resampler.encode(part, size)).float() for part in parts]
    values = torch.cat([part.movedim(1, 0).flatten(1) for part in latents], dim=1)
    spread = values.std(dim=1).clamp_min(1e-6)
    seen_change = change_in_pictures(resampler, latents[0][:8], spread)
    scale = (seen_change / seen_change.square().mean().sqrt()) ** coarseness
    resampler.latent_mean.copy_(values.mean(dim=1))
    resampler.latent_std.copy_(spread / (scale / scale.square().mean().sqrt()))


def change_in_pictures(resampler: R2IR, latents: Tensor, spread: Tensor) -> Tensor:
    """Return the root mean square change of decoded pictures by noise in each channel, [C].

    Args:
        latents: [B, C, h, w].
        spread: standard deviation of the noise of each channel, [C].
    """
    cells = (latents.shape[-2], latents.shape[-1])
    size = (PIXELS * cells[0], PIXELS * cells[1])
    noise = torch.randn(latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents)
    pictures = resampler.decode(latents, size, cells)
    changes = []
    for channel in range(latents.shape[1]):
        moved = latents.clone()
        moved[:, channel] += spread[channel] * noise
        changes.append((resampler.decode(moved, size, cells) - pictures).square().mean().sqrt())
    return torch.stack(changes).float()
