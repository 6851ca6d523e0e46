"""Tiles of a picture, in the order in which a field that computes whole blocks gives them."""

from __future__ import annotations

from collections.abc import Iterator

from r2id.geometry.sizes import Region, Size

TILE = 256
"""Pixels along a side of what files are written in."""


def count_tiles(region: Region) -> int:
    """Return the number of tiles of the whole picture that a region of it touches."""
    top, left, bottom, right = region
    return (-(-bottom // TILE) - top // TILE) * (-(-right // TILE) - left // TILE)


def tiles_by_block(region: Region, block: Size) -> Iterator[Region]:
    """Yield the tiles of the whole picture that a region touches, cut to it, block by block.

    Args:
        region: (top, left, bottom, right) in pixels of the whole picture.
        block: pixels along the sides of a block. Blocks hold whole tiles, or tiles hold whole blocks.
    """
    top, left, bottom, right = region
    height, width = (max(TILE, side) for side in block)
    for upper in range(top // height * height, bottom, height):
        for start in range(left // width * width, right, width):
            for y in range(max(upper, top // TILE * TILE), min(upper + height, bottom), TILE):
                for x in range(max(start, left // TILE * TILE), min(start + width, right), TILE):
                    yield max(y, top), max(x, left), min(y + TILE, bottom), min(x + TILE, right)
