"""A canvas of cells as a function of coordinates: any region of a picture, at any size, in blocks (design §3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from r2id.fields.image_field import check_coordinates
from r2id.geometry.cells import Cells, Window, whole_cells
from r2id.geometry.sizes import Region, Size, check_region, check_size
from r2id.geometry.tiles import TILE

BLOCK = 96
"""Cells along a side, at most, that are decoded at once, besides their margin. In pixels, blocks hold whole tiles of
files, or tiles whole blocks."""
PIECE = 128
"""Pixels along a side of what is read of a block at once."""
REACH = 2.0
"""Pixels that a reading kernel reaches on either side; where pixels are finer than the lattice, points of it."""


class CellDecoder(Protocol):
    """A network that decodes a window of cells and then answers each place in it on its own.

    Attributes:
        margin: cells around a window that decoding it needs.
    """

    margin: int

    def __call__(self, latent: Tensor, wanted: Window, canvas: Size) -> Any: ...

    def read(self, decoded: Any, rows: Tensor, columns: Tensor, density: tuple[float, float]) -> Tensor: ...

    def read_points(self, decoded: Any, places: Tensor, density: tuple[float, float]) -> Tensor: ...


class CellField:
    """The pyramid's picture: every colour depends on its own place and on the latents within a fixed reach.

    Made by `R2IR.field(latent)`, and by `R2IR.field_of(image)`, which encodes what a region needs and no more.

    Attributes:
        channels: of the picture, 1 for grey or 3 for RGB.
        cells: (height, width) of the canvas.
    """

    def __init__(
        self,
        decoder: CellDecoder,
        latents_of: Callable[[Window], Tensor],
        cells: Cells,
        channels: int,
        points: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            decoder: what decodes.
            latents_of: gives the latents [B, h, w, C] of a window of cells.
            cells: (height, width) of the canvas.
            channels: of the picture.
            points: pixels a cell, along an axis, that the lattice tells apart.
            device: where it is computed.
        """
        self._decoder, self._latents_of, self.cells, self.channels = decoder, latents_of, cells, channels
        self._points, self._device = points, device
        self._grid = whole_cells(cells)
        self._kept: tuple[Window, Any] | None = None

    def __call__(self, coordinates: Tensor, canvas: tuple[float, float] = (1, 1)) -> Tensor:
        """Colours at relative coordinates (y, x), ±0.5 at the picture's edges: [..., 2] → [B, C, ...] in (−1, 1).

        Args:
            coordinates: [..., 2], floating. Each stands for a pixel as small as a point of the finest lattice.
            canvas: as for `ImageField`; the outermost cells are all that there is beyond the edges.
        Raises:
            InputError: for coordinates outside of the canvas.
        """
        check_coordinates(coordinates, canvas)
        flat = coordinates.reshape(-1, 2).to(self._device, torch.float32).clamp(-0.5, 0.5)
        places = (flat + 0.5) * flat.new_tensor(self.cells)
        blocks = (places / BLOCK).floor().long().clamp(min=0)
        colours: Tensor | None = None
        for block in blocks.unique(dim=0):
            mine = (blocks == block).all(-1)
            top, left = (BLOCK * block).tolist()
            window = Window(top, left, top + BLOCK, left + BLOCK).grown(0, self._grid)
            decoded = self._decode(window.grown(1, self._grid))
            some = self._decoder.read_points(decoded, places[mine], (self._points, self._points))
            if colours is None:
                colours = some.new_empty(*some.shape[:2], len(places))
            colours[:, :, mine] = some
        assert colours is not None
        return colours.clamp(-1, 1).reshape(*colours.shape[:2], *coordinates.shape[:-1])

    def render(self, size: Size, region: Region | None = None) -> Tensor:
        """The picture at `size` (H, W), or the part of it in `region`, as [B, C, height, width] in [−1, 1].

        A pixel is what the field holds over an area as large as itself, so that nothing aliases. Blocks and pieces of
        the whole are always computed alike, so that a region has exactly the whole picture's pixels.

        Args:
            size: height and width of the whole picture in pixels.
            region: (top, left, bottom, right) in pixels of the whole picture.
        Raises:
            InputError: for an empty size, or a region that is empty or not inside it.
        """
        return self._render(check_size(size), region, (0, 0), size)

    def view(self, size: Size, region: Region) -> Tensor:
        """`render` of a region that decodes no cells but its own, for looking around in a large picture.

        Blocks begin at the region's corner, so that pixels differ from the whole picture's by rounding.
        """
        return self._render(check_size(size), region, region[:2], region[2:])

    def _render(self, size: Size, region: Region | None, first: Size, last: Size) -> Tensor:
        """The pixels of `region`, in blocks from `first` up to `last`."""
        top, left, bottom, right = check_region(region, size) if region else (0, 0, *size)
        output: Tensor | None = None
        for block in self._covering((top, left, bottom, right), self.blocks(size), first, last):
            decoded = self._decode(self._cells_of(block, size))
            for piece in self._covering((top, left, bottom, right), (PIECE, PIECE), block[:2], block[2:]):
                colours = self._pixels(decoded, size, piece)
                if output is None:
                    output = colours.new_empty(*colours.shape[:2], bottom - top, right - left)
                y, x = max(top, piece[0]), max(left, piece[1])
                shown = colours[:, :, y - piece[0] : bottom - piece[0], x - piece[1] : right - piece[1]]
                output[:, :, y - top : y - top + shown.shape[2], x - left : x - left + shown.shape[3]] = shown
        assert output is not None
        return output

    def blocks(self, size: Size) -> Size:
        """Pixels along the sides of the blocks that a picture of `size` is rendered in."""
        height, width = (_block(count / side) for count, side in zip(size, self.cells, strict=True))
        return height, width

    @staticmethod
    def _covering(region: Region, step: Size, first: Size, last: Size) -> Iterator[Region]:
        """Rectangles of `step` pixels from `first` up to `last` that `region` touches."""
        rows, columns = (
            range(start + (max(inner, start) - start) // by * by, min(outer, stop), by)
            for inner, outer, by, start, stop in zip(region[:2], region[2:], step, first, last, strict=True)
        )
        for y in rows:
            for x in columns:
                yield y, x, min(y + step[0], last[0]), min(x + step[1], last[1])

    def _cells_of(self, block: Region, size: Size) -> Window:
        """The cells that some pixels of a picture read."""
        spans = []
        for first, last, count, side in zip(block[:2], block[2:], size, self.cells, strict=True):
            reach = REACH * max(side / count, 1 / self._points)
            spans.append((math.floor(first * side / count - reach), math.ceil(last * side / count + reach)))
        (top, bottom), (left, right) = spans
        return Window(top, left, bottom, right).grown(0, self._grid)

    def _decode(self, window: Window) -> Any:
        if self._kept is None or self._kept[0] != window:
            self._kept = None  # Before the next, so that only one is in memory.
            latents = self._latents_of(window.grown(self._decoder.margin, self._grid))
            self._kept = window, self._decoder(latents, window, self._grid)
        return self._kept[1]

    def _pixels(self, decoded: Any, size: Size, piece: Region) -> Tensor:
        rows, columns = (
            (torch.arange(first, last, device=self._device, dtype=torch.float64) + 0.5) * (side / count)
            for first, last, count, side in zip(piece[:2], piece[2:], size, self.cells, strict=True)
        )
        density = (size[0] / self.cells[0], size[1] / self.cells[1])
        return self._decoder.read(decoded, rows, columns, density).clamp(-1, 1)


def _block(density: float) -> int:
    """Pixels of at most BLOCK cells: a multiple of TILE, or TILE halved some times."""
    pixels = BLOCK * density
    if pixels >= TILE:
        return int(pixels // TILE) * TILE
    side = TILE
    while side > max(1, pixels):
        side //= 2
    return max(1, side)
