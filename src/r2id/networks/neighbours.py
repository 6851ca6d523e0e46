"""Neighbours of every sample of a picture, and depthwise kernels of the offset to them (design §4).

For a sample at p and all samples x_n with values v_n, offsets δ_n = (x_n − p)/R in absolute coordinates:

    out(p) = Σ_n w(δ_n) Σ_k φ_k(δ_n) W_k ⊙ v_n / Σ_n w(δ_n)

Window w, basis φ and the least R are those of `LocalKernelAttention`. Weights W_k, one number for each channel, then
mean the same on a grid of any density and at scattered samples. The offsets are found once and serve all blocks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from r2id.geometry.coordinates import Points, Samples
from r2id.networks.attention import relative_reach, window_and_basis


class Stencil(NamedTuple):
    """Neighbours on an even grid, where the sum over them is a convolution.

    Attributes:
        kernel: window times basis at each offset, [basis², rows, columns].
        scale: 1/Σ w of each sample, [H, W]; fewer neighbours are in reach of the edges.
    """

    kernel: Tensor
    scale: Tensor

    # torch.compile (tried: 2.13) fails on a convolution of images and kernels of any size.
    @torch.compiler.disable
    def mix(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return out(p) of values [B, H·W, C] with weights [basis², C]: [B, H·W, C]."""
        rows, columns = self.kernel.shape[1:]
        kernel = (weight.mT @ self.kernel.flatten(1).to(weight.dtype)).view(-1, 1, rows, columns)
        # The channels of a sample stay together in memory: this is channels-last.
        image = values.mT.unflatten(-1, (len(self.scale), -1))
        padding = (rows // 2, columns // 2)
        if values.device.type == "cpu" and torch.is_grad_enabled():
            # The gradient of large kernels takes two to three times as long in bfloat16 (tried: torch 2.13).
            with torch.autocast("cpu", enabled=False):
                mixed = functional.conv2d(image.float(), kernel.float(), padding=padding, groups=values.shape[-1])
        else:
            mixed = functional.conv2d(image, kernel, padding=padding, groups=values.shape[-1])
        return (mixed.to(values.dtype) * self.scale.to(values.dtype)).flatten(2).mT


class Bands(NamedTuple):
    """Neighbours on rows and columns at any places: of each axis window times basis over the window's sum, [places,
    places, basis]."""

    rows: Tensor
    columns: Tensor

    def mix(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return the same as `Stencil.mix`."""
        image = values.unflatten(1, (len(self.rows), len(self.columns)))
        weight = weight.unflatten(0, (self.rows.shape[-1], -1)).to(values.dtype)
        along_columns = torch.einsum("qxk,byxc->byqkc", self.columns.to(values.dtype), image)
        weighted = torch.einsum("byqkc,jkc->byqjc", along_columns, weight)
        return torch.einsum("pyj,byqjc->bpqc", self.rows.to(values.dtype), weighted).flatten(1, 2)


class Pairs(NamedTuple):
    """Neighbours of scattered samples.

    Attributes:
        samples, neighbours: indices of each pair in reach, [P].
        kernel: window times basis over the sum of the sample's window, [P, basis²].
    """

    samples: Tensor
    neighbours: Tensor
    kernel: Tensor

    def mix(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return out(p) of values [B, N, C] with weights [basis², C]: [B, N, C]."""
        seen = values[:, self.neighbours] * (self.kernel.to(weight.dtype) @ weight).to(values.dtype)
        return torch.zeros_like(values).index_add(1, self.samples, seen)


Neighbours = Stencil | Bands | Pairs


def neighbours_of(samples: Samples, radius: float, basis: int, convolves: bool = True) -> Neighbours:
    """Return the neighbours of each of the samples of a picture.

    Args:
        samples: where they are.
        radius: R, in absolute coordinates; at least one cell.
        basis: cosines per axis.
        convolves: whether to convolve on even grids. A graph of any size cannot, as its kernel would have any size too.
    """
    reach = tuple(relative_reach(radius, samples, axis) for axis in range(2))
    if isinstance(samples, Points):
        return _pairs(samples, reach, basis)
    between = [
        window_and_basis((places - places[:, None]) / least, basis)
        for places, least in zip(samples.axes, reach, strict=True)
    ]
    rows, columns = (window.sum(1) for window, _ in between)
    if not (convolves and samples.even):
        return Bands(*(window[..., None] / window.sum(1)[:, None, None] * cosines for window, cosines in between))
    kernels = []
    for places, cell, least in zip(samples.axes, samples.cell, reach, strict=True):
        # The window ends at a distance of 1, so a sample there adds nothing.
        most = min(len(places), math.ceil(least / cell)) - 1
        offsets = torch.arange(-most, most + 1, device=places.device, dtype=places.dtype)
        window, cosines = window_and_basis(offsets * (cell / least), basis)
        kernels.append((window[:, None] * cosines).mT)
    kernel = kernels[0][:, None, :, None] * kernels[1][None, :, None, :]
    return Stencil(kernel.flatten(0, 1), 1 / (rows[:, None] * columns))


def _pairs(samples: Points, reach: tuple[float, ...], basis: int) -> Pairs:
    delta = (samples.relative - samples.relative[:, None]) / samples.relative.new_tensor(reach)
    sample, neighbour = (delta.abs() < 1).all(-1).nonzero().unbind(1)
    windows, cosines = window_and_basis(delta[sample, neighbour], basis)
    window = windows.prod(-1)
    total = window.new_zeros(len(samples.relative)).index_add(0, sample, window)
    kernel = (window / total[sample])[:, None, None] * cosines[:, 0, :, None] * cosines[:, 1, None, :]
    return Pairs(sample, neighbour, kernel.flatten(1))
