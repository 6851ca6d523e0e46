"""The pyramid form of R2IR: a picture on lattices of 8, 4, 2 and 1 points a cell, and one latent for each cell (§3).

A canvas is measured in *cells*. Its lattices belong to the canvas, not to the pixels. The density of pixels enters at
the two ends alone. One kernel reads pixels to a lattice of 16 points a cell, another reads any place of what was
decoded. The body between them is convolutional and has a fixed reach. A window of cells with a margin is therefore
encoded and decoded exactly as in the whole.

Untrained, encoding is a cosine transform cut off after `latent_channels` coefficients, and decoding is its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.fields.cell_field import BLOCK
from r2id.geometry.cells import Cells, Window, whole_cells
from r2id.geometry.coordinates import Grid, Points
from r2id.geometry.kernels import cubic, cubic_reading, line_reading, raised_cosine, read_separably
from r2id.geometry.sizes import Size
from r2id.networks.cosine_transform import start_as_cosine_transform
from r2id.networks.lattices import (
    POINTS,
    Pixels,
    gather_squares,
    read_to_lattice,
    regions_of,
    scatter_to_lattice,
    spread_squares,
)

LATTICES = (8, 4, 2, 1)
"""Points a cell, along an axis, of the body's lattices."""
RADIUS = 2
"""Lattice points that a block reaches."""
DESCRIPTION = 8
"""Numbers that describe a density."""


def describe(density: Tensor) -> Tensor:
    """Pixels a cell, [B], as numbers [B, DESCRIPTION]."""
    octaves = density.log2()[:, None] / 4
    phases = octaves * torch.arange(1, 4, device=density.device) * (math.pi / 2)
    return torch.cat([octaves, octaves.square(), phases.sin(), phases.cos()], dim=1)


class LatticeBlock(nn.Module):
    """x ← x + conv(relu(conv(x) + what it is told)), a residual block without norms (EDSR, Lim et al. 2017).

    It starts as x ← x.
    """

    def __init__(self, dim: int, hidden: int, told: int = 0) -> None:
        super().__init__()
        self.inward = nn.Conv2d(dim, hidden, 3, padding=1)
        self.outward = nn.Conv2d(hidden, dim, 3, padding=1)
        self.told = nn.Linear(told, hidden) if told else None
        for parameter in (*self.outward.parameters(), *(self.told.parameters() if self.told else ())):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """x: [B, H, W, dim]; told: [B, told] → [B, H, W, dim]. Beyond the edges are zeros."""
        # As [B, C, H, W] it lies in memory with channels last, which convolutions are fast for.
        near = self.inward(x.permute(0, 3, 1, 2))
        if self.told is not None:
            near = near + self.told(told)[:, :, None, None]
        return x + self.outward(functional.relu(near)).permute(0, 2, 3, 1)


def levels_of(widths: Sequence[int], blocks: Sequence[int], block_dim: int, told: int = 0) -> nn.ModuleList:
    """The blocks of each lattice, with at most `block_dim` channels inside."""
    return nn.ModuleList(
        nn.ModuleList(LatticeBlock(width, min(width, block_dim), told) for _ in range(count))
        for width, count in zip(widths, blocks, strict=True)
    )


def margins(blocks: Sequence[int], lattices: Sequence[int]) -> list[int]:
    """Cells that each level needs around what is wanted of the last one, by what its own and later blocks reach."""
    needed, total = [], 0
    for count, points in reversed(list(zip(blocks, lattices, strict=True))):
        total += math.ceil(RADIUS * count / points)
        needed.append(total)
    return needed[::-1]


