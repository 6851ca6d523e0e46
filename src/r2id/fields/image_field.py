"""A latent as a function of coordinates: any region of the picture, at any size, in tiles."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid, Points, pixel_centres
from r2id.geometry.sizes import Region, Size, check_region, check_size

ROUNDING = 1e-6
"""Tolerance for coordinates beyond an edge, by rounding."""


def check_coordinates(coordinates: Tensor, canvas: tuple[float, float]) -> None:
    """Raises InputError for relative coordinates [..., 2] outside of a canvas around the picture's centre."""
    largest = 0.5 * torch.tensor(canvas, dtype=coordinates.dtype, device=coordinates.device) + ROUNDING
    outside = ~(coordinates.abs() <= largest).all(-1)
    if outside.any():
        y, x = coordinates[outside][0].tolist()
        raise InputError(
            f"coordinates ({y:g}, {x:g}) are outside of the canvas; "
            f"y must be within ±{canvas[0] / 2:g} and x within ±{canvas[1] / 2:g}"
        )


class Decoder(Protocol):
    """A network that reads a source once and answers each query on its own."""

    def summarise(self, values: Tensor, source: Grid) -> Any: ...

    def read(self, summary: Any, query: Grid | Points) -> Tensor: ...


class ImageField:
    """A latent as a function of coordinates, from `R2IR.field(latent)`.

    The decoder reads the latent once. Every colour then depends on its own coordinates only.

    Attributes:
        channels: 1 for a grey picture, 3 for RGB.
    """

    def __init__(self, decoder: Decoder, latent: Tensor, source: Grid, sample_size: int, channels: int) -> None:
        self._decoder, self.channels = decoder, channels
        self._summary = self._decoder.summarise(latent, source)
        self._batch, self._dtype, self._device = len(latent), latent.dtype, latent.device
        self._extent, self._sample_size = source.extent, sample_size

    def __call__(self, coordinates: Tensor, canvas: tuple[float, float] = (1, 1)) -> Tensor:
        """Return colours [B, C, ...] in (−1, 1) at relative coordinates (y, x), ±0.5 at the picture's edges.

        Args:
            coordinates: [..., 2], floating.
            canvas: range of the coordinates around the centre, as multiples of the picture's height and width: (1, 2)
                accepts x from −1 to 1. Beyond the picture the field extrapolates.
        Raises:
            InputError: for coordinates outside the canvas.
        """
        check_coordinates(coordinates, canvas)
        # Each point covers a pixel of the training size, which is square.
        cell = tuple(1 / (self._sample_size * side) for side in self._extent)
        flat = Points(coordinates.reshape(-1, len(cell)).to(self._device, torch.float32), cell, self._extent)
        colours = self._decoder.read(self._summary, flat)
        colours = colours.movedim(-1, 1)
        return colours.reshape(*colours.shape[:2], *coordinates.shape[:-1])

    def render(self, size: Size, region: Region | None = None, pixels_at_once: int = 1 << 14) -> Tensor:
        """Return the picture at `size` (H, W), or its `region`, as [B, C, height, width] in (−1, 1).

        A pixel larger than a training pixel is the mean of the field over its area, sampled at the training density.
        A smaller one is the field at its centre.

        Args:
            size: height and width of the whole picture in pixels.
            region: (top, left, bottom, right) in pixels of the whole picture; its pixels equal those of the whole.
            pixels_at_once: under `torch.inference_mode()`, memory beyond the output is proportional to this, not to
                `size`.
        Raises:
            InputError: for an empty size, or a region that is empty or not inside it.
        """
        height, width = check_size(size)
        top, left, bottom, right = check_region(region, (height, width)) if region else (0, 0, height, width)
        output: Tensor | None = None
        per_pixel = math.prod(self._supersampling((height, width))) * self._batch
        # Square tiles reach the fewest latents.
        tile_width = max(1, min(right - left, math.isqrt(pixels_at_once // per_pixel)))
        tile_height = max(1, pixels_at_once // (per_pixel * tile_width))
        for y in range(top, bottom, tile_height):
            for x in range(left, right, tile_width):
                rows = torch.arange(y, min(y + tile_height, bottom))
                columns = torch.arange(x, min(x + tile_width, right))
                colours = self.pixels((height, width), rows, columns)
                if output is None:
                    output = colours.new_empty(self._batch, colours.shape[1], bottom - top, right - left)
                output[:, :, y - top : y - top + tile_height, x - left : x - left + tile_width] = colours
        assert output is not None
        return output

    def pixels(self, size: Size, rows: Tensor, columns: Tensor) -> Tensor:
        """Return rows [h] and columns [w], given by index, of the picture at `size` (H, W): [B, C, h, w] in (−1, 1).

        `render` calls this for each tile. It runs all at once and checks nothing.
        """
        fine = self._supersampling(size)
        lengths = tuple(length * count for length, count in zip(size, fine, strict=True))
        fine_indices = (
            (indices[:, None] * count + torch.arange(count)).flatten()
            for indices, count in zip((rows, columns), fine, strict=True)
        )
        query = Grid(
            axes=tuple(
                pixel_centres(length, indices, self._device)
                for length, indices in zip(lengths, fine_indices, strict=True)
            ),
            cell=tuple(1 / length for length in lengths),
            extent=self._extent,
        )
        samples = self._decoder.read(self._summary, query)
        samples = samples.unflatten(2, (-1, fine[1])).unflatten(1, (-1, fine[0]))
        return samples.mean(dim=(2, 4)).movedim(-1, 1)

    def means(self, grid: Grid) -> Tensor:
        """Return colours [B, C, h, w] in (−1, 1) at any places on a grid, as means over its cells, as `render` does."""
        fine = [
            max(1, math.ceil(self._sample_size * extent * cell - 1e-6))
            for extent, cell in zip(self._extent, grid.cell, strict=True)
        ]
        axes = (
            (axis[:, None] + cell * pixel_centres(count, device=axis.device)).flatten()
            for axis, cell, count in zip(grid.axes, grid.cell, fine, strict=True)
        )
        cells = tuple(cell / count for cell, count in zip(grid.cell, fine, strict=True))
        samples = self._decoder.read(self._summary, Grid(tuple(axes), cells, self._extent))
        samples = samples.unflatten(2, (-1, fine[1])).unflatten(1, (-1, fine[0]))
        return samples.mean(dim=(2, 4)).movedim(-1, 1)

    def _supersampling(self, size: Size) -> Size:
        """Return the number of field samples per pixel along each axis."""
        height, width = (
            torch.sym_max(1, math.ceil(self._sample_size * extent / count - 1e-6))
            for extent, count in zip(self._extent, size, strict=True)
        )
        return height, width
