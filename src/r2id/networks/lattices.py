"""Lattices of the pyramid: reading pixels and scattered colours to them, and squares of their points (design §3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from r2id.geometry.cells import Cells, Window
from r2id.geometry.kernels import Reading, cubic_reading, read_separably
from r2id.geometry.sizes import Region, Size

POINTS = 16
"""Points a cell, along an axis, of the lattice that pixels are read to. Four of them are one of the finest body's."""


Pixels = Callable[[Region], Tensor]
"""Gives the pixels [B, C, h, w] in [−1, 1] of a region of a picture, which may be larger than memory."""


def regions_of(image: Tensor) -> Pixels:
    """Return what gives the regions of an image [B, C, H, W] in memory."""
    return lambda region: image[:, :, region[0] : region[2], region[1] : region[3]]


def read_to_lattice(pixels: Pixels, size: Size, cells: Cells, window: Window) -> Tensor:
    """What a window of cells of a picture of `size` looks like on the lattice: [B, POINTS·rows, POINTS·columns, C].

    Where the last cells of the canvas are not whole, the picture's last pixels go on in them.
    """
    readings = [
        cubic_reading(
            (torch.arange(POINTS * first, POINTS * last, dtype=torch.float64) + 0.5) / POINTS * (count / side),
            count,
            count / side / POINTS,
        )
        for first, last, count, side in zip(window[:2], window[2:], size, cells, strict=True)
    ]
    (top, bottom), (left, right) = ((one.indices.min().item(), one.indices.max().item() + 1) for one in readings)
    some = pixels((int(top), int(left), int(bottom), int(right)))
    rows, columns = (
        Reading(one.indices - first, one.weights).to(some.device)
        for one, first in zip(readings, (top, left), strict=True)
    )
    return read_separably(some, rows, columns).movedim(1, -1)


POINT_SPREAD = 0.4
"""Standard deviation of the kernel that reads scattered points, in distances between them."""
POINT_CELLS = 4
"""Cells along a side whose lattice scattered points are read to at once."""


def scatter_to_lattice(colours: Tensor, places: Tensor, spacing: tuple[float, float], cells: Size) -> Tensor:
    """The lattice of scattered colours, [B, POINTS·rows, POINTS·columns, C]: a Gaussian mean of the nearest ones.

    Args:
        colours: [B, N, C].
        places: [N, 2], in cells.
        spacing: distances between neighbouring points along each axis, in cells.
        cells: rows and columns of whole cells.
    """
    scale = places.new_tensor(spacing) * POINT_SPREAD * math.sqrt(2)
    lattice = colours.new_empty(len(colours), POINTS * cells[0], POINTS * cells[1], colours.shape[-1])
    reach = max(1.0, 3 * max(spacing))
    for top in range(0, cells[0], POINT_CELLS):
        for left in range(0, cells[1], POINT_CELLS):
            rows, columns = (
                torch.arange(POINTS * first, POINTS * min(first + POINT_CELLS, count), device=places.device)
                for first, count in zip((top, left), cells, strict=True)
            )
            asked = (torch.cartesian_prod(rows, columns) + 0.5) / POINTS
            near = ((places > asked[0] - reach) & (places < asked[-1] + reach)).all(-1)
            near = near if near.any() else torch.ones_like(near)
            # As a softmax, a place far from every point takes the colour of the nearest.
            weights = torch.cdist(asked / scale, places[near] / scale).square().neg().softmax(-1)
            read = (weights @ colours[:, near]).unflatten(1, (len(rows), len(columns)))
            lattice[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = read
    return lattice


def gather_squares(x: Tensor) -> Tensor:
    """[B, 2H, 2W, C] → [B, H, W, 4·C]: the four points of each square side by side."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def spread_squares(x: Tensor) -> Tensor:
    """[B, H, W, 4·C] → [B, 2H, 2W, C], the inverse."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, 2, 2, c // 4).permute(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)
