"""Noise whose strength belongs to the picture, not to the grid that samples it (design §2).

Independent noise on every sample averages out over an area the more, the denser the samples. So that an area is as
noisy on every grid, a denser grid needs more noise per sample: a variance, relative to the signal's, in proportion to
the number of samples.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from r2id.sizes import Size

Generators = torch.Generator | list[torch.Generator] | None


def field_noise(batch: int, channels: int, size: Size, generator: Generators = None) -> Tensor:
    """White noise as a random field: independent standard normal numbers [B, C, h, w], the same field at every size.

    White noise on the canvas is known by its averages over areas. Here they are drawn from coarse to fine: each area is
    split in four by three new numbers (a Haar wavelet transform), until there are as many as samples along the longer
    side. Samples are averages over their own cells, scaled to variance 1. From the same generator, a sample of a 4×4
    grid is therefore exactly half the sum of the four of an 8×8 grid that share its area, and other sizes resemble
    each other as far as their cells do.

    Args:
        batch, channels, size: of the result.
        generator: one for all of the batch, or one for each.
    """
    first = generator[0] if isinstance(generator, list) else generator
    device = first.device if first else None
    field = randn_tensor((batch, channels, 1, 1), generator, device)
    while field.shape[-1] < max(size):
        across, down, diagonal = randn_tensor((batch, channels, 3, *field.shape[-2:]), generator, device).unbind(2)
        above = torch.stack([field + across + down + diagonal, field - across + down - diagonal], dim=-1)
        below = torch.stack([field + across - down - diagonal, field - across - down + diagonal], dim=-1)
        field = torch.stack([above.flatten(-2), below.flatten(-2)], dim=-2).flatten(-3, -2) / 2
    rows, columns = (_cell_averages(count, field.shape[-1]).to(field.device) for count in size)
    return rows @ field @ columns.mT


def _cell_averages(count: int, fine: int) -> Tensor:
    """Weights [count, fine] of averages over the cells of a row, from those of a finer row; rows are orthonormal."""
    edges = torch.arange(fine + 1, dtype=torch.float64) / fine
    cells = torch.arange(count + 1, dtype=torch.float64) / count
    end, begin = torch.minimum(edges[1:], cells[1:, None]), torch.maximum(edges[:-1], cells[:-1, None])
    overlap = (end - begin).clamp_min(0)
    # Neighbours that share a fine cell would be correlated. U·Vᵀ is the nearest matrix with orthonormal rows.
    left, _, right = torch.linalg.svd(overlap, full_matrices=False)
    return (left @ right).float()


def shift_noise(alpha_bar: Tensor, ratio: float) -> Tensor:
    """ᾱ/(ᾱ + ratio·(1 − ᾱ)): the signal's share of the variance once the noise's is `ratio` times as large.

    (1 − ᾱ)/ᾱ is multiplied by the ratio, so a ratio and its inverse undo each other.
    """
    return alpha_bar / (alpha_bar + ratio * (1 - alpha_bar))


def density(size: Size, reference_size: int | None) -> float:
    """Samples of a grid for every sample of the square reference grid; 1 where there is no reference."""
    return size[0] * size[1] / reference_size**2 if reference_size else 1.0


def shift_scheduler(scheduler: Any, ratio: float) -> Any:
    """A copy of a diffusers scheduler whose noise at every timestep is shifted as `shift_noise` does."""
    if ratio == 1:
        return scheduler
    alpha_bar = shift_noise(scheduler.alphas_cumprod.double(), ratio)
    alphas = alpha_bar.clone()
    alphas[1:] /= alpha_bar[:-1]
    return type(scheduler).from_config(scheduler.config, trained_betas=(1 - alphas).tolist())


def alpha_bar_at(scheduler: Any, timestep: Tensor) -> Tensor:
    """The signal's share of the variance at a timestep, between whole timesteps by interpolation."""
    table = scheduler.alphas_cumprod.to(timestep.device)
    below = timestep.float().floor().clamp(0, len(table) - 1)
    above = (below + 1).clamp(max=len(table) - 1)
    return torch.lerp(table[below.long()], table[above.long()], timestep.float() - below)
