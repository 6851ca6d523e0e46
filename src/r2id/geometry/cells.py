"""Canvases in cells: how many there are, and windows of whole ones (design §3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from r2id.geometry.sizes import Size

Cells = tuple[float, float]


def whole_cells(cells: Cells) -> Size:
    """Rows and columns of whole cells that hold a canvas of that many cells, which need not be whole."""
    height, width = (max(1, math.ceil(side - 1e-6)) for side in cells)
    return height, width


def cells_of(grid: Size, canvas: Sequence[float] | None) -> Cells:
    """The canvas of a latent grid, in latents.

    21 × 31 latents are the cells of a canvas of (20.06, 30.06), whose edges lie within the last ones. A canvas of any
    other number of cells, or none, is covered by the grid evenly.
    """
    if canvas is not None and whole_cells((canvas[0], canvas[1])) == grid:
        return canvas[0], canvas[1]
    return float(grid[0]), float(grid[1])


class Window(NamedTuple):
    """Whole cells of a canvas.

    Attributes:
        top, left, bottom, right: in cells; the last two are excluded.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        return self.bottom - self.top, self.right - self.left

    def grown(self, margin: int, canvas: Size) -> Window:
        """With `margin` more cells on every side, where a canvas of that many cells has them."""
        return Window(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(canvas[0], self.bottom + margin),
            min(canvas[1], self.right + margin),
        )

    def crop(self, x: Tensor, wanted: Window, points: int) -> Tensor:
        """The part of x, [B, rows, columns, C] with `points` a cell, that lies in a window inside of this one."""
        rows, columns = (
            slice(points * (start - first), points * (stop - first))
            for start, stop, first in (
                (wanted.top, wanted.bottom, self.top),
                (wanted.left, wanted.right, self.left),
            )
        )
        return x[:, rows, columns]
