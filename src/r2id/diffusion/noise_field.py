"""White noise as a random field that any grid can sample (design §2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

Generators = torch.Generator | list[torch.Generator] | tuple[torch.Generator, ...] | None


def finest_grid(size: Sequence[int]) -> tuple[int, ...]:
    """Return the grid that `field_noise` draws before averaging; of a picture, it has fewer than 16 samples per sample.

    It has the longest side along every axis. A longest side above four times the shortest starts from four times the
    shortest, and splits further along the longer axes only.
    """
    even = min(max(size), 4 * min(size))
    return tuple(_power_of_two(max(even, side)) for side in size)


def field_noise(batch: int, channels: int, size: Sequence[int], generator: Generators = None) -> Tensor:
    """Return independent standard normal noise [B, C, *size]; one generator gives one field, sampled at any size.

    White noise on the canvas is defined by its averages over areas, which are drawn from coarse to fine. A Haar wavelet
    transform halves each area along every axis; of a picture, it makes four of one by three new numbers. Once the
    shortest axis of `finest_grid` is reached, one new number splits each area in two along the others.

    With one generator, a sample of a 4×4 grid is exactly half the sum of the four samples of an 8×8 grid in its area.
    Other sizes agree as far as their cells do. Time and memory are linear in the samples.

    Args:
        batch, channels, size: shape of the result; `size` has a length for each axis, such as (h, w).
        generator: one for the whole batch, or one for each item.
    """
    generator = list(generator) if isinstance(generator, tuple) else generator
    first = generator[0] if isinstance(generator, list) else generator
    device = first.device if first else None
    finest, axes = finest_grid(size), range(-len(size), 0)
    field = randn_tensor((batch, channels, *[1] * len(size)), generator, device)
    while field.shape[-1] < min(finest):
        changes = randn_tensor((batch, channels, 2 ** len(size) - 1, *field.shape[2:]), generator, device)
        field = _halved(field, changes)
    for axis in axes:
        while field.shape[axis] < finest[axis]:
            change = randn_tensor(tuple(field.shape), generator, device)
            halves = torch.stack([field + change, field - change], dim=axis)
            field = halves.flatten(axis - 1, axis) / 2**0.5
    for axis in axes:
        field = _averaged(field, size[axis], axis)
    return field


def same_field(batch: int, channels: int, sizes: Sequence[Sequence[int]], generator: Generators = None) -> list[Tensor]:
    """Return `field_noise` of one field at several sizes; without a generator, torch's own is used."""
    own = [generator] if isinstance(generator, torch.Generator) else list(generator or [torch.default_generator])
    states = [one.get_state() for one in own]
    noises = []
    for size in sizes:
        for one, state in zip(own, states, strict=True):
            one.set_state(state)
        noises.append(field_noise(batch, channels, size, generator))
    return noises


def _halved(field: Tensor, changes: Tensor) -> Tensor:
    """Return [B, C, 2·h, …] of a field [B, C, h, …] on D axes and the changes [B, C, 2^D − 1, h, …] inside its areas.

    Changes are numbered from 1. Each bit of the number stands for an axis, the lowest for the last. A change turns its
    sign between the halves along each axis whose bit is set.
    """
    parts = [field, *changes.unbind(2)]
    areas = [
        reduce(torch.add, (-part if (number & area).bit_count() % 2 else part for number, part in enumerate(parts)))
        for area in range(len(parts))
    ]
    for axis in range(-1, 1 - field.ndim, -1):
        pairs = zip(areas[::2], areas[1::2], strict=True)
        areas = [torch.stack(pair, dim=axis).flatten(axis - 1, axis) for pair in pairs]
    return areas[0] / len(parts) ** 0.5


def _power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


BLOCK = 256
"""Samples of a row that are averaged at once. Weights of a whole row would cost the cube of its length."""


def _averaged(field: Tensor, count: int, axis: int) -> Tensor:
    """Return averages over `count` cells along an axis, whose length is a power of two of at least `count`.

    Longer rows are averaged in blocks, whose edges move to the nearest cell edges.
    """
    blocks = max(1, field.shape[axis] // BLOCK)
    edges = [round(count * block / blocks) for block in range(blocks + 1)]
    averages = []
    for (begin, end), piece in zip(pairwise(edges), field.chunk(blocks, dim=axis), strict=True):
        weights = _cell_averages(end - begin, piece.shape[axis]).to(field.device)
        # Matrices multiply one of the last two axes, so earlier ones take turns.
        averages.append(piece @ weights.mT if axis == -1 else (weights @ piece.movedim(axis, -2)).movedim(-2, axis))
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
