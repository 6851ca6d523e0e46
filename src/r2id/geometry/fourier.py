"""Fourier features of coordinates, and their average over jitter (design §1.1, §2)."""

from __future__ import annotations

import math
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from r2id.geometry.coordinates import Grid, Samples

Jitter = Literal["expected", "sampled", "none"]


def check_jitter(jitter: str) -> None:
    """Raise ValueError unless `jitter` is one of the three kinds."""
    if jitter not in ("expected", "sampled", "none"):
        raise ValueError(f"jitter is {jitter!r}; it must be 'expected', 'sampled' or 'none'")


def frequencies(num_high: int, num_low: int, device: torch.device | None = None) -> Tensor:
    """Return the angular frequencies π·2^k for k = −num_low … num_high − 1, shape [num_low + num_high]."""
    return math.pi * 2.0 ** torch.arange(-num_low, num_high, device=device)


def fourier_features(coordinates: Tensor, angular: Tensor, jitter: Tensor | float = 0.0) -> Tensor:
    """Return sin and cos of every coordinate at every frequency, averaged over Gaussian jitter.

    E[sin(ω(x + ε))] = sin(ωx)·exp(−ω²σ²/2) for ε ~ N(0, σ²), exactly; the same for cos (design §2).

    Args:
        coordinates: [..., D].
        angular: angular frequencies ω, [F].
        jitter: standard deviation σ, one number or one per coordinate, [D], of their type and device; 0 gives plain
            Fourier features.
    Returns:
        [..., D·2·F].
    """
    phases = coordinates[..., None] * angular
    spread = jitter[..., None] if isinstance(jitter, Tensor) else jitter
    kept = torch.exp(-0.5 * (angular * spread) ** 2)
    return torch.cat([phases.sin() * kept, phases.cos() * kept], dim=-1).flatten(-2)


class FourierPositionEmbedding(nn.Module):
    """Linear projection of the Fourier features of dual coordinates: 2 per axis × sin and cos × frequencies → `dim`.

    Args:
        dim: channels out.
        num_high, num_low: frequencies π·2^k for k = −num_low … num_high − 1.
        reference: samples along the longest side of the training grid. With `expected` jitter, σ is half a cell of the
            grid or half a training cell, whichever is wider. Frequencies that training suppressed then stay suppressed
            at every resolution.
        expected: average over the jitter in closed form. Otherwise the caller moves the samples.
        num_axes: axes of the samples; a picture has 2.
    """

    def __init__(
        self, dim: int, num_high: int, num_low: int, reference: int, expected: bool, num_axes: int = 2
    ) -> None:
        super().__init__()
        self.num_high, self.num_low = num_high, num_low
        self.reference, self.expected, self.num_axes = reference, expected, num_axes
        self.linear = nn.Linear(num_axes * 4 * (num_high + num_low), dim)

    def forward(self, samples: Samples) -> Tensor:
        """Return [N, dim] for Points, or [*size, dim] for a Grid, with features once per place along an axis.

        Those of windows have a batch before that.
        """
        places = samples.axes if isinstance(samples, Grid) else samples.relative.unbind(-1)
        features = [self._axis_features(along, samples, axis) for axis, along in enumerate(places)]
        if not isinstance(samples, Grid):
            return self.linear(torch.cat(features, dim=-1))
        weights = self.linear.weight.chunk(self.num_axes, dim=1)
        biases = [None] * (self.num_axes - 1) + [self.linear.bias]
        projected = (nn.functional.linear(*parts) for parts in zip(features, weights, biases, strict=True))
        # An axis of windows keeps its batch before the earlier axes.
        placed = (one.unflatten(-2, (*[1] * axis, -1)) for axis, one in enumerate(projected))
        return reduce(lambda before, along: before[..., None, :] + along, placed)

    def _axis_features(self, relative: Tensor, samples: Samples, axis: int) -> Tensor:
        extent, cell = samples.extent[axis], samples.cell[axis]
        angular = frequencies(self.num_high, self.num_low, relative.device)
        half_cell = 0.5 * torch.sym_max(cell, 1 / (self.reference * extent)) if self.expected else 0.0
        # A number reaches a GPU as an argument. A tensor of both jitters would need a copy and a wait.
        features = [
            fourier_features(relative[..., None] * scale, angular, half_cell * scale) for scale in (1.0, extent)
        ]
        return torch.cat(features, dim=-1).to(self.linear.weight.dtype)
