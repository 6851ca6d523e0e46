"""Dual coordinates and jitter of samples, on any number of axes (design §1.1).

A picture is a function on a rectangle, the *canvas*. A grid of pixels or latents samples it. Every sample has
four coordinates, y and x in two systems, both centred on the canvas:

- **relative**: the canvas's own edges are ±0.5, so a sample knows where the borders are;
- **absolute**: the edges of the square that circumscribes the canvas are ±0.5, so a sample knows the proportions.

The number of axes is free: a signal in time has one, and its canvas is an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.sizes import check_lengths, first_given, listed


def pixel_centres(count: int, indices: Tensor | None = None, device: torch.device | None = None) -> Tensor:
    """Return relative coordinates (i + ½)/count − ½ of pixels i in a row of `count`, by default of all: [count]."""
    indices = torch.arange(count) if indices is None else indices
    # float64 keeps neighbours apart in very long rows. Not every device has it, so this runs on the CPU.
    centres = ((indices.double() + 0.5) / count - 0.5).float()
    return centres.to(device, non_blocking=device is not None and torch.device(device).type == "cuda")


def canvas_extent(canvas: Sequence[float]) -> tuple[float, ...]:
    """Return the absolute sides of a canvas, the longest of which is 1. Only the proportions of `canvas` matter."""
    longest = reduce(torch.sym_max, canvas)
    return tuple(side / longest for side in canvas)


@dataclass(frozen=True)
class Points:
    """Samples of a canvas at arbitrary places.

    Attributes:
        relative: [N, D] relative coordinates, ±0.5 at the canvas's edges; (y, x) of a picture. Those of windows have
            one for each picture, [B, N, D].
        cell: relative sides of the part of the canvas that one sample covers; (height, width) of a picture.
        extent: absolute sides of the canvas; the longest is 1.
    """

    relative: Tensor
    cell: tuple[float, ...]
    extent: tuple[float, ...]

    def absolute(self) -> Tensor:
        """Return the absolute coordinates, [N, D]."""
        return self.relative * self.relative.new_tensor(self.extent)

    def jittered(self, cells: float = 0.5) -> Points:
        """Move every sample by Gaussian noise with a standard deviation of `cells` cells per axis."""
        noise = torch.randn_like(self.relative) * self.relative.new_tensor(self.cell)
        return replace(self, relative=self.relative + cells * noise)


@dataclass(frozen=True)
class Grid:
    """Samples of a canvas at every combination of places along its axes: a whole image or a region.

    Attributes:
        axes: relative coordinates along each axis; of a picture, y of each row [H] and x of each column [W]. Those of
            `windows` have one for each picture, [B, H] and [B, W].
        cell: relative sides of one sample's cell; (height, width) of a pixel.
        extent: absolute sides of the canvas; the longest is 1.
        even: whether neighbours along every axis are known to be one cell apart, in ascending order.
    """

    axes: tuple[Tensor, ...]
    cell: tuple[float, ...]
    extent: tuple[float, ...]
    even: bool = False

    @classmethod
    def of_size(
        cls, size: Sequence[int], canvas: Sequence[float] | None = None, device: torch.device | None = None
    ) -> Grid:
        """Return the grid of sample centres of `size`, one length per axis; (height, width) gives those of pixels.

        `canvas` gives the proportions of the picture. By default they are the grid's own, and cells are square.
        Raises InputError for an empty size, or a canvas of another number of axes.
        """
        lengths = check_lengths(size)
        canvas = first_given(listed(canvas), lengths)
        if len(canvas) != len(lengths):
            raise InputError(f"canvas is {canvas!r}; it must have {len(lengths)} sides, as the size {size!r} has")
        return cls(
            axes=tuple(pixel_centres(length, device=device) for length in lengths),
            cell=tuple(1 / length for length in lengths),
            extent=canvas_extent(canvas),
            even=True,
        )

    @property
    def size(self) -> tuple[int, ...]:
        """Samples along each axis."""
        return tuple(axis.shape[-1] for axis in self.axes)

    @property
    def whole_size(self) -> tuple[int, ...]:
        """Samples along each axis of the whole canvas, of which this may be a part."""
        return tuple(round(1 / side) for side in self.cell)

    def crop(self, *parts: slice | Tensor) -> Grid:
        """Select a part of each axis. Samples keep their places and cells."""
        even = self.even and all(isinstance(part, slice) and part.step in (None, 1) for part in parts)
        return replace(self, axes=tuple(axis[part] for axis, part in zip(self.axes, parts, strict=True)), even=even)

    def windows(self, *indices: Tensor) -> Grid:
        """Select a window for each picture of a batch: consecutive indices along each axis, [B, length] each.

        In all windows of an even grid, offsets between samples are the same.
        """
        return replace(self, axes=tuple(axis[some] for axis, some in zip(self.axes, indices, strict=True)))

    def first_window(self) -> Grid:
        """Return the window of the first picture; of a grid that all pictures share, the grid."""
        return replace(self, axes=tuple(axis[0] if axis.ndim > 1 else axis for axis in self.axes))

    def jittered(self, cells: float = 0.5) -> Grid:
        """Move every place along each axis by Gaussian noise with a standard deviation of `cells` cells.

        Whole rows and columns move, so the samples stay a grid and computations stay separable in y and x.
        """
        moved = (axis + cells * side * torch.randn_like(axis) for axis, side in zip(self.axes, self.cell, strict=True))
        return replace(self, axes=tuple(moved), even=False)

    def points(self) -> Points:
        """Return the samples as a list, in which the last axis varies fastest."""
        last, batch = len(self.axes) - 1, self.axes[0].shape[:-1]
        places = [
            along.unflatten(-1, (*[1] * axis, -1, *[1] * (last - axis))).expand(*batch, *self.size)
            for axis, along in enumerate(self.axes)
        ]
        return Points(torch.stack(places, dim=-1).flatten(-2 - last, -2), self.cell, self.extent)


Samples = Grid | Points