class PyramidEncoder(nn.Module):
    """From a picture on the lattice of POINTS a cell to one latent a cell.

    Args:
        image_channels: 1 for grey, 3 for RGB.
        latent_channels: numbers for each cell.
        widths: channels on each of LATTICES.
        blocks: blocks on each of them.
        block_dim: most channels inside of a block.
    """

    def __init__(
        self,
        image_channels: int,
        latent_channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        block_dim: int,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(4 * image_channels, widths[0])
        self.levels = levels_of(widths, blocks, block_dim, DESCRIPTION)
        self.merges = nn.ModuleList(
            nn.Linear(4 * fine, coarse) for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        self.out = nn.Linear(widths[-1], latent_channels)
        start_as_cosine_transform(self.enter, self.merges, self.out, widths, image_channels, inverse=False)  # type: ignore[arg-type]
        self.margins = margins(blocks, LATTICES)
        self.margin = self.margins[0]

    def forward(self, lattice: Tensor, density: Tensor, wanted: Window, canvas: Size) -> Tensor:
        """Latents [B, h, w, latent_channels] of the cells in `wanted`.

        Args:
            lattice: [B, POINTS·rows, POINTS·columns, image_channels] of the cells in `wanted.grown(self.margin)`.
            density: [B], pixels a cell that the picture had before it was read to the lattice.
            wanted, canvas: which cells, of how many rows and columns.
        """
        told = describe(density)
        window = wanted.grown(self.margin, canvas)
        x = self.enter(gather_squares(lattice))
        for level, (blocks, points) in enumerate(zip(self.levels, LATTICES, strict=True)):
            needed = wanted.grown(self.margins[level], canvas)
            x, window = window.crop(x, needed, points), needed
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, told)
            if level < len(self.merges):
                x = self.merges[level](gather_squares(x))
        return self.out(window.crop(x, wanted, LATTICES[-1]))

    def encode_cells(self, pixels: Pixels, size: Size, cells: Cells) -> Tensor:
        """Latents [B, h, w, latent_channels] of a whole picture, block by block where no gradient is wanted.

        Args:
            pixels: gives the pixels of a region of the picture.
            size: (H, W) of the picture.
            cells: its canvas in cells.
        """
        grid = whole_cells(cells)
        step = max(grid) if torch.is_grad_enabled() else BLOCK

        def block(y: int, x: int) -> Tensor:
            window = Window(y, x, min(y + step, grid[0]), min(x + step, grid[1]))
            return self.encode_window(pixels, size, cells, window)

        columns = range(0, grid[1], step)
        return torch.cat([torch.cat([block(y, x) for x in columns], 2) for y in range(0, grid[0], step)], 1)

    def encode_window(self, pixels: Pixels, size: Size, cells: Cells, window: Window) -> Tensor:
        """The same of a window of cells, from no more pixels than these reach."""
        grid = whole_cells(cells)
        lattice = read_to_lattice(pixels, size, cells, window.grown(self.margin, grid)).to(self.out.weight.dtype)
        density = math.sqrt(size[0] * size[1] / (cells[0] * cells[1]))
        return self(lattice, lattice.new_full((len(lattice),), density), window, grid)

    def encode_scattered(self, colours: Tensor, points: Points, grid: Size) -> Tensor:
        """The same of colours [B, N, C] at scattered points, for a grid of (h, w) cells."""
        spacing = (points.cell[0] * grid[0], points.cell[1] * grid[1])
        places = (points.relative + 0.5) * points.relative.new_tensor(grid)
        lattice = scatter_to_lattice(colours, places, spacing, grid)
        density = lattice.new_full((len(lattice),), 1 / math.sqrt(spacing[0] * spacing[1]))
        return self(lattice, density, Window(0, 0, *grid), grid)


@dataclass(frozen=True)
class Decoded:
    """What places of some cells need to be read.

    Attributes:
        picture: [B, C, POINTS·rows, POINTS·columns], what the body has drawn itself.
        finest: [B, LATTICES[0]·rows, LATTICES[0]·columns, C], the finest lattice, for the correction of it.
        window: which cells.
    """

    picture: Tensor
    finest: Tensor
    window: Window


class PyramidDecoder(nn.Module):
    """From one latent a cell to the colour at any place, of any density.

    Args:
        image_channels, latent_channels, widths, blocks, block_dim: as for PyramidEncoder.
        read_channels: numbers that a place reads of the finest lattice.
        read_dim: channels of the pointwise network that turns these into a colour.
    """

    def __init__(
        self,
        image_channels: int,
        latent_channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        block_dim: int,
        read_channels: int,
        read_dim: int,
    ) -> None:
        super().__init__()
        self.image_channels = image_channels
        self.enter = nn.Linear(latent_channels, widths[-1])
        self.levels = levels_of(widths[::-1], blocks[::-1], block_dim)
        self.splits = nn.ModuleList(
            nn.Linear(coarse, 4 * fine) for fine, coarse in reversed(list(zip(widths, widths[1:], strict=False)))
        )
        self.out = nn.Linear(widths[0], 4 * image_channels)
        self.features = nn.Linear(widths[0], 4 * read_channels)
        self.told = nn.Linear(DESCRIPTION, read_dim)
        self.lift = nn.Linear(read_channels, read_dim)
        self.hidden = nn.Linear(read_dim, read_dim)
        self.colour = nn.Linear(read_dim, image_channels)
        start_as_cosine_transform(self.out, reversed(self.splits), self.enter, widths, image_channels, inverse=True)  # type: ignore[arg-type]
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)
        self.margins = margins(blocks[::-1], LATTICES[::-1])
        self.margin = self.margins[0]

    def forward(self, latent: Tensor, wanted: Window, canvas: Size) -> Decoded:
        """All that places in the cells of `wanted` need; of latents [B, h, w, C] in `wanted.grown(self.margin)`."""
        window = wanted.grown(self.margin, canvas)
        x = self.enter(latent)
        for level, (blocks, points) in enumerate(zip(self.levels, reversed(LATTICES), strict=True)):
            needed = wanted.grown(self.margins[level], canvas)
            x, window = window.crop(x, needed, points), needed
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
            if level < len(self.splits):
                x = spread_squares(self.splits[level](x))
        x = window.crop(x, wanted, LATTICES[0])
        return Decoded(spread_squares(self.out(x)).permute(0, 3, 1, 2).float(), x, wanted)

    def read(self, decoded: Decoded, rows: Tensor, columns: Tensor, density: tuple[float, float]) -> Tensor:
        """Colours [B, C, rows, columns] at places in cells, of pixels of which `density` fill a cell along each axis.

        Rows and columns ascend; on the CPU they spare a GPU a wait. The body's own picture is read by a cubic kernel as
        wide as a pixel, and corrected.
        """
        window, size, device = decoded.window, decoded.window.size, decoded.picture.device
        within = rows - window.top, columns - window.left
        plain = read_separably(
            decoded.picture,
            *(
                cubic_reading(places * POINTS, POINTS * count, POINTS / per_cell).to(device)
                for places, count, per_cell in zip(within, size, density, strict=True)
            ),
        )
        lines = [
            line_reading(places * LATTICES[0], LATTICES[0] * count).to(device)
            for places, count in zip(within, size, strict=True)
        ]
        some = decoded.finest.index_select(1, lines[0].indices).index_select(2, lines[1].indices)
        near = self.features(some).unflatten(-1, (2, 2, -1))
        for axis, line in enumerate(lines, start=1):
            # One matrix product: picking by index is far slower to differentiate.
            moved = near.movedim((axis, 3), (0, 1))
            read = line.weights.to(near.dtype).flatten(1) @ moved.flatten(2).flatten(0, 1)
            near = read.unflatten(1, moved.shape[2:]).movedim(0, axis)
        return plain + self._correct(near, density).permute(0, 3, 1, 2).float()

    def read_points(self, decoded: Decoded, places: Tensor, density: tuple[float, float]) -> Tensor:
        """The same at scattered places [N, 2] in cells, of pixels no larger than a point of the lattice: [B, C, N]."""
        within = places - places.new_tensor(decoded.window[:2])
        index, offset, _ = _neighbours(within * POINTS - 0.5, decoded.picture.shape[2:], range(-1, 3))
        weight = cubic(offset)
        taken = decoded.picture[:, :, index[..., 0, :, None], index[..., 1, None, :]]
        plain = (taken * (weight[..., 0, :, None] * weight[..., 1, None, :])).sum((-1, -2))
        index, offset, inside = _neighbours(within * LATTICES[0] - 0.5, decoded.finest.shape[1:3], range(2))
        weight = torch.where(inside, raised_cosine(offset), 0.0)
        weight = weight / weight.sum(-1, keepdim=True)
        lines = torch.stack([weight, 2 * weight * offset], dim=-1)  # [N, axis, neighbour, constant or slope]
        some = decoded.finest[:, index[..., 0, :, None], index[..., 1, None, :]]
        near = self.features(some).unflatten(-1, (2, 2, -1))
        near = torch.einsum("nyi,nxj,bnyxijc->bnc", lines[:, 0].to(near), lines[:, 1].to(near), near)
        return plain + self._correct(near, density).mT.float()

    def _correct(self, near: Tensor, density: tuple[float, float]) -> Tensor:
        per_cell = torch.full((1,), math.sqrt(density[0] * density[1]), device=near.device)
        x = functional.gelu(self.lift(near) + self.told(describe(per_cell)), approximate="tanh")
        return self.colour(functional.gelu(self.hidden(x), approximate="tanh"))


