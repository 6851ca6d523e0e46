"""Encode each picture of a folder several times, at four canvases, as the bundled diffusers were trained on.

    python benchmarks/recipe/variants.py photographs FOLDER latents
    python benchmarks/recipe/variants.py drawings FOLDER latents --background 255

Canvases have 8×8, 8×12, 12×8 and 16×16 cells of 8 pixels; with `--varied`, each variant has a random one of many. The
first variant of a photograph is its middle, the others
are random parts of it. The first of a drawing is the drawing as it is, the others are smaller and moved on the
background. Some variants are mirrored, which training tells the network.
OUTPUT has folders of latents for each canvas and variant, for `r2id train diffuser flowers|emoji --data OUTPUT`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy
import torch
from PIL import Image

from r2id import R2IR
from r2id.data.content import Content
from r2id.data.loading import find_content
from r2id.files.images import as_values
from r2id.files.latents import Latents
from r2id.geometry.canvas import canvas_of, plain
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import progress

CELL = 8
"""Pixels along a side of a cell."""
DRAWING_SIDE = 128
"""Drawings are squares of so many pixels."""
SHORT_SIDE = 136
"""Photographs are first reduced to so many pixels along their shorter side."""
LONGER = 1.15
"""Least proportion of a photograph that is cut to a wide or a high canvas. Others would lose much of their subject."""
TOGETHER = 128
"""Pictures that are encoded at a time."""

# Variants and mirrored variants for each size of the canvas, (height, width) in pixels.
Plan = dict[Size, tuple[int, int]]
Variant = Callable[[Image.Image, Size, bool, numpy.random.Generator], numpy.ndarray | None]
"""Gives a picture uint8 [height, width, 3] of a size, the first or a random one; None if it does not suit the size."""


def drawing(picture: Image.Image, size: Size, first: bool, random: numpy.random.Generator, grey: int) -> numpy.ndarray:
    height, width = size
    side = min(size)
    if not first:
        side = round(side * random.uniform(0.8, 1.0))
    if side != picture.width:
        picture = picture.resize((side, side), Image.Resampling.BOX if first else Image.Resampling.LANCZOS)
    top, left = (
        room // 2 if first else round(room * random.uniform(0.2, 0.8)) for room in (height - side, width - side)
    )
    canvas = Image.new("RGB", (width, height), (grey, grey, grey))
    canvas.paste(picture, (left, top))
    return numpy.asarray(canvas)


def photograph(picture: Image.Image, size: Size, first: bool, random: numpy.random.Generator) -> numpy.ndarray | None:
    height, width = size
    if (width > height and picture.width <= LONGER * picture.height) or (
        height > width and picture.height <= LONGER * picture.width
    ):
        return None
    scale = min(picture.height / height, picture.width / width)
    if not first:
        # There are few more pixels than the largest canvas takes.
        scale *= random.uniform(0.94 if min(size) >= 16 * CELL else 0.82, 1.0)
    rows, columns = height * scale, width * scale
    down, right = (0.5, 0.5) if first else (random.uniform(0.25, 0.75), random.uniform(0.25, 0.75))
    top, left = (picture.height - rows) * down, (picture.width - columns) * right
    part = (left, top, left + columns, top + rows)
    return numpy.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box=part))


def prepared(content: Content, index: int, kind: str) -> Image.Image:
    picture = content.picture(index).convert("RGB")
    if kind == "drawings":
        box = Image.Resampling.BOX
        return picture if picture.width == DRAWING_SIDE else picture.resize((DRAWING_SIDE, DRAWING_SIDE), box)
    scale = SHORT_SIDE / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


PLANS: dict[str, Plan] = {
    "drawings": {(64, 64): (3, 2), (64, 96): (1, 0), (96, 64): (1, 0), (128, 128): (1, 1)},
    "photographs": {(64, 64): (4, 3), (64, 96): (1, 1), (96, 64): (1, 1), (128, 128): (2, 1)},
}


VARIED: tuple[Size, ...] = tuple(
    (CELL * height, CELL * width)
    for height, width in (
        (8, 8), (7, 9), (9, 7), (7, 11), (11, 7), (6, 10), (10, 6), (6, 12), (12, 6), (8, 8), (10, 10), (12, 12),
        (12, 16), (16, 12), (9, 16), (16, 9), (16, 16), (12, 20), (20, 12),
    )
)  # fmt: skip
"""Canvases of `--varied`."""

Made = dict[tuple[Size, int, bool], numpy.ndarray]
"""Variants of a picture by size, number and whether they are to be mirrored."""


def planned(content: Content, index: int, kind: str, variant: Variant) -> Made:
    """Return all variants of the plan that suit a picture. Their random numbers follow from its index."""
    picture, random = prepared(content, index, kind), numpy.random.default_rng(index)
    made: Made = {}
    for size, (plain_ones, mirrored) in PLANS[kind].items():
        for number in range(plain_ones + mirrored):
            # A mirrored variant is never the first, so that none is the mirror of another.
            one = variant(picture, size, number == 0, random)
            if one is not None:
                made[size, number, number >= plain_ones] = one
    return made


def varied(content: Content, index: int, kind: str, variant: Variant, count: int) -> Made:
    """Return `count` variants of a picture, each at a random canvas that suits it and half of them mirrored."""
    picture, random = prepared(content, index, kind), numpy.random.default_rng(index)
    made: Made = {}
    while len(made) < count:
        size, mirrored = VARIED[random.integers(len(VARIED))], bool(random.integers(2))
        one = variant(picture, size, False, random)
        if one is not None:
            made[size, len(made), mirrored] = one
    return made


@torch.inference_mode()
def encoded(resampler: R2IR, pictures: list[numpy.ndarray], mirrored: bool) -> tuple[torch.Tensor, tuple[float, float]]:
    """Return latents [N, C, h, w] of pictures of one size, and their canvas."""
    parts = []
    for first in range(0, len(pictures), TOGETHER):
        batch = torch.from_numpy(numpy.stack(pictures[first : first + TOGETHER])).movedim(-1, 1)
        values = as_values(batch.to(resampler.device))
        parts.append(resampler.encode(values.flip(-1) if mirrored else values, pixels_per_cell=CELL))
    canvas = canvas_of(parts[0])
    assert canvas is not None
    return torch.cat([plain(part).half().cpu() for part in parts]), canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=PLANS)
    parser.add_argument("data", help="folder with train and perhaps test, with captions or a subfolder for each class")
    parser.add_argument("output", type=Path)
    parser.add_argument("--background", type=int, default=0, help="grey level, 0 to 255, behind transparent pixels")
    parser.add_argument("--varied", type=int, help="random variants of each picture, in place of those of the plan")
    parser.add_argument("--most", type=int, help="pictures to take; by default all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    content = find_content(options.data, "train", options.background, None)
    count = min(content.count, options.most or content.count)
    variant: Variant = photograph if options.kind == "photographs" else partial(drawing, grey=options.background)

    def of(index: int) -> Made:
        if options.varied:
            return varied(content, index, options.kind, variant, options.varied)
        return planned(content, index, options.kind, variant)

    made: list[Made] = []
    with ThreadPoolExecutor() as threads, progress(count, "reading") as advance:
        for one in threads.map(of, range(count)):
            made.append(one)
            advance(1)
    resampler = R2IR.from_pretrained("pictures").to(options.device)
    labels = None if content.labels is None else [content.label_names[label] for label in content.labels]
    for size, number, mirrored in sorted({key for one in made for key in one}):
        some = [index for index, one in enumerate(made) if (size, number, mirrored) in one]
        pictures = [made[index][size, number, mirrored] for index in some]
        values, canvas = encoded(resampler, pictures, mirrored)
        Latents(
            values,
            canvas,
            tuple(labels[index] for index in some) if labels else (),
            resampler.checksum(),
            size,
            tuple(content.captions[index] for index in some) if content.captions else (),
            mirrored=mirrored,
        ).save(options.output / f"{size_text(size)}-{number}" / f"{0:08d}.safetensors")
        print(
            f"{len(some)} latents of {size_text(size)}, variant {number}{', mirrored' if mirrored else ''}", flush=True
        )


if __name__ == "__main__":
    main()
