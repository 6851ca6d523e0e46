"""The cosine transform that a pyramid is before it is trained (design §3).

On each lattice, a point stands for a square of pixels. Channels hold the cosine transform of these and of their colours
(Ahmed, Natarajan & Rao 1974). Of three colours, that gives their mean and two opponents. Each coefficient is divided by
its spread in photographs, so that all channels are about as large. Where channels are fewer than coefficients, the ones
of least spread are left out. A merge computes a coarser lattice's coefficients from those of four points.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

DETAIL = 0.12
"""Spread of a coefficient of photographs in [−1, 1], times its frequency in half waves a pixel."""
LEAST_FREQUENCY = 0.17
"""Frequency in half waves a square that stands for that of the mean."""
OPPONENT_SHARE = 1 / 6
"""Spread of a difference of colours, as a share of their mean's."""


@torch.no_grad()
def start_as_cosine_transform(
    finest: nn.Linear,
    between: Iterable[nn.Linear],
    coarsest: nn.Linear,
    widths: Sequence[int],
    colours: int,
    inverse: bool,
) -> None:
    """Set the layers of an encoder (or, inverted, of a decoder) to a cosine transform.

    Args:
        finest: between the colours of four pixels and the finest lattice.
        between: between lattices, finer ones first.
        coarsest: between the coarsest lattice and latents.
        widths: channels of the lattices, finer ones first.
        colours: channels of a pixel.
        inverse: whether the layers are a decoder's.
    """
    for layer in (finest, coarsest, *(between := list(between))):
        layer.weight.zero_()
        layer.bias.zero_()
    coarsest.weight.fill_diagonal_(1)
    forward = backward = torch.eye(colours, dtype=torch.float64)
    for level, (layer, width) in enumerate(zip((finest, *between), widths, strict=True)):
        to_finer, from_finer, finer = forward, backward, len(forward)
        basis, spread = _cosines(2 ** (level + 1), colours, width)
        forward, backward = basis / spread[:, None], basis.T * spread
        # Channels beyond the coefficients start at zero.
        if inverse:
            leave = torch.block_diag(*[to_finer] * 4) @ backward
            layer.weight.unflatten(0, (4, -1))[:, :finer, : len(forward)] = leave.unflatten(0, (4, finer))
        else:
            enter = forward @ torch.block_diag(*[from_finer] * 4)
            layer.weight.unflatten(1, (4, -1))[: len(forward), :, :finer] = enter.unflatten(1, (4, finer))


def _cosines(side: int, colours: int, most: int) -> tuple[Tensor, Tensor]:
    """Return the cosines of a square that have the largest spread, and their spreads, in float64.

    Args:
        side: of the square, in pixels: a power of two.
        colours: channels of a pixel.
        most: how many cosines to return.
    Returns:
        [count, side·side·colours], orthonormal, with pixels in the order in which squares of squares are gathered; and
        [count].
    """
    along, hues = _cosines_of(side), _cosines_of(colours)
    basis = torch.einsum("uy,vx,hc->huvyxc", along, along, hues).flatten(0, 2)
    waves = torch.arange(side, dtype=torch.float64)
    frequency = torch.hypot(waves[:, None], waves).clamp(min=LEAST_FREQUENCY) / side
    shares = torch.tensor([1.0] + [OPPONENT_SHARE] * (colours - 1), dtype=torch.float64)
    spread = (DETAIL * shares[:, None, None] / frequency).flatten()
    kept = spread.argsort(descending=True, stable=True)[:most]
    return _in_squares(basis[kept]), spread[kept]


def _cosines_of(count: int) -> Tensor:
    """Return the orthonormal cosines [count, count] of that many samples, one a row."""
    waves, places = torch.arange(count, dtype=torch.float64), torch.arange(count, dtype=torch.float64) + 0.5
    cosines = (waves[:, None] * places * (math.pi / count)).cos() * math.sqrt(2 / count)
    cosines[0] /= math.sqrt(2)
    return cosines


def _in_squares(pixels: Tensor) -> Tensor:
    """[N, S, S, C] → [N, S·S·C], in which the four quarters follow each other, and so on in each of them."""
    levels = pixels.shape[1].bit_length() - 1
    halves = pixels.reshape(len(pixels), *[2] * (2 * levels), -1)
    rows_and_columns = [axis for level in range(levels) for axis in (1 + level, 1 + levels + level)]
    return halves.permute(0, *rows_and_columns, 1 + 2 * levels).flatten(1)
