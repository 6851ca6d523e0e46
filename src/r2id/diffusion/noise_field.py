"""Noise as a random field, the same field on every grid that samples it (design §2)."""

from __future__ import annotations

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from r2id.geometry.sizes import Size

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
