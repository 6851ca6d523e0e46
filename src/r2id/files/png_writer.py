"""PNG files of 8 or 16 bits, written band by band, with transparency, colour profile and EXIF.

BigTIFF alone would do for pictures larger than memory, but fewer programs open it. Pillow writes PNG from memory only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy

from r2id.geometry.sizes import Size

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's numbers for grey, grey with alpha, RGB and RGBA, by their channels."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = 1 << 20


def write_png(
    path: Path,
    size: Size,
    channels: int,
    depth: int,
    bands: Iterable[numpy.ndarray],
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a PNG from bands of rows, top to bottom.

    Args:
        path: file to write.
        size: (height, width).
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        depth: bits of a level, 8 or 16.
        bands: [rows, width, channels], uint8 or uint16, any number of rows each.
        profile, exif: ICC profile and EXIF data.
    """
    with path.open("wb") as file:
        file.write(SIGNATURE)
        _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, COLOUR_TYPES[channels], 0, 0, 0))
        if profile:
            _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
        if exif:
            _write_chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
        packer, packed = zlib.compressobj(), bytearray()
        for band in bands:
            packed += packer.compress(_filtered(band, channels * depth // 8))
            if len(packed) >= CHUNK:
                _write_chunk(file, b"IDAT", packed)
                packed.clear()
        _write_chunk(file, b"IDAT", packed + packer.flush())
        _write_chunk(file, b"IEND", b"")


def _filtered(band: numpy.ndarray, step: int) -> bytes:
    """Rows as differences from the pixel before (PNG's filter 1), which compress better."""
    stored = band if band.dtype == numpy.uint8 else band.astype(">u2")
    rows = numpy.ascontiguousarray(stored).view(numpy.uint8).reshape(len(band), -1)
    differences = numpy.empty((len(rows), 1 + rows.shape[1]), numpy.uint8)
    differences[:, 0] = 1
    differences[:, 1:] = rows
    differences[:, 1 + step :] -= rows[:, :-step]
    return differences.tobytes()


def _write_chunk(file: IO[bytes], name: bytes, content: bytes | bytearray) -> None:
    file.write(struct.pack(">I", len(content)) + name + content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))
