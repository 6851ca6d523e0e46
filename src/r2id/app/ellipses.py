"""Splats of a picture as the ellipses that the page draws over it."""

from __future__ import annotations

import torch

from r2id.geometry.sizes import Region, Size
from r2id.geometry.splats import Splats

DECIMALS = 7
"""Of lengths, whose unit is the canvas's longer side."""


def ellipses(splats: Splats) -> list[list[float | str]]:
    """Return one picture's splats as ellipses at one standard deviation, those of the largest area first.

    Each is x and y of its centre, both radii, the angle of the first radius from x towards y in degrees, and the colour
    as #rrggbb. Lengths are absolute: the canvas's longer side is 1, its centre (0, 0).
    """
    largest_first = splats.shapes[0, :, 0].argsort(descending=True, stable=True)
    one = splats.each(largest_first)
    lengths = torch.cat([one.centres.flip(-1), one.scales], -1)[0].tolist()
    angles = one.rotations[0].rad2deg().tolist()
    levels = ((one.colours[0] + 1) * 127.5).round().int().expand(-1, 3).tolist()
    return [
        [*(round(length, DECIMALS) for length in four), round(angle, 3), f"#{bytes(level).hex()}"]
        for four, angle, level in zip(lengths, angles, levels, strict=True)
    ]


def visible(whole: Size, region: Region, extent: tuple[float, ...]) -> list[float]:
    """Return x, y, width and height of a `region` of a picture of the size `whole`, in the lengths of `ellipses`."""
    top, left, bottom, right = region
    across, down = (side / count for side, count in zip(extent[::-1], whole[::-1], strict=True))
    x, y = left * across - extent[1] / 2, top * down - extent[0] / 2
    return [x, y, (right - left) * across, (bottom - top) * down]
