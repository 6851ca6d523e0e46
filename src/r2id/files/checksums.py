"""Checksums of weights, images and files."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor


def checksum(tensors: Iterable[Tensor]) -> int:
    """Return a checksum of the values, whatever their precision and device."""
    total = 0
    for tensor in tensors:
        # In parts, because images and latents may be larger than memory.
        for part in torch.atleast_1d(tensor.detach()).split(1024):
            # Weights stored in half precision keep their checksum when loaded in another.
            exact = part.float() if part.is_floating_point() else part
            total = zlib.crc32(exact.cpu().contiguous().numpy().reshape(-1).view("uint8").data, total)
    return total


def file_checksum(path: Path) -> int:
    """Return a checksum of a file's content, which may be larger than memory."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total
