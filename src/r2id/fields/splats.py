"""Splats as a function of coordinates: the normalised weighted sum of Gaussians, at any size, region or points (design
§6).

The colour at a place p is, over the splats n with weights w_n, colours c_n and Mahalanobis distances d_n(p),

    c(p) = (Σ_n w_n g(d_n) c_n + ε c_0) / (Σ_n w_n g(d_n) + ε),    g(d) = max(0, exp(−d²/2) − exp(−REACH²/2)).

Order plays no role. A splat adds exactly nothing beyond its reach, so leaving it out there changes nothing. The
background c_0 with its small weight ε shows where no splat reaches.

A pixel is the mean over its area. The mean of a Gaussian over it is a wider Gaussian. The variance of the area,
side²/12, adds to the splat's covariance, and its weight falls as its own area grows. The mean of a quotient is not the
quotient of means, so pixels larger than `sample_size` asks for are means of several samples.

gsplat computes another sum, so it is not used. Its rasteriser sorts by depth and composites from front to back,
Σ_n c_n α_n Π_{m<n} (1 − α_m): there order counts, and the sum is not divided by that of the weights
(https://docs.gsplat.studio/apis/rast.html).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from r2id.fields.image_field import check_coordinates
from r2id.geometry.coordinates import Grid, pixel_centres
from r2id.geometry.sizes import Region, Size, check_region, check_size
from r2id.geometry.splats import Splats

REACH = 4.0
"""Distance, in standard deviations, from which on a splat adds nothing."""
BACKGROUND_WEIGHT = 1e-4
"""Weight ε of the background; splats have weights around 1."""
TILE = 32
"""Samples along a side of what is computed at once."""
PAIRS = 1 << 22
"""Pairs of a sample and a splat that are computed at once, which bound the memory."""
FEW_PAIRS = 1 << 16
"""Pairs that are computed at once whatever the side of their tile."""
PLACED = 7
"""Numbers of a prepared splat before its weighted colours."""


class SplatField:
    """Splats as a function of coordinates; every colour depends on its own place and the splats in reach.

    Attributes:
        splats: the splats of B pictures.
        channels: 1 for a grey picture, 3 for RGB.
        sample_size: samples along the longer side that pixels of the picture are means of, at least.
    """

    def __init__(self, splats: Splats, sample_size: int | None = None) -> None:
        """
        Args:
            splats: what to show.
            sample_size: as the attribute; by default four samples for each splat, if they covered a square.
        Raises:
            InputError: for what `Splats.check` refuses.
        """
        self.splats = splats.check()
        self.channels = splats.colours.shape[-1]
        self.sample_size = sample_size or math.ceil(2 * splats.centres.shape[1] ** 0.5)

    def __call__(self, coordinates: Tensor, canvas: tuple[float, float] = (1, 1)) -> Tensor:
        """Return colours [B, C, ...] in [−1, 1] at relative coordinates (y, x), ±0.5 at the picture's edges.

        Args:
            coordinates: [..., 2], floating. A point has no area.
            canvas: as for `ImageField`; splats reach beyond the edges.
        Raises:
            InputError: for coordinates outside of the canvas.
        """
        check_coordinates(coordinates, canvas)
        centres = self.splats.centres
        places = coordinates.reshape(-1, 2).to(centres) * centres.new_tensor(self.splats.extent)
        with torch.autocast(centres.device.type, enabled=False):
            colours = self._at(self._prepared((0.0, 0.0)), places)
        return colours.mT.reshape(*colours.mT.shape[:2], *coordinates.shape[:-1])

    def render(self, size: Size, region: Region | None = None) -> Tensor:
        """Return the picture at `size` (H, W), or its `region`, as [B, C, height, width] in [−1, 1].

        A pixel is the mean of the field over its area.

        Args:
            size: height and width of the whole picture in pixels.
            region: (top, left, bottom, right) in pixels of the whole picture; its pixels equal those of the whole.
        Raises:
            InputError: for an empty size, or a region that is empty or not inside it.
        """
        height, width = check_size(size)
        top, left, bottom, right = check_region(region, (height, width)) if region else (0, 0, height, width)
        return self.pixels((height, width), torch.arange(top, bottom), torch.arange(left, right))

    def pixels(self, size: Size, rows: Tensor, columns: Tensor) -> Tensor:
        """Return rows [h] and columns [w], given by index, of the picture at `size` (H, W): [B, C, h, w] in [−1, 1]."""
        device = self.splats.centres.device
        axes = (pixel_centres(count, some, device) for count, some in zip(size, (rows, columns), strict=True))
        return self.means(Grid(tuple(axes), (1 / size[0], 1 / size[1]), self.splats.extent))

    def means(self, grid: Grid) -> Tensor:
        """Return colours [B, C, h, w] in [−1, 1] at any places on a grid, as means over its cells, as `render` does."""
        centres, extent = self.splats.centres, self.splats.extent
        samples, sides = [], []
        for axis, cell, side in zip(grid.axes, grid.cell, extent, strict=True):
            fine = max(1, math.ceil(self.sample_size * side * cell - 1e-6))
            offsets = cell * pixel_centres(fine, device=axis.device)
            samples.append((axis[:, None] + offsets).to(centres) * side)
            sides.append(side * cell / fine)
        with torch.autocast(centres.device.type, enabled=False):
            return self._tile(self._prepared((sides[0], sides[1])), samples[0], samples[1])

    def _prepared(self, sides: tuple[float, float]) -> Tensor:
        """Return splats as means over samples of these absolute sides: [B, N, PLACED + C + 1].

        Numbers of a splat: its centre, y and x; factors of the distance along y and along x; the slant between them;
        its reach along y and x; its colours times its weight; its weight.
        """
        yy, xy, xx = self.splats.covariances()
        area = (4 * self.splats.shapes[..., 0]).exp()  # Determinant of the covariance.
        over_y, over_x = (side**2 / 12 for side in sides)
        wide = area + over_y * xx + over_x * yy + over_y * over_x
        weight = (self.splats.weights * (area / wide).sqrt())[..., None]
        yy, xx = yy + over_y, xx + over_x
        # d² = y²/Σ_yy + (x − y Σ_xy/Σ_yy)²/(|Σ|/Σ_yy), of which the kernel takes a half.
        along_y, along_x = (2 * yy).rsqrt(), (yy / (2 * wide)).sqrt()
        placed = torch.stack([along_y, along_x, along_x * xy / yy, REACH * yy.sqrt(), REACH * xx.sqrt()], -1)
        return torch.cat([self.splats.centres, placed, weight * self.splats.colours, weight], -1)

    def _tile(self, splats: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return pixels [B, C, h, w] of h × samples rows and w × samples columns, in halves until they are few."""
        near = _in_reach(splats, (rows.min(), columns.min()), (rows.max(), columns.max()))
        sides = rows.numel(), columns.numel()
        pairs = math.prod(sides) * near.shape[0] * near.shape[1]
        if pairs > FEW_PAIRS and (pairs > PAIRS or max(sides) > TILE) and max(len(rows), len(columns)) > 1:
            if len(columns) == 1 or sides[0] > sides[1] and len(rows) > 1:
                halves = [self._tile(near, half, columns) for half in rows.tensor_split(2)]
                return torch.cat(halves, 2)
            return torch.cat([self._tile(near, rows, half) for half in columns.tensor_split(2)], 3)
        colours = self._mix(near, rows.flatten()[:, None], columns.flatten()[None])
        colours = colours.view(len(colours), *rows.shape, *columns.shape, -1).mean((2, 4))
        return colours.movedim(-1, 1)

    def _at(self, splats: Tensor, places: Tensor) -> Tensor:
        """Return colours [B, P, C] at places [P, 2], in halves of them until they are few."""
        if not len(places):
            return splats.new_empty(len(splats), 0, self.channels)
        low, high = places.amin(0), places.amax(0)
        near = _in_reach(splats, low, high)
        if len(places) == 1 or len(places) * near.shape[0] * near.shape[1] <= FEW_PAIRS:
            return self._mix(near, *places.unbind(-1))
        order = places[:, (high - low).argmax()].argsort()
        halves = [self._at(near, places[half]) for half in order.tensor_split(2)]
        return torch.cat(halves, 1)[:, order.argsort()]

    def _mix(self, splats: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Return the normalised sums [B, P, C] at places of coordinates that broadcast to P of them."""
        placed, colours = splats[..., :PLACED].movedim(-1, 0).contiguous(), splats[..., PLACED:]
        placed = placed.unflatten(1, (-1, *[1] * y.ndim))
        centre_y, centre_x, along_y, along_x, slant, *_ = placed
        offset = y[..., None] - centre_y
        sideways = (x[..., None] - centre_x) * along_x - offset * slant
        kernel = torch.addcmul(-(offset * along_y).square(), sideways, sideways, value=-1).exp_()
        sums = (kernel - math.exp(-(REACH**2) / 2)).relu_().flatten(1, -2) @ colours
        weight = sums[..., -1:] + BACKGROUND_WEIGHT
        return (sums[..., :-1] + BACKGROUND_WEIGHT * self.splats.background) / weight


def _in_reach(splats: Tensor, low: Tensor | tuple[Tensor, ...], high: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the prepared splats that reach a rectangle; with several pictures, some more where one has fewer."""
    touching = torch.ones_like(splats[..., 0], dtype=torch.bool)
    for axis in range(2):
        centre, reach = splats[..., axis].detach(), splats[..., PLACED - 2 + axis].detach()
        touching &= (centre + reach > low[axis]) & (centre - reach < high[axis])
    if len(splats) == 1:
        return splats[:, touching[0]]
    most = int(touching.sum(1).max())
    first = touching.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    return splats.gather(1, first[..., None].expand(-1, -1, splats.shape[-1]))
