"""Noise as a random field, the same field on every grid that samples it (design §2)."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from r2id.geometry.sizes import Size

Generators = torch.Generator | list[torch.Generator] | None


def finest_grid(size: Size) -> Size:
    """The grid that `field_noise` draws before it averages, with fewer than 16 samples for each one of `size`.

    A square of the longer side, unless that is more than four times the shorter: then a square of four times the
    shorter, split on along the longer side alone.
    """
    square = min(max(size), 4 * min(size))
    height, width = (_power_of_two(max(square, side)) for side in size)
    return height, width


def field_noise(batch: int, channels: int, size: Size, generator: Generators = None) -> Tensor:
    """White noise as a random field: independent standard normal numbers [B, C, h, w], the same field at every size.

    White noise on the canvas is known by its averages over areas. Here they are drawn from coarse to fine: each area is
    split in four by three new numbers (a Haar wavelet transform), until there are as many as samples along the longer
    side, or four times as many as along the shorter; then each is split in two along the longer side by one new number.
    Samples are averages over their own cells, scaled to variance 1. From the same generator, a sample of a 4×4 grid is
    therefore exactly half the sum of the four of an 8×8 grid that share its area, and other sizes resemble each other
    as far as their cells do. Time and memory are linear in the samples.

    Args:
        batch, channels, size: of the result.
        generator: one for all of the batch, or one for each.
    """
    first = generator[0] if isinstance(generator, list) else generator
    device = first.device if first else None
    field = randn_tensor((batch, channels, 1, 1), generator, device)
    finest = finest_grid(size)
    while field.shape[-1] < min(finest):
        across, down, diagonal = randn_tensor((batch, channels, 3, *field.shape[-2:]), generator, device).unbind(2)
        above = torch.stack([field + across + down + diagonal, field - across + down - diagonal], dim=-1)
        below = torch.stack([field + across - down - diagonal, field - across - down + diagonal], dim=-1)
        field = torch.stack([above.flatten(-2), below.flatten(-2)], dim=-2).flatten(-3, -2) / 2
    for axis in (-2, -1):
        while field.shape[axis] < finest[axis]:
            change = randn_tensor(tuple(field.shape), generator, device)
            halves = torch.stack([field + change, field - change], dim=-1 if axis == -1 else -2)
            field = halves.flatten(axis - 1, axis) / 2**0.5
    for axis in (-2, -1):
        field = _averaged(field, size[axis], axis)
    return field


def _power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


BLOCK = 256
"""Samples of a row that are averaged at once: the weights of a whole row would cost the cube of its length."""


def _averaged(field: Tensor, count: int, axis: int) -> Tensor:
    """Averages over `count` cells along an axis, -2 or -1, whose length is a power of two and no less than that.

    Longer rows are averaged in blocks, whose edges move to those of the nearest cells.
    """
    blocks = max(1, field.shape[axis] // BLOCK)
    edges = [round(count * block / blocks) for block in range(blocks + 1)]
    averages = []
    for (begin, end), piece in zip(pairwise(edges), field.chunk(blocks, dim=axis), strict=True):
        weights = _cell_averages(end - begin, piece.shape[axis]).to(field.device)
        averages.append(weights @ piece if axis == -2 else piece @ weights.mT)
    return torch.cat(averages, dim=axis)


@cache
def _cell_averages(count: int, fine: int) -> Tensor:
    """Weights [count, fine] of averages over the cells of a row, from those of a finer row; rows are orthonormal."""
    edges = torch.arange(fine + 1, dtype=torch.float64) / fine
    cells = torch.arange(count + 1, dtype=torch.float64) / count
    end, begin = torch.minimum(edges[1:], cells[1:, None]), torch.maximum(edges[:-1], cells[:-1, None])
    overlap = (end - begin).clamp_min(0)
    # Neighbours that share a fine cell would be correlated. U·Vᵀ is the nearest matrix with orthonormal rows.
    left, _, right = torch.linalg.svd(overlap, full_matrices=False)
    return (left @ right).float()
