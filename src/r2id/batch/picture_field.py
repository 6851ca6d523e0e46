"""A picture file as a function of coordinates: colours and alpha by R2IR, in the levels of the file (design §3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from r2id.errors import InputError
from r2id.files.pictures import Picture, PixelFormat
from r2id.geometry.sizes import Region, Size
from r2id.networks.resampler import R2IR

PIXELS_PER_CELL = 4
"""Of the picture that is resampled. With so few in a cell, the latents keep all of them."""
NEAR = 2
"""Pixels on either side from which what is transparent takes its colour."""


OVERSHOOT = 0.5
"""How far a colour may lie beyond those of the pixels around it, in parts of their range.

Less takes sharpness away (0.3 dB at 0), and more leaves stains on even colours. Measured on BSDS500's train."""


@dataclass(frozen=True)
class _Near:
    """The pixels around each pixel of a resampled region.

    Attributes:
        region: of the picture, that holds them all.
        lines: row and column in it, of the pixel that each resampled row and column lies in.
        margins: rows and columns around, on either side.
    """

    region: Region
    lines: list[Tensor]
    margins: list[int]

    def limit(self, values: Tensor, pixels: Tensor, overshoot: float) -> Tensor:
        """Clamp values to the range of the pixels around them, so that even colours stay so and nothing gets a halo."""
        highest, lowest = self._highest(pixels), -self._highest(-pixels)
        beyond = overshoot * (highest - lowest)
        return values.minimum(highest + beyond).maximum(lowest - beyond).clamp(-1, 1)

    def _highest(self, x: Tensor) -> Tensor:
        kernel = [2 * margin + 1 for margin in self.margins]
        highest = functional.max_pool2d(x, kernel, 1, self.margins)
        return highest.index_select(2, self.lines[0]).index_select(3, self.lines[1])


class PictureField:
    """A picture as a function of coordinates, in the levels of its file: any region, at any size.

    Colours are multiplied by alpha, and put on the mean colour of what is seen around them. A transparent place has no
    colour of its own, and the colours have no edge where it begins. R2IR reads alpha like a grey picture.

    Args:
        network: a pyramid that takes RGB.
        levels_of: gives the levels [h, w, channels] of a region of the picture.
        size: (height, width) of the picture.
        form: what the levels mean.
        opaque: whether alpha is known to be full everywhere.
    """

    def __init__(
        self,
        network: R2IR,
        levels_of: Callable[[Region], numpy.ndarray],
        size: Size,
        form: PixelFormat,
        opaque: bool = False,
    ) -> None:
        if network.config.image_channels != 3:
            raise InputError(f"the model takes {network.config.image_channels} channels; pictures need one of RGB")
        self.size, self.form, self.channels, self.device = size, form, form.channels, network.device
        self._levels_of, self._opaque = levels_of, opaque or not form.transparent
        self._colours = network.field_of(self._read_colours, size, PIXELS_PER_CELL)
        self._alpha = network.field_of(
            lambda region: self._values(region)[:, -1:].expand(-1, 3, -1, -1), size, PIXELS_PER_CELL
        )

    def blocks(self, size: Size) -> Size:
        """Return the height and width of the blocks that a picture of `size` is rendered in."""
        return self._colours.blocks(size)

    def render(self, size: Size, region: Region | None = None) -> Tensor:
        """Render the picture at `size`, or a region of it, as [1, channels, height, width] in [−1, 1], alpha last."""
        return self._render(size, region or (0, 0, *size), self._colours.render, self._alpha.render)

    def view(self, size: Size, region: Region) -> Tensor:
        """Return what `render` does of a region, up to rounding. It decodes no cells but the region's own."""
        return self._render(size, region, self._colours.view, self._alpha.view)

    def _render(
        self,
        size: Size,
        region: Region,
        colours_of: Callable[[Size, Region], Tensor],
        alpha_of: Callable[[Size, Region], Tensor],
    ) -> Tensor:
        near = self._near(size, region)
        colours = near.limit(colours_of(size, region), self._read_colours(near.region), OVERSHOOT)
        if self.form.colours == 1:
            colours = colours.mean(1, keepdim=True)
        if not self.form.transparent:
            return colours
        if self._opaque:
            return torch.cat([colours, torch.ones_like(colours[:, :1])], 1)
        alpha = alpha_of(size, region).mean(1, keepdim=True)
        return torch.cat([colours, near.limit(alpha, self._values(near.region)[:, -1:], 0)], 1)

    def _near(self, size: Size, region: Region) -> _Near:
        lines, margins, starts = [], [], []
        for axis in range(2):
            step = self.size[axis] / size[axis]
            margin = math.ceil(max(1.0, step))
            places = torch.arange(region[axis], region[axis + 2], dtype=torch.float64) + 0.5
            pixels = (places * step).long().clamp(max=self.size[axis] - 1)
            start = max(0, int(pixels[0]) - margin)
            lines.append((pixels - start).to(self.device))
            margins.append(margin)
            starts.append((start, min(self.size[axis], int(pixels[-1]) + margin + 1)))
        (top, bottom), (left, right) = starts
        return _Near((top, left, bottom, right), lines, margins)

    def _values(self, region: Region) -> Tensor:
        levels = self._levels_of(region)
        values = torch.from_numpy(levels.astype(numpy.float32)).to(self.device)
        return values.movedim(-1, 0)[None] / (2**self.form.depth - 1) * 2 - 1

    def _read_colours(self, region: Region) -> Tensor:
        if self._opaque:
            return self._values(region)[:, : self.form.colours].expand(-1, 3, -1, -1)
        top, left, bottom, right = region
        grown = (
            max(0, top - NEAR),
            max(0, left - NEAR),
            min(self.size[0], bottom + NEAR),
            min(self.size[1], right + NEAR),
        )
        values = (self._values(grown) + 1) / 2
        alpha = values[:, -1:]
        seen = torch.cat([values[:, :-1] * alpha, alpha], 1)
        around = functional.avg_pool2d(seen, 2 * NEAR + 1, 1, NEAR)
        colours = seen[:, :-1] + (1 - alpha) * around[:, :-1] / around[:, -1:].clamp(min=1e-6)
        y, x = top - grown[0], left - grown[1]
        inside = colours[:, :, y : y + bottom - top, x : x + right - left]
        return (2 * inside - 1).expand(-1, 3, -1, -1)


def field_of(network: R2IR, picture: Picture) -> PictureField:
    """Return a picture in memory as a function of coordinates."""
    levels = picture.levels
    opaque = picture.form.transparent and bool((levels[..., -1] == 2**picture.form.depth - 1).all())
    return PictureField(
        network, lambda region: levels[region[0] : region[2], region[1] : region[3]], picture.size, picture.form, opaque
    )
