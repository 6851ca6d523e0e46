"""Pixels in a file, mapped into memory on access and shared between processes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from r2id.errors import InputError
from r2id.files.images import pixels
from r2id.geometry.sizes import Size

Shape = tuple[int, int, int, int]


def store_pixels(pictures: Iterable[Image.Image], path: Path | None = None) -> list[tuple[list[int], Tensor]]:
    """Store pictures of modes L and RGB by size, and return indices and pixels, uint8 [N, C, H, W], of each size.

    The size with the most pictures comes first. All are grey if every picture is grey, else RGB. Only the current
    picture is in memory.

    Args:
        pictures: pictures, which are read once.
        path: a new file for the pixels, for `map_pixels` in another process; by default an unnamed temporary file.
    Raises:
        InputError: the disk is full.
    """
    try:
        file = _new_file(path)
        places: list[tuple[int, int, Size]] = []
        for picture in pictures:
            values = pixels(picture)
            places.append((file.tell(), len(values), (picture.height, picture.width)))
            file.write(values.data)
        # The number of channels is known only after all pictures.
        channels = max((count for _, count, _ in places), default=1)
        by_size: dict[Size, list[int]] = {}
        for number, (_, _, size) in enumerate(places):
            by_size.setdefault(size, []).append(number)
        buckets = sorted(by_size.items(), key=lambda item: len(item[1]), reverse=True)
        if len(buckets) > 1 or any(count < channels for _, count, _ in places):
            other = path and path.with_name(f"{path.name}-sorted")
            drawn, file = file, _new_file(other)
            with drawn:
                for size, numbers in buckets:
                    for number in numbers:
                        start, count, _ = places[number]
                        drawn.seek(start)
                        values = numpy.frombuffer(drawn.read(count * math.prod(size)), numpy.uint8)
                        file.write(values.reshape(count, *size).repeat(channels // count, axis=0).data)
            if path and other:
                other.replace(path)
        with file:
            file.flush()
            tensors = map_pixels(file, [(len(numbers), channels, *size) for size, numbers in buckets])
        return [(numbers, one) for (_, numbers), one in zip(buckets, tensors, strict=True)]
    except OSError as error:
        place = path.parent if path else tempfile.gettempdir()
        raise InputError(
            f"the pixels cannot be kept in {place} ({error}); set TMPDIR to a folder with more room"
        ) from error


def map_pixels(file: Any, shapes: Sequence[Shape]) -> list[Tensor]:
    """Map consecutive tensors of these shapes, uint8 [N, C, H, W], from a file."""
    tensors, start = [], 0
    for shape in shapes:
        tensors.append(torch.from_numpy(numpy.memmap(file, numpy.uint8, "r+", start, shape)))
        start += math.prod(shape)
    return tensors


def _new_file(path: Path | None) -> IO[bytes]:
    return path.open("w+b") if path else tempfile.TemporaryFile()
