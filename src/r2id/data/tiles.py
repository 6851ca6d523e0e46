"""Photographs of any size, cut into square tiles of one size."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from r2id.data.content import counted
from r2id.data.dataset import ImageDataset
from r2id.data.loading import find_content, in_order
from r2id.data.pixels import store_pixels
from r2id.errors import InputError
from r2id.files.images import in_channels
from r2id.geometry.sizes import size_text

STEP = 0.8
"""Distance of neighbouring tiles, at most, in their sides. Overlap lets a crop lie where two tiles meet."""
LARGE = 3
"""Photographs of a longer side than so many tiles are also cut at half their size."""
MOST_TILES = 48
"""Tiles of one photograph at one size, so that a few large photographs do not outnumber all others."""


def load_tiles(
    source: str | Path,
    split: str = "train",
    *,
    tile_size: int = 256,
    background: int = 0,
    num_workers: int = 0,
    pixels: Path | None = None,
) -> ImageDataset:
    """Return RGB tiles of photographs, without labels.

    Photographs that are smaller than a tile, or cannot be read, are left out.

    Args:
        source, split, background, num_workers, pixels: as for `load_sizes`.
        tile_size: side of a tile in pixels.
    Raises:
        InputError: `source` cannot be read, or holds no photograph as large as a tile.
    """
    content = find_content(source, split, background, None)
    left_out: Counter[str] = Counter()
    size = size_text((tile_size, tile_size))

    def cut(index: int) -> list[Image.Image] | str:
        try:
            picture = in_channels(content.picture(index), 3)
        except InputError:
            return "that cannot be read"
        return tiles_of(picture, tile_size, index) or f"smaller than {size}"

    def tiles() -> Iterator[Image.Image]:
        for some in in_order(cut, content.count, num_workers):
            if isinstance(some, str):
                left_out[some] += 1
            else:
                yield from some

    buckets = store_pixels(tiles(), pixels)
    reasons = [*content.left_out, *(f"{counted(count, 'photograph')} {why}" for why, count in left_out.items())]
    if not buckets:
        raise InputError(f"{content.description} has no tiles of {size}; it holds {' and '.join(reasons)}")
    images = buckets[0][1]
    photographs = f"{content.description}, split {split}, {counted(content.count - left_out.total(), 'photograph')}"
    found = [
        f"{photographs}, cut into {counted(len(images), 'tile')} of {size}",
        *(f"left out {one}" for one in reasons),
    ]
    return ImageDataset(images, None, (), None, photographs, "; ".join(found))


def tiles_of(picture: Image.Image, side: int, seed: int = 0) -> list[Image.Image]:
    """Return square tiles of `side` pixels that cover a picture, and of a large one also those of its half.

    A picture with a shorter side has none. `seed` draws MOST_TILES where there are more.
    """
    tiles = []
    for one in (picture, picture.reduce(2)) if max(picture.size) > LARGE * side else (picture,):
        if min(one.size) < side:
            continue
        places = [(x, y) for y in _starts(one.height, side) for x in _starts(one.width, side)]
        if len(places) > MOST_TILES:
            places = random.Random(seed).sample(places, MOST_TILES)
        tiles += [one.crop((x, y, x + side, y + side)) for x, y in places]
    return tiles


def _starts(length: int, side: int) -> list[int]:
    """Return where tiles begin that cover an axis evenly."""
    count = 1 + math.ceil((length - side) / (STEP * side))
    return [round(number * (length - side) / max(1, count - 1)) for number in range(count)]
