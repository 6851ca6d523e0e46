"""White noise as a random field that any grid can sample (design §2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from r2id.geometry.sizes import Size

Generators = torch.Generator | list[torch.Generator] | tuple[torch.Generator, ...] | None


def finest_grid(size: Size) -> Size:
    """Return the grid that `field_noise` draws before averaging, with fewer than 16 samples per sample of `size`.

    It is a square of the longer side. A longer side above four times the shorter starts from a square of four times the
    shorter side, and splits further along the longer side only.
    """
    square = min(max(size), 4 * min(size))
    height, width = (_power_of_two(max(square, side)) for side in size)
    return height, width


def field_noise(batch: int, channels: int, size: Size, generator: Generators = None) -> Tensor:
    """Return independent standard normal noise [B, C, h, w]; one generator gives one field, sampled at any size.

    White noise on the canvas is defined by its averages over areas, which are drawn from coarse to fine. A Haar wavelet
    transform splits each area in four with three new numbers, up to `finest_grid`'s square. Then one new number splits
    each area in two along the longer side. Samples are averages over their own cells, scaled to variance 1.

    With one generator, a sample of a 4×4 grid is exactly half the sum of the four samples of an 8×8 grid in its area.
    Other sizes agree as far as their cells do. Time and memory are linear in the samples.

    Args:
        batch, channels, size: shape of the result.
        generator: one for the whole batch, or one for each item.
    """
    generator = list(generator) if isinstance(generator, tuple) else generator
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


def same_field(batch: int, channels: int, sizes: Sequence[Size], generator: Generators = None) -> list[Tensor]:
    """Return `field_noise` of one field at several sizes; without a generator, torch's own is used."""
    own = [generator] if isinstance(generator, torch.Generator) else list(generator or [torch.default_generator])
    states = [one.get_state() for one in own]
    noises = []
    for size in sizes:
        for one, state in zip(own, states, strict=True):
            one.set_state(state)
        noises.append(field_noise(batch, channels, size, generator))
    return noises


def _power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


BLOCK = 256
"""Samples of a row that are averaged at once. Weights of a whole row would cost the cube of its length."""


def _averaged(field: Tensor, count: int, axis: int) -> Tensor:
    """Return averages over `count` cells along axis -2 or -1, whose length is a power of two of at least `count`.

    Longer rows are averaged in blocks, whose edges move to the nearest cell edges.
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
    """Return weights [count, fine] of averages over the cells of a row, from a finer row; rows are orthonormal."""
    edges = torch.arange(fine + 1, dtype=torch.float64) / fine
    cells = torch.arange(count + 1, dtype=torch.float64) / count
    end, begin = torch.minimum(edges[1:], cells[1:, None]), torch.maximum(edges[:-1], cells[:-1, None])
    overlap = (end - begin).clamp_min(0)
    # Neighbours that share a fine cell would be correlated. U·Vᵀ is the nearest matrix with orthonormal rows.
    left, _, right = torch.linalg.svd(overlap, full_matrices=False)
    return (left @ right).float()
