"""Numbers that tell weights, images and files from others."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor


def checksum(tensors: Iterable[Tensor]) -> int:
    """A number that tells these values from others, wherever they came from."""
    total = 0
    for tensor in tensors:
        # Weights kept in half precision are the same ones, in whichever precision they were loaded.
        exact = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        # Not as bytes, which would be a copy: images may be larger than memory.
        total = zlib.crc32(exact.cpu().contiguous().numpy().reshape(-1).view("uint8").data, total)
    return total


def file_checksum(path: Path) -> int:
    """A number that tells the content of a file, which may be larger than memory, from others."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total
