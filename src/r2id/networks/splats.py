"""The splats form of R2IR: a token of the latent is a few Gaussians, and a picture is their sum (design §6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from r2id.fields.splats import SplatField
from r2id.geometry.coordinates import Grid
from r2id.geometry.splats import Splats

NUMBERS = 6
"""Numbers of a splat beside its colour: its place (y, x), its shape (m, a, b) and its weight."""
OFFSET = 1.0
"""Cells that a splat lies from its token's place, at most, along each axis."""
MIDDLE_SCALE, SCALE_RANGE = 0.35, 1.5
"""Scale of a splat in cells, and the most that the mean of its log-scales differs from that of this one."""
STRETCH = 1.2
"""Most that each of the two other numbers of a shape is away from 0, a round splat's."""
LOG_WEIGHT = 3.0
"""Most that the logarithm of a weight is away from 0."""
RANGES = (OFFSET, OFFSET, SCALE_RANGE, STRETCH, STRETCH, LOG_WEIGHT)
"""What a latent of 1 means for each of the NUMBERS."""
SAMPLES_PER_PIXEL = 2
"""Samples along a side of a training pixel, which edges are sharper than."""


class SplatDecoder(nn.Module):
    """Decoder without weights: the latent's numbers are those of its splats.

    Each token has `latent_channels` / (6 + `image_channels`) splats: offset, shape, weight and colour of the first,
    then of the next. Values in [−1, 1] span ranges in cells of the latent's grid.

    Args:
        image_channels: 1 for grey, 3 for RGB.
        latent_channels: a multiple of 6 + `image_channels`.
        sample_size: pixels along the longer side of the training images.
    Raises:
        ValueError: for another number of latent channels.
    """

    def __init__(self, image_channels: int, latent_channels: int, sample_size: int) -> None:
        super().__init__()
        numbers = NUMBERS + image_channels
        if latent_channels % numbers:
            raise ValueError(
                f"latent_channels is {latent_channels}; a splat has {numbers}, of which it must be a multiple"
            )
        self.image_channels, self.count = image_channels, latent_channels // numbers
        self.samples = SAMPLES_PER_PIXEL * sample_size

    def splats(self, values: Tensor, source: Grid) -> Splats:
        """Return the splats of latents [B, h, w, latent_channels] on a grid. Values are clamped to [−1, 1]."""
        # [B, h, w, K, numbers], so that the splats of a token lie side by side.
        values = values.float().clamp(-1, 1).unflatten(-1, (self.count, -1))
        cell = [side * extent for side, extent in zip(source.cell, source.extent, strict=True)]
        numbers, colours = values.split([NUMBERS, self.image_channels], -1)
        numbers = numbers * numbers.new_tensor(RANGES)
        places = source.points().absolute().view(*source.size, 1, 2)
        centres = places + numbers[..., :2] * numbers.new_tensor(cell)
        round_one = math.log(MIDDLE_SCALE * math.sqrt(math.prod(cell)))
        shapes = numbers[..., 2:5] + numbers.new_tensor([round_one, 0, 0])
        centres, shapes, colours, weights = (part.flatten(1, 3) for part in (centres, shapes, colours, numbers[..., 5]))
        return Splats(centres, shapes, colours, weights, source.extent)

    def field(self, values: Tensor, source: Grid) -> SplatField:
        """Return latents [B, h, w, latent_channels] on a grid as a function of coordinates."""
        return SplatField(self.splats(values, source), self.samples)

    def forward(self, values: Tensor, source: Grid, query: Grid) -> Tensor:
        """Return pixels [B, rows, columns, C], means over the cells of the query."""
        return self.field(values, source).means(query).movedim(1, -1)

    @torch.no_grad()
    def spread(self, last: nn.Linear) -> None:
        """Let the last layer of an untrained encoder set the splats of a token round and apart; alike ones would learn
        alike."""
        last.weight.mul_(0.3)
        bias = last.bias.zero_().unflatten(0, (self.count, -1))
        order = torch.arange(self.count)
        along = torch.stack([(order + 0.5) / self.count, (order * (math.sqrt(5) - 1) / 2 + 0.25) % 1], -1)
        bias[:, :2] = torch.atanh((along - 0.5) / OFFSET)
