"""A latent compiled into a function of coordinates: any region of the picture, at any size, streamed."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid, Points, pixel_centres
from r2id.geometry.sizes import Region, Size, check_region, check_size

ROUNDING = 1e-6
"""How far coordinates may be computed beyond an edge."""


class Decoder(Protocol):
    """A network that reads a source once and then answers each query on its own."""

    def summarise(self, values: Tensor, source: Grid) -> Any: ...

    def read(self, summary: Any, query: Grid | Points) -> Tensor: ...


class ImageField:
    """What `R2IR.decode` is made of. The latent is read once; every colour then depends on its own coordinates only.

    Made by `R2IR.field(latent)`.

    Attributes:
        channels: of the picture, 1 for grey or 3 for RGB.
    """

    def __init__(self, decoder: Decoder, latent: Tensor, source: Grid, sample_size: int, channels: int) -> None:
        self._decoder, self.channels = decoder, channels
        self._summary = self._decoder.summarise(latent, source)
        self._batch, self._dtype, self._device = len(latent), latent.dtype, latent.device
        self._extent, self._sample_size = source.extent, sample_size

    def __call__(self, coordinates: Tensor, canvas: tuple[float, float] = (1, 1)) -> Tensor:
        """Colours at relative coordinates (y, x), ±0.5 at the picture's edges: [..., 2] → [B, C, ...] in (−1, 1).

        Args:
            coordinates: [..., 2], floating.
            canvas: height and width, in those of the picture, of a canvas around the same centre on which coordinates
                may lie: (1, 2) takes x from −1 to 1. Beyond the picture the field continues what it holds.
        Raises:
            InputError: for coordinates outside of the canvas.
        """
        largest = 0.5 * torch.tensor(canvas, dtype=coordinates.dtype, device=coordinates.device) + ROUNDING
        outside = ~(coordinates.abs() <= largest).all(-1)
        if outside.any():
            y, x = coordinates[outside][0].tolist()
            raise InputError(
                f"coordinates ({y:g}, {x:g}) are outside of the canvas; "
                f"y must be within ±{canvas[0] / 2:g} and x within ±{canvas[1] / 2:g}"
            )
        # Each point stands for a pixel as large as training's, which are square.
        cell = tuple(1 / (self._sample_size * side) for side in self._extent)
        flat = Points(coordinates.reshape(-1, len(cell)).to(self._device, torch.float32), cell, self._extent)
        colours = self._decoder.read(self._summary, flat)
        colours = colours.movedim(-1, 1)
        return colours.reshape(*colours.shape[:2], *coordinates.shape[:-1])

    def render(self, size: Size, region: Region | None = None, pixels_at_once: int = 1 << 14) -> Tensor:
        """The picture at `size` (H, W), or the part of it in `region`, as [B, C, height, width] in (−1, 1).

        A pixel coarser than a training pixel is the mean of the field over its area, sampled as densely as training
        was; a finer one is the field at its centre.

        Args:
            size: height and width of the whole picture in pixels.
            region: (top, left, bottom, right) in pixels of the whole picture; gives exactly its pixels.
            pixels_at_once: under `torch.inference_mode()`, memory beyond the output is proportional to this, not to
                `size`.
        Raises:
            InputError: for an empty size, or a region that is empty or not inside it.
        """
        height, width = check_size(size)
        top, left, bottom, right = check_region(region, (height, width)) if region else (0, 0, height, width)
        output: Tensor | None = None
        per_pixel = math.prod(self._supersampling((height, width))) * self._batch
        # Squares reach the fewest latents.
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
        """Some rows [h] and columns [w] of the picture at `size` (H, W), by their indices: [B, C, h, w] in (−1, 1).

        All at once and without checks: what `render` does for each of its tiles.
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

    def _supersampling(self, size: Size) -> Size:
        """How many samples of the field along each axis are averaged for a pixel."""
        height, width = (
            torch.sym_max(1, math.ceil(self._sample_size * extent / count - 1e-6))
            for extent, count in zip(self._extent, size, strict=True)
        )
        return height, width
