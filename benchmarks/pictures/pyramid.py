"""The pyramid form of R2IR (design §3): a picture on lattices of 8, 4, 2 and 1 per cell, and one latent for each cell.

Untrained, encoding is a Haar transform cut off after `latent_channels` coefficients, and decoding is its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIXELS = 16
"""Pixels a cell, along one axis, of the picture that the finest lattice holds; two for each of its points."""
HAAR = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float32)
"""Mean and three differences (rows) of the four points of a square (columns), times four; it is its own inverse."""


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = −½ (Keys 1981, eq. 4)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x.square() + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def centres(cells: float, count: int, device: torch.device | None = None) -> Tensor:
    """Places, in cells, of the centres of `count` pixels that share `cells` cells evenly. Shape [count]."""
    return (torch.arange(count, device=device) + 0.5) * (cells / count)


def cubic_weights(places: Tensor, count: int, width: float) -> Tensor:
    """Weights [places, count] that read samples at ½, 1½ … by a cubic kernel, widened to `width` ≥ 1 samples.

    A kernel that reaches beyond the edges is normalised by what is left of it.
    """
    weights = cubic((places[:, None] - torch.arange(count, device=places.device) - 0.5) / max(1.0, width))
    return weights / weights.sum(1, keepdim=True)


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] at another size: cubic, antialiased when it shrinks."""
    rows, columns = (
        cubic_weights(centres(n, m, picture.device), n, n / m)
        for n, m in zip(picture.shape[-2:], (height, width), strict=True)
    )
    return read_separably(picture, rows, columns)


