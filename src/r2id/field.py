"""A latent compiled into a function of coordinates: any region of the picture, at any size, streamed."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from r2id.coordinates import Grid, Points
from r2id.sizes import Region, Size, check_region, check_size


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

    def __call__(self, coordinates: Tensor) -> Tensor:
        """Colours at relative coordinates (y, x), ±0.5 at the picture's edges: [..., 2] → [B, C, ...] in (−1, 1)."""
        # Each point stands for a pixel as large as training's, which are square.
        cell = (1 / (self._sample_size * self._extent[0]), 1 / (self._sample_size * self._extent[1]))
        flat = Points(coordinates.reshape(-1, 2).to(self._device, torch.float32), cell, self._extent)
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
        supersampling = [
            max(1, math.ceil(self._sample_size * extent / count - 1e-6))
            for extent, count in zip(self._extent, (height, width), strict=True)
        ]
        fine = Grid.of_size((height * supersampling[0], width * supersampling[1]), self._extent, self._device)
        output: Tensor | None = None
        per_pixel = supersampling[0] * supersampling[1] * self._batch
        # Squares reach the fewest latents.
        tile_width = max(1, min(right - left, math.isqrt(pixels_at_once // per_pixel)))
        tile_height = max(1, pixels_at_once // (per_pixel * tile_width))
        for y in range(top, bottom, tile_height):
            for x in range(left, right, tile_width):
                rows = slice(y * supersampling[0], min(y + tile_height, bottom) * supersampling[0])
                columns = slice(x * supersampling[1], min(x + tile_width, right) * supersampling[1])
                colours = self._decoder.read(self._summary, fine.crop(rows, columns)).movedim(-1, 1)
                if supersampling != [1, 1]:
                    colours = nn.functional.avg_pool2d(colours, supersampling)
                if output is None:
                    output = colours.new_empty(self._batch, colours.shape[1], bottom - top, right - left)
                output[:, :, y - top : y - top + tile_height, x - left : x - left + tile_width] = colours
        assert output is not None
        return output
