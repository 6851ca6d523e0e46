"""Panoramas: canvases far beyond training, predicted in overlapping windows that are blended at each step.

After MultiDiffusion (Bar-Tal et al. 2023, arXiv:2302.08113). Each window is a canvas as in training. Time and memory
are linear in the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from r2id.geometry.canvas import Canvas
from r2id.geometry.coordinates import Grid, canvas_extent, pixel_centres
from r2id.geometry.kernels import raised_cosine
from r2id.geometry.sizes import Size
from r2id.networks.resampler import R2IR

Corner: TypeAlias = tuple[int, int]
"""Row and column of a window's top left sample."""

APART_BELOW = 0.1
"""ᾱ below which windows lie side by side, so that each composes a subject of its own. With overlap from the start, the
subjects of neighbours grow together; side by side for longer, borders show."""

SAMPLES_TOGETHER = 4096
"""Samples, over windows and batch, that are predicted at once."""


@dataclass(frozen=True)
class Windows:
    """Overlapping windows on a grid of latents.

    Attributes:
        grid: height and width of all latents.
        size: of a window; at most those of the grid.
        canvas: proportions of a window.
        wanted: which samples are wanted, [1, 1, h, w]; None for all. Windows without any are left out.
    """

    grid: Size
    size: Size
    canvas: Canvas
    wanted: Tensor | None = field(default=None, compare=False)

    @classmethod
    def over(cls, picture: Size, canvas: Canvas, size: Size) -> Windows:
        """Return the windows for a picture, along whose shorter side, in windows, there is one.

        Args:
            picture: height and width in pixels.
            canvas: proportions of a window.
            size: height and width of its latents.
        """
        # Pixels of a window along each unit of its canvas.
        scale = min(side / unit for side, unit in zip(picture, canvas, strict=True))
        height, width = (
            max(count, round(count * side / (scale * unit)))
            for count, side, unit in zip(size, picture, canvas, strict=True)
        )
        return cls((height, width), size, canvas)

    def corners(self, apart: bool = False) -> list[Corner]:
        """Return the top left sample of each window. Neighbours overlap by half or more, or as little as they can."""
        rows, columns = (_starts(count, window, apart) for count, window in zip(self.grid, self.size, strict=True))
        corners = [(row, column) for row in rows for column in columns]
        return [one for one in corners if self.wanted is None or self.crop(self.wanted, one).any()]

    def of(self, wanted: Tensor) -> Windows:
        """Return the windows that hold a sample that is wanted, of [1, 1, h, w]."""
        return replace(self, wanted=wanted)

    def borders(self, width: int) -> list[int]:
        """Return the columns of a picture of `width` pixels at which a window begins or ends, without its edges."""
        ends = {column + end for _, column in self.corners() for end in (0, self.size[1])}
        return [round(end * width / self.grid[1]) for end in sorted(ends - {0, self.grid[1]})]

    def crop(self, samples: Tensor, corner: Corner) -> Tensor:
        """Return the samples [..., h, w] of a window."""
        (row, column), (height, width) = corner, self.size
        return samples[..., row : row + height, column : column + width]

    def cropped(self, samples: Tensor, corners: Sequence[Corner]) -> Tensor:
        """Return the samples [N·B, ..., h, w] of N windows."""
        return torch.cat([self.crop(samples, corner) for corner in corners])

    def blended(
        self, predict: Callable[[Tensor, Sequence[Corner]], Tensor], sample: Tensor, alpha_bar: Tensor
    ) -> Tensor:
        """Return a prediction [B, C, h, w] for a canvas of any size, in windows.

        Where windows overlap, predictions are averaged, with weights that fall towards a window's edges. Where there is
        none, the prediction is 0.

        Args:
            predict: from the samples [N·B, C, h, w] of N windows, and their N corners, to the predictions.
            sample: [B, C, h, w].
            alpha_bar: of the sample, [1].
        """
        rows, columns = (_fall(pixel_centres(count, device=sample.device)) for count in self.size)
        weight = rows[:, None] * columns
        summed = torch.zeros_like(sample, dtype=torch.float32)
        total = torch.zeros_like(sample[:1, :1], dtype=torch.float32)
        corners, batch = self.corners(bool(alpha_bar < APART_BELOW)), len(sample)
        together = max(1, SAMPLES_TOGETHER // (batch * math.prod(self.size)))
        for first in range(0, len(corners), together):
            some = corners[first : first + together]
            predictions = predict(self.cropped(sample, some), some)
            for corner, part in zip(some, predictions.split(batch), strict=True):
                self.crop(summed, corner).add_(part.float() * weight)
                self.crop(total, corner).add_(weight)
        return (summed / total.clamp_min(1e-6)).to(sample.dtype)

    def decode(self, resampler: R2IR, latents: Tensor, size: Size) -> Tensor:
        """Return pictures [B, C, H, W] of `size`, decoded in windows, whose colours are blended as predictions are.

        A pyramid, whose reach is a few cells on any canvas, decodes the whole at once.
        """
        if resampler.is_pyramid:
            return resampler.decode(latents, size, size)
        pictures = latents.new_zeros(len(latents), resampler.config.image_channels, *size, dtype=torch.float32)
        total = torch.zeros_like(pictures[:1, :1])
        cell = tuple(grid / (side * count) for grid, side, count in zip(self.grid, size, self.size, strict=True))
        for corner in self.corners():
            parts, axes = zip(
                *(_inside(*along) for along in zip(corner, self.size, self.grid, size, strict=True)), strict=True
            )
            places = Grid(tuple(axis.to(latents.device) for axis in axes), cell, canvas_extent(self.canvas))
            weight = _fall(places.axes[0])[:, None] * _fall(places.axes[1])
            field = resampler.field(self.crop(latents, corner), self.canvas)
            pictures[..., parts[0], parts[1]] += field.means(places).float() * weight
            total[..., parts[0], parts[1]] += weight
        return pictures / total


def _starts(count: int, window: int, apart: bool) -> list[int]:
    """Return first samples of windows that cover `count` samples evenly, as few as can, or each over at least half of
    its neighbour."""
    gaps = math.ceil((count - window) / (window if apart else max(1, window // 2)))
    return [round(number * (count - window) / gaps) for number in range(gaps + 1)] if gaps else [0]


def _inside(start: int, window: int, grid: int, side: int) -> tuple[slice, Tensor]:
    """Return which of `side` pixels lie in a window of samples along an axis, and their relative coordinates in it."""
    places = (torch.arange(side, dtype=torch.float64) + 0.5) * grid / side
    first, last = torch.searchsorted(places, torch.tensor([start, start + window], dtype=torch.float64)).tolist()
    return slice(first, last), ((places[first:last] - start) / window - 0.5).float()


def _fall(relative: Tensor) -> Tensor:
    """Return weights of places in a window, ±0.5 at its edges, which fall to almost 0 there."""
    return raised_cosine(2 * relative).clamp_min(1e-3)