def _neighbours(places: Tensor, counts: Sequence[int], steps: range) -> tuple[Tensor, Tensor, Tensor]:
    """Lattice points around places [N, 2], each [N, 2, len(steps)].

    Returns:
        their indices, moved to the nearest point of the lattice; offsets of the places from where they lay before; and
        whether they lay inside.
    """
    index = places.floor().long()[..., None] + torch.tensor(list(steps), device=places.device)
    last = torch.tensor(list(counts), device=places.device)[:, None] - 1
    kept = index.clamp(min=0).minimum(last)
    return kept, places[..., None] - index, kept == index


def encode_decode(
    encoder: PyramidEncoder,
    decoder: PyramidDecoder,
    image: Tensor,
    cells: Cells,
    query: Grid,
    latent_noise: Tensor | None,
) -> Tensor:
    """Run a training pass over a canvas in cells; arguments are those of `R2IR.forward`."""
    grid = whole_cells(cells)
    latent = encoder.encode_cells(regions_of(image), (image.shape[-2], image.shape[-1]), cells)
    if latent_noise is not None:
        latent = latent + latent_noise.movedim(1, -1)
    rows, columns = ((axis + 0.5) * side for axis, side in zip(query.axes, cells, strict=True))
    density = (1 / (query.cell[0] * cells[0]), 1 / (query.cell[1] * cells[1]))
    return decoder.read(decoder(latent, Window(0, 0, *grid), grid), rows, columns, density)
