"""Where the samples of an image lie: dual coordinates and jitter (design §1.1).

A picture is a function on a rectangle, the *canvas*. A grid of pixels or latents only samples it. Every sample
has four coordinates, y and x in two systems, both centred on the canvas:

- **relative**: the canvas's own edges are ±0.5, so a sample knows where the borders are;
- **absolute**: the edges of the square that circumscribes the canvas are ±0.5, so a sample knows the proportions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r2id.geometry.sizes import Size, check_size


def pixel_centres(count: int, indices: Tensor | None = None, device: torch.device | None = None) -> Tensor:
    """Relative coordinates (i + ½)/count − ½ of pixels i of a row of `count`, by default of all. Shape [count]."""
    indices = torch.arange(count) if indices is None else indices
    # In float64, which not every device has, so that neighbours stay apart in very long rows.
    centres = ((indices.double() + 0.5) / count - 0.5).float()
    return centres.to(device, non_blocking=device is not None and torch.device(device).type == "cuda")


def canvas_extent(canvas: tuple[float, float]) -> tuple[float, float]:
    """Absolute (height, width) of a canvas: its longer side is 1. Only the proportions of `canvas` matter."""
    longer = torch.sym_max(*canvas)
    return canvas[0] / longer, canvas[1] / longer


@dataclass(frozen=True)
class Points:
    """Samples of a canvas at arbitrary places.

    Attributes:
        relative: [N, 2] relative (y, x) coordinates, ±0.5 at the canvas's edges.
        cell: relative (height, width) of the area that one sample stands for.
        extent: absolute (height, width) of the canvas; the longer is 1.
    """

    relative: Tensor
    cell: tuple[float, float]
    extent: tuple[float, float]

    def absolute(self) -> Tensor:
        """[N, 2] absolute (y, x) coordinates."""
        return self.relative * self.relative.new_tensor(self.extent)

    def jittered(self, cells: float = 0.5) -> Points:
        """Every sample moved by Gaussian noise with a standard deviation of `cells` of its cell, per axis."""
        noise = torch.randn_like(self.relative) * self.relative.new_tensor(self.cell)
        return replace(self, relative=self.relative + cells * noise)


@dataclass(frozen=True)
class Grid:
    """Samples of a canvas in rows and columns; a whole image, or a region of one.

    Attributes:
        rows: [H] relative y of each row.
        columns: [W] relative x of each column.
        cell: relative (height, width) of one pixel.
        extent: absolute (height, width) of the canvas; the longer is 1.
    """

    rows: Tensor
    columns: Tensor
    cell: tuple[float, float]
    extent: tuple[float, float]

    @classmethod
    def of_size(cls, size: Size, canvas: tuple[float, float] | None = None, device: torch.device | None = None) -> Grid:
        """The pixel centres of an image of `size` (height, width).

        `canvas` gives the proportions of the picture that the grid samples; by default pixels are square and the
        proportions are the grid's own. Raises InputError for an empty size.
        """
        height, width = check_size(size)
        return cls(
            rows=pixel_centres(height, device=device),
            columns=pixel_centres(width, device=device),
            cell=(1 / height, 1 / width),
            extent=canvas_extent(canvas or size),
        )

    @property
    def size(self) -> Size:
        return len(self.rows), len(self.columns)

    def crop(self, rows: slice | Tensor, columns: slice | Tensor) -> Grid:
        """The same samples, fewer of them: pixels keep their place and their cell."""
        return replace(self, rows=self.rows[rows], columns=self.columns[columns])

    def jittered(self, cells: float = 0.5) -> Grid:
        """Every row and every column moved by Gaussian noise with a standard deviation of `cells` of its cell.

        Moving whole rows and columns keeps the samples a grid, so whatever is separable in y and x stays so.
        """
        return replace(
            self,
            rows=self.rows + cells * self.cell[0] * torch.randn_like(self.rows),
            columns=self.columns + cells * self.cell[1] * torch.randn_like(self.columns),
        )

    def points(self) -> Points:
        """The same samples as a list, row by row."""
        relative = torch.cartesian_prod(self.rows, self.columns).reshape(-1, 2)
        return Points(relative, self.cell, self.extent)


Samples = Grid | Points
