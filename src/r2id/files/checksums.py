"""Numbers that tell weights, images and files from others."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor


def checksum(tensors: Iterable[Tensor]) -> int:
    """A number that tells these values from others, wherever they came from."""
    total = 0
    for tensor in tensors:
        # In parts, of which a copy takes little memory: images and latents may be larger than it.
        for part in torch.atleast_1d(tensor.detach()).split(1024):
            # Weights kept in half precision are the same ones, in whichever precision they were loaded.
            exact = part.float() if part.is_floating_point() else part
            total = zlib.crc32(exact.cpu().contiguous().numpy().reshape(-1).view("uint8").data, total)
    return total


def file_checksum(path: Path) -> int:
    """A number that tells the content of a file, which may be larger than memory, from others."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total
