"""The objective of R2IR's pyramid: crops of photographs and drawings, given at one density and asked for at another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.cells import Window
from r2id.geometry.kernels import area_reading, cubic_reading, read_separably
from r2id.geometry.sizes import Size
from r2id.networks.lattices import POINTS, read_to_lattice, regions_of
from r2id.networks.pyramid import Decoded
from r2id.networks.resampler import R2IR
from r2id.training.objectives import Objective, rows_and_columns_of_each

GROUPS = 4
"""Parts of a batch, each with densities of its own."""
LEAST, MOST = 3.0, 16.0
"""Pixels a cell, along an axis, that pictures are given at."""


class Plan(NamedTuple):
    """Crops of one group.

    Attributes:
        side: of the crop, in pixels of the picture that is stored.
        given: pixels along the side that the encoder gets.
        wanted: pixels along the side that are the truth.
        by_area: the crop is made smaller by means over areas; else by a cubic kernel.
    """

    side: int
    given: int
    wanted: int
    by_area: bool = False


def photograph_plan(cells: int, most: int, chance: random.Random) -> Plan:
    """Return a plan of photographs that are enlarged or, in a third of the cases, kept.

    Args:
        cells: along a side of the crop.
        most: pixels along a side of the stored picture.
        chance: source of what is random.
    """
    if chance.random() < 0.36:
        # 16 and 8 pixels a cell are what latents are made at most.
        density = chance.choice((MOST, MOST, 8.0, chance.uniform(LEAST, MOST)))
        side = min(round(density * cells), most)
        return Plan(side, side, side if chance.random() < 0.75 else round(side * chance.uniform(0.25, 1)))
    four = chance.random() < 0.6
    given = round((4 if four else chance.uniform(LEAST, 8)) * cells)
    scale = chance.choice((2, 3, 4)) if four and chance.random() < 0.7 else chance.uniform(1, 4)
    side = min(round(scale * given), most)
    return Plan(side, min(given, side), side)


def drawing_plan(cells: int, most: int, chance: random.Random) -> Plan:
    """Return a plan of drawings, given at few pixels a cell and asked for as sharp as they were rendered."""
    side = most if chance.random() < 0.5 else chance.randrange(most // 3, most + 1)
    given = min(round(chance.uniform(LEAST, 8) * cells), side)
    return Plan(side, given, side, by_area=chance.random() < 0.5)


class PictureObjective(Objective):
    """Error of a pyramid at random densities of what it is given and of what it is asked for (design §3).

    Errors are absolute at first, which is stable, and then squared, which is what PSNR measures.

    Args:
        resampler: the pyramid to train.
        tile_size: side of the tiles of photographs; larger pictures are drawings.
        latent_noise: largest standard deviation of the noise of latents, as a share of their own. Half of the crops
            have none.
        squared_from: share of the training after which errors are squared.
    Raises:
        InputError: for an R2IR that is no pyramid of RGB.
    """

    def __init__(self, resampler: R2IR, tile_size: int, latent_noise: float = 0.0, squared_from: float = 0.5) -> None:
        super().__init__()
        if not resampler.is_pyramid:
            raise InputError(f"attention is {resampler.config.attention!r}; pictures are learnt by a 'pyramid'")
        if resampler.config.image_channels != 3:
            raise InputError(f"image_channels is {resampler.config.image_channels}; pictures are learnt in RGB, by 3")
        self.resampler, self.tile_size = resampler, tile_size
        self.latent_noise, self.squared_from = latent_noise, squared_from

    def forward(self, images: Tensor, labels: Tensor, latent_size: Size) -> Tensor:
        cells, groups = latent_size[0], self.crops(images, latent_size[0])
        lattices = [on_lattice(given, cells) for given, _ in groups]
        densities = [given.shape[-1] / cells for given, _ in groups for _ in given]
        window = Window(0, 0, cells, cells)
        density = torch.tensor(densities).to(images.device)
        latent = self._noisy(self.resampler.encoder(torch.cat(lattices), density, window, latent_size).float())
        decoded = self.resampler.decoder(latent, window, latent_size)
        errors, chance = [], self._chance()
        counts = [len(truth) for _, truth in groups]
        parts = zip(decoded.picture.split(counts), decoded.finest.split(counts), groups, strict=True)
        for picture, finest, (_, truth) in parts:
            wanted = truth.shape[-1]
            patch = min(wanted, POINTS * cells)
            rows, columns = (torch.arange(patch) + chance.randint(0, wanted - patch) for _ in range(2))
            read = self.resampler.decoder.read(
                Decoded(picture, finest, window),
                *((places.double() + 0.5) * (cells / wanted) for places in (rows, columns)),
                (wanted / cells, wanted / cells),
            )
            error = read - truth[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            # Both are about as large where errors are those of a trained network.
            of_pixels = 8 * error.square() if self.done_share >= self.squared_from else error.abs()
            errors.append(of_pixels.mean((1, 2, 3)))
        return torch.cat(errors).mean()

    def crops(self, images: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
        """Return what is given and what is wanted of each group of images [B, C, S, S].

        Crops lie anywhere in an image, in each of the eight orientations. Both are [b, C, side, side], with sides that
        differ from group to group.
        """
        plan_of = drawing_plan if images.shape[-1] > self.tile_size else photograph_plan
        chance = self._chance()
        plans = [plan_of(cells, images.shape[-1], chance) for _ in range(GROUPS)]
        total = self.share.count * len(images)
        mine = self.share.take(torch.arange(total) * GROUPS // total)
        counts = mine.bincount(minlength=GROUPS).tolist()
        places = self.draw(torch.rand, len(images), 5, device=images.device)
        groups = []
        for plan, some, where in zip(plans, images.split(counts), places.split(counts), strict=True):
            if len(some):
                crop = oriented_crops(some, plan.side, where)
                groups.append((resized(crop, plan.given, plan.by_area), resized(crop, plan.wanted, plan.by_area)))
        return groups

    @staticmethod
    def _chance() -> random.Random:
        """Return random numbers of this step, the same in every process and without a GPU."""
        return random.Random(int(torch.randint(2**62, ())))

    def _noisy(self, latent: Tensor) -> Tensor:
        """Return latents [B, h, w, C] with noise, so that 8 bits hold them."""
        count, device = len(latent), latent.device
        moments = torch.stack([latent.detach().mean((0, 1, 2)), latent.detach().square().mean((0, 1, 2))])
        if self.share.count > 1:
            torch.distributed.all_reduce(moments)
            moments = moments / self.share.count
        spread = (moments[1] - moments[0].square()).clamp(min=0).sqrt()
        level = (2 * self.draw(torch.rand, count, 1, 1, 1, device=device) - 1).clamp(min=0) * self.latent_noise
        return latent + level * spread * self.draw(torch.randn, count, *latent.shape[1:], device=device)

    @torch.no_grad()
    def preview(self, images: Tensor, names: Sequence[str], latent_size: Size) -> Tensor:
        """Return middles of the images, then their reconstructions, then what becomes of a quarter of their size."""
        side = POINTS * latent_size[0]
        first = (images.shape[-1] - side) // 2
        middle = images[..., first : first + side, first : first + side]
        given = (middle, resized(middle, side // 4))
        encoded = (self.resampler.encode(one, latent_size) for one in given)
        return torch.cat([middle, *(self.resampler.decode(latent, (side, side)) for latent in encoded)])


def oriented_crops(images: Tensor, side: int, places: Tensor) -> Tensor:
    """Return a square of each image [B, C, S, S], turned and mirrored at random: [B, C, side, side].

    Args:
        places: [B, 5] in [0, 1): the top, the left, and whether to flip rows, flip columns and exchange both.
    """
    start = (places[:, :2] * (images.shape[-1] - side + 1)).long()
    along = torch.arange(side, device=images.device)
    flipped = places[:, 2:4, None] < 0.5
    rows, columns = (start[:, :, None] + torch.where(flipped, side - 1 - along, along)).unbind(1)
    taken = rows_and_columns_of_each(images, rows, columns)
    return torch.where(places[:, 4, None, None, None] < 0.5, taken.mT, taken)


def resized(picture: Tensor, side: int, by_area: bool = False) -> Tensor:
    """Return squares [B, C, S, S] at another side, antialiased, in the levels that a file of 8 bits has."""
    count = picture.shape[-1]
    if side == count:
        return picture
    # On the CPU, as its reading asks for numbers, for which a GPU would have to wait.
    places = (torch.arange(side, dtype=torch.float64) + 0.5) * (count / side)
    reading = (area_reading if by_area else cubic_reading)(places, count, count / side).to(picture.device)
    small = read_separably(picture, reading, reading).clamp(-1, 1)
    return ((small + 1) * 127.5).round() / 127.5 - 1


def on_lattice(picture: Tensor, cells: int) -> Tensor:
    """Return squares [B, C, S, S] on the lattice of a canvas of `cells` × `cells`, as an encoder takes them."""
    side = picture.shape[-1]
    canvas = (float(cells), float(cells))
    return read_to_lattice(regions_of(picture), (side, side), canvas, Window(0, 0, cells, cells))
