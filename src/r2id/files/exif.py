"""EXIF data: what of them stays true of a picture at another size, and writing them into a TIFF."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image
from PIL.ExifTags import IFD, Base

KEPT_TAGS = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.Copyright,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
)
"""EXIF that is as true of the picture at another size, beside the camera's. Orientation is applied."""
SIZE_TAGS = (Base.ExifImageWidth, Base.ExifImageHeight, Base.MakerNote)
DIRECTORIES = (IFD.Exif, IFD.GPSInfo)
"""Entries that are the place of another directory."""


def kept_exif(exif: Image.Exif | None) -> bytes | None:
    """Return EXIF that stays true at another size, little-endian. Damaged EXIF is no reason to refuse a picture."""
    with contextlib.suppress(Exception):
        if exif:
            kept = Image.Exif()
            kept.endian = "<"
            for tag in KEPT_TAGS:
                if tag in exif:
                    kept[tag] = exif[tag]
            for part in DIRECTORIES:
                entries = {tag: value for tag, value in exif.get_ifd(part).items() if tag not in SIZE_TAGS}
                if entries:
                    # A whole one is written, an empty one too.
                    kept.get_ifd(part).update(entries)
                    kept[part] = kept.get_ifd(part)
            return kept.tobytes() if kept else None
    return None


def tiff_exif(path: Path) -> bytes | None:
    """Return `kept_exif` of a TIFF, of which Pillow may not read the pixels."""
    with contextlib.suppress(Exception), path.open("rb") as file:
        exif, head = Image.Exif(), file.read(4)
        exif.endian, exif.bigtiff = ("<" if head[:2] == b"II" else ">"), 43 in head[2:]
        (first,) = struct.unpack(exif.endian + ("4xQ" if exif.bigtiff else "I"), file.read(12 if exif.bigtiff else 4))
        exif.load_from_fp(file, first)
        return kept_exif(exif)
    return None


class Layout(NamedTuple):
    """Formats of a directory: its number of entries, an entry, and the place of another one or of a value."""

    number: str
    entry: str
    place: str


CLASSIC, BIG = Layout("<H", "<HHI4s", "<I"), Layout("<Q", "<HHQ8s", "<Q")
HEADERS = {b"II*\0": (CLASSIC, 4), b"II+\0": (BIG, 8)}
"""Of little-endian files: the layout, and where the place of the first directory is."""
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value by its type (TIFF 6.0, section 2)."""
LONG, LONG8 = 4, 16

Entry = tuple[int, int, bytes]
"""Type of the values, their number, and themselves, or their place in the file."""


def add_exif(path: Path, exif: bytes) -> None:
    """Add `kept_exif` to a little-endian TIFF of one page.

    They go to the end of the file with a copy of its directory. In the copy, they take the place of what the writer
    noted of itself. The place of the directory is written last: until then, the file is as it was.
    """
    block = io.BytesIO(exif.removeprefix(b"Exif\0\0"))
    with path.open("r+b") as file:
        layout, start = HEADERS[file.read(4)]
        file.seek(start)
        (first,) = _unpack(file, layout.place)
        own = {tag: entry for tag, entry in _entries(file, first, layout).items() if tag not in KEPT_TAGS}
        entries = own | _copied(block, 8, file, layout)
        place = _append(file, _directory(file, entries, layout))
        file.seek(start)
        file.write(struct.pack(layout.place, place))


def _copied(block: IO[bytes], place: int, file: IO[bytes], layout: Layout) -> dict[int, Entry]:
    """Append the directories below a directory of EXIF data; return its entries with all values."""
    copied = {}
    for tag, (kind, count, field) in _entries(block, place, CLASSIC).items():
        (at,) = struct.unpack(CLASSIC.place, field)
        if tag in DIRECTORIES:
            below = _append(file, _directory(file, _copied(block, at, file, layout), layout))
            copied[tag] = (LONG if layout is CLASSIC else LONG8), 1, struct.pack(layout.place, below)
            continue
        size = count * VALUE_BYTES[kind]
        if size > len(field):
            block.seek(at)
            field = block.read(size)
        copied[tag] = kind, count, field[:size]
    return copied


def _entries(file: IO[bytes], place: int, layout: Layout) -> dict[int, Entry]:
    """Read a directory."""
    file.seek(place)
    (count,) = _unpack(file, layout.number)
    rows = (_unpack(file, layout.entry) for _ in range(count))
    return {tag: (kind, number, field) for tag, kind, number, field in rows}


def _directory(file: IO[bytes], entries: dict[int, Entry], layout: Layout) -> bytes:
    """Return a directory, and append the values that are too long for it."""
    rows = []
    for tag, (kind, count, value) in sorted(entries.items()):
        if len(value) > struct.calcsize(layout.place):
            value = struct.pack(layout.place, _append(file, value))
        rows.append(struct.pack(layout.entry, tag, kind, count, value))
    return struct.pack(layout.number, len(rows)) + b"".join(rows) + struct.pack(layout.place, 0)


def _append(file: IO[bytes], data: bytes) -> int:
    """Write to the end of a file; return the place, which is even."""
    end = file.seek(0, io.SEEK_END)
    file.write(b"\0" * (end % 2) + data)
    return end + end % 2


def _unpack(file: IO[bytes], form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
