"""A small picture to start with, drawn here: edges, curves, thin lines, letters and grain."""

from __future__ import annotations

import math

import numpy
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 240, 360
FINER = 6
"""Points along a side of a pixel, which is their mean."""


def example_picture() -> Image.Image:
    """Draw a boat at sunset, an RGB picture of `SIZE`."""
    height, width = (FINER * side for side in SIZE)
    horizon = int(0.62 * height)
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)

    def blend(start: tuple[int, ...], end: tuple[int, ...], part: float) -> tuple[int, ...]:
        return tuple(round(a + (b - a) * part) for a, b in zip(start, end, strict=True))

    def at(x: float, y: float) -> tuple[float, float]:
        return x * width, y * height

    def disc(x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        middle, reach = at(x, y), radius * width
        draw.ellipse([middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach], colour)

    for y in range(horizon):
        draw.line([(0, y), (width, y)], blend((38, 52, 104), (250, 176, 112), (y / horizon) ** 1.4))
    for ring in range(24):
        disc(0.27, 0.5, 0.16 - 0.004 * ring, blend((246, 176, 116), (255, 236, 176), ring / 23))
    for y in range(horizon, height):
        depth = (y - horizon) / (height - horizon)
        draw.line([(0, y), (width, y)], blend((196, 120, 104), (16, 34, 62), depth**0.6))
    for hill, (colour, lift) in enumerate([((92, 78, 112), 0.2), ((58, 56, 88), 0.1)]):
        ridge = [
            at(
                x / 200,
                0.62 - lift * abs(math.sin(0.021 * x + 1.9 * hill) + 0.18 * math.sin(0.13 * x + hill)) * x / 200,
            )
            for x in range(201)
        ]
        draw.polygon([*ridge, at(1, 0.63), at(0, 0.63)], colour)
    # The sun on the water: thinner and thinner lines towards the horizon.
    for wave in range(26):
        depth = (wave / 25) ** 1.7
        y, half = 0.635 + 0.33 * depth, 0.03 + 0.1 * depth * (0.6 + 0.4 * math.sin(2.4 * wave))
        middle = 0.27 + 0.02 * math.sin(1.7 * wave)
        thickness = max(1, round(height * (0.0015 + 0.006 * depth)))
        draw.line([at(middle - half, y), at(middle + half, y)], (255, 206, 148), thickness)
    draw.polygon([at(0.6, 0.76), at(0.92, 0.76), at(0.88, 0.85), at(0.64, 0.85)], (122, 38, 34))
    draw.polygon([at(0.6, 0.76), at(0.92, 0.76), at(0.915, 0.775), at(0.605, 0.775)], (238, 226, 206))
    draw.polygon([at(0.745, 0.2), at(0.745, 0.72), at(0.6, 0.72)], (248, 238, 220))
    draw.polygon([at(0.765, 0.24), at(0.765, 0.72), at(0.9, 0.72)], (226, 208, 188))
    draw.line([at(0.755, 0.16), at(0.755, 0.77)], (70, 46, 38), FINER)
    for foot in (0.61, 0.66, 0.86, 0.91):
        draw.line([at(0.755, 0.17), at(foot, 0.76)], (52, 44, 56), FINER // 3)
    draw.text(at(0.76, 0.815), "R2IR 26", (246, 226, 190), ImageFont.load_default(0.042 * height), anchor="mm")
    # Birds, then grain as of a film.
    for column, row, span in ((0.47, 0.2, 0.028), (0.52, 0.26, 0.02), (0.43, 0.29, 0.015)):
        for side in (-1, 1):
            wing = [
                at(column + side * span * part, row - 0.9 * span * math.sin(math.pi * part**0.7))
                for part in (0, 0.35, 0.7, 1)
            ]
            draw.line(wing, (44, 40, 66), FINER // 2, joint="curve")
    small = picture.filter(ImageFilter.GaussianBlur(FINER / 4)).resize(SIZE[::-1], Image.Resampling.BOX)
    grain = numpy.random.default_rng(0).normal(0, 1.5, (*SIZE, 1))
    return Image.fromarray((numpy.asarray(small) + grain).clip(0, 255).round().astype(numpy.uint8))