def read_separably(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[B, C, H, W] read by weights [h, H] and [w, W]: [B, C, h, w]."""
    return torch.einsum("yh,bchw,xw->bcyx", rows, picture, columns)


def gather_squares(x: Tensor) -> Tensor:
    """[B, 2H, 2W, C] → [B, H, W, 4·C]: the four points of each square side by side."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def spread_squares(x: Tensor) -> Tensor:
    """[B, H, W, 4·C] → [B, 2H, 2W, C], the inverse."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, 2, 2, c // 4).permute(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


def coefficient_orders(widths: Sequence[int], colours: int = 3) -> list[list[tuple[int, int]]]:
    """For each merge to a coarser lattice, which Haar coefficients its channels hold, coarse ones first.

    Returns:
        for each width after the first, (band, channel of the finer lattice) of its channels.
    """
    # How fine a detail each channel holds: 0 is a mean, 1 the coarsest detail.
    fineness = [0] * colours + [1] * (3 * colours)
    orders = []
    for width in widths[1:]:
        merged = [
            (fine + 1 if fine or band else 0, band, channel)
            for band in range(4)
            for channel, fine in enumerate(fineness)
        ]
        kept = sorted(merged)[:width]
        orders.append([(band, channel) for _, band, channel in kept])
        fineness = [fine for fine, _, _ in kept]
    return orders


def describe(density: Tensor) -> Tensor:
    """Pixels a cell, [B], as eight numbers, [B, 8]."""
    octaves = density.log2()[:, None] / 4
    phases = octaves * torch.arange(1, 4, device=density.device) * (math.pi / 2)
    return torch.cat([octaves, octaves.square(), phases.sin(), phases.cos()], dim=1)


class Block(nn.Module):
    """A depthwise 5 × 5 convolution and a feed-forward network, added to what comes in. It starts as nothing."""

    def __init__(self, dim: int, told: int = 0) -> None:
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)
        self.told = nn.Linear(told, dim) if told else None
        for layer in filter(None, (self.down, self.told)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        near = self.norm(self.mix(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        if self.told is not None:
            near = near + self.told(told)[:, None, None]
        return x + self.down(F.gelu(self.up(near), approximate="tanh"))


class Pyramid(nn.Module):
    """Encoder, decoder and the read of colours at any place.

    Args:
        latent_channels: numbers for each cell.
        widths: channels on the lattices of 8, 4, 2 and 1 per cell.
        encoder_blocks, decoder_blocks: blocks on each of them.
        read_channels: numbers that a query reads of the finest lattice.
        hidden: channels of the pointwise network that turns these into a colour.
    """

    def __init__(
        self,
        latent_channels: int = 64,
        widths: Sequence[int] = (32, 96, 192, 320),
        encoder_blocks: Sequence[int] = (1, 1, 2, 2),
        decoder_blocks: Sequence[int] = (2, 8, 6, 4),
        read_channels: int = 32,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.enter = nn.Linear(12, widths[0])
        self.merges = nn.ModuleList(nn.Linear(4 * fine, coarse) for fine, coarse in pairs)
        self.splits = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairs)
        self.down = nn.ModuleList(
            nn.ModuleList(Block(width, 8) for _ in range(n)) for width, n in zip(widths, encoder_blocks, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(n)) for width, n in zip(widths, decoder_blocks, strict=True)
        )
        self.to_latent = nn.Linear(widths[-1], latent_channels)
        self.from_latent = nn.Linear(latent_channels, widths[-1])
        self.basis = nn.Linear(widths[0], 4 * read_channels)
        self.told_out = nn.Linear(8, hidden)
        self.lift = nn.Linear(read_channels, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.colour = nn.Linear(hidden, 3)
        self._start_as_wavelets(widths)

    @torch.no_grad()
    def _start_as_wavelets(self, widths: Sequence[int]) -> None:
        for layer in (self.enter, self.to_latent, self.from_latent, self.colour, *self.merges, *self.splits):
            layer.weight.zero_()
            layer.bias.zero_()
        for band in range(4):
            for child in range(4):
                for channel in range(3):
                    self.enter.weight[3 * band + channel, 3 * child + channel] = HAAR[band, child] / 4
        for layer in (self.to_latent, self.from_latent):
            layer.weight.fill_diagonal_(1)
        orders = coefficient_orders(widths)
        for merge, split, order, fine in zip(self.merges, self.splits, orders, widths, strict=False):
            for row, (band, channel) in enumerate(order):
                for child in range(4):
                    merge.weight[row, child * fine + channel] = HAAR[band, child] / 4
                    split.weight[child * fine + channel, row] = HAAR[band, child]

    def encode(self, picture: Tensor, cells: tuple[int, int]) -> Tensor:
        """Picture [B, 3, H, W] in [−1, 1] → latents [B, h, w, latent_channels] for (h, w) cells."""
        density = math.sqrt(picture.shape[-2] * picture.shape[-1] / (cells[0] * cells[1]))
        sampled = resize(picture, PIXELS * cells[0], PIXELS * cells[1])
        return self.encode_sampled(sampled, torch.full((len(picture),), density, device=picture.device))

    def encode_sampled(self, sampled: Tensor, density: Tensor) -> Tensor:
        """The same, of pictures [B, 3, 16·h, 16·w] that had `density` [B] pixels a cell before they were resized."""
        told = describe(density)
        x = self.enter(gather_squares(sampled.permute(0, 2, 3, 1)))
        for blocks, merge in zip(self.down, [*self.merges, None], strict=True):
            for block in blocks:
                x = block(x, told)
            if merge is not None:
                x = merge(gather_squares(x))
        return self.to_latent(x)

    def summarise(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """All that queries need: a picture [B, 3, 16·h, 16·w], and features [B, 8·h, 8·w, 4·read_channels]."""
        x = self.from_latent(latent)
        for blocks, split in zip(reversed(self.up), [*reversed(self.splits), None], strict=True):
            for block in blocks:
                x = block(x)
            if split is not None:
                x = spread_squares(split(x))
        bands = x[..., :12].unflatten(-1, (4, 3))
        pixels = torch.einsum("ek,bhwec->bhwkc", HAAR.to(x), bands).flatten(-2)
        return spread_squares(pixels).permute(0, 3, 1, 2).float(), self.basis(x)

    def read(self, summary: tuple[Tensor, Tensor], rows: Tensor, columns: Tensor, density: float) -> Tensor:
        """Colours [B, 3, H, W] at rows [H] and columns [W], in cells from the top left.

        They are of pixels `density` a cell: the picture read by a cubic kernel of that width, and a correction.
        """
        picture, features = summary
        kernels = [
            cubic_weights(places * PIXELS, count, PIXELS / density)
            for places, count in zip((rows, columns), picture.shape[-2:], strict=True)
        ]
        near = features.unflatten(-1, (2, 2, -1))
        near = blend(near, 1, rows * (PIXELS // 2))
        near = blend(near, 2, columns * (PIXELS // 2))
        told = self.told_out(describe(torch.full((1,), density, device=near.device)))
        x = F.gelu(self.lift(near) + told, approximate="tanh")
        x = F.gelu(self.hidden(x), approximate="tanh")
        return read_separably(picture, *kernels) + self.colour(x).permute(0, 3, 1, 2).float()

    def decode(self, latent: Tensor, size: tuple[int, int]) -> Tensor:
        """Latents [B, h, w, latent_channels] → picture [B, 3, H, W] of any size."""
        cells = latent.shape[1:3]
        rows, columns = (centres(n, count, latent.device) for n, count in zip(cells, size, strict=True))
        density = math.sqrt(size[0] * size[1] / (cells[0] * cells[1]))
        return self.read(self.summarise(latent), rows, columns, density)


def blend(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """What the two lattice points beside each place say, each by a straight line of the offset, blended smoothly.

    Args:
        x: features, lattice points along `axis`, constant and slope along axis 3.
        places: in lattice steps from the edge.
    """
    offset = (places[:, None] - 0.5) - torch.arange(x.shape[axis], device=x.device)
    weight = torch.where(offset.abs() < 1, (0.5 * math.pi * offset).cos().square(), 0.0)
    weight = weight / weight.sum(1, keepdim=True)
    lines = torch.stack([weight, 2 * weight * offset], dim=1).to(x.dtype)
    # One matrix product: picking by index is far slower to differentiate.
    moved = x.movedim((axis, 3), (0, 1))
    read = torch.einsum("qkn,nkr->qr", lines, moved.flatten(2))
    return read.unflatten(1, moved.shape[2:]).movedim(0, axis)
