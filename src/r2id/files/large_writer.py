"""Pictures larger than memory, written tile by tile and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import numpy
import tifffile
import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.files.atomic import check_writable, free_space, make_folder, writing
from r2id.files.exif import add_exif
from r2id.files.images import LARGE, as_levels, check_image_suffix, is_large, reason
from r2id.files.locks import alone
from r2id.files.pictures import PixelFormat, photometric
from r2id.files.png_writer import write_png
from r2id.files.record import check_settings, read_record
from r2id.files.tiff import TIFF_SUFFIXES
from r2id.geometry.sizes import Region, Size, check_region, check_size, size_text
from r2id.geometry.tiles import TILE, count_tiles, tiles_by_block
from r2id.runtime.progress import Progress

LONGEST_SIDE = 2**31 - 1


def check_suffix(path: Path, size: Size) -> None:
    """Raise InputError unless the file's suffix names a format that can be written, in tiles for a large size."""
    check_image_suffix(path)
    if is_large(size):
        check_large_suffix(path)


def check_large_suffix(path: Path) -> None:
    """Raise InputError unless the file's suffix names a format that can be written in tiles."""
    if path.suffix.lower() not in (*TIFF_SUFFIXES, ".png"):
        raise InputError(f"{path} cannot be written in tiles; a picture of over {LARGE} pixels needs .tif or .png")


def check_output(path: Path, size: Size, form: PixelFormat) -> None:
    """Check, before any work, that a picture can be written to `path`, and leave nothing there.

    Raises InputError for another suffix, a size over the format's limit, a folder, or too little disk space for a large
    picture. Raises OSError if the system refuses.
    """
    check_suffix(path, size)
    check_writable(path)
    if is_large(size):
        _Tiles((0, 0, *size), form, path).check_space()


class Field(Protocol):
    """A picture that can be rendered: an `ImageField`."""

    channels: int

    def render(self, size: Size, region: Region | None = None) -> Tensor: ...


def write_large(
    field: Field,
    size: Size,
    region: Region | None,
    path: Path,
    identity: dict[str, Any],
    progress: Progress,
    form: PixelFormat | None = None,
) -> None:
    """Render a field of one picture to a tiled BigTIFF or a PNG, in constant memory.

    Tiles are kept beside `path` in an uncompressed BigTIFF, `.NAME.partial`. After an interruption, the same call
    continues after the last whole tile. Tiles are those of the whole picture, block by block of the field, which so
    computes no block twice.

    Args:
        field: a field with a batch of one. Its `blocks(size)`, if it has any, are the blocks.
        size, region: as for `ImageField.render`.
        path: file to write, .tif or .png.
        identity: description of the picture, as JSON types; tiles with another one are refused.
        progress: display of the progress.
        form: what the field's channels mean; by default 8 bits of grey or RGB.
    Raises:
        InputError: for another suffix or size, too little disk space, or another process that writes the same file.
            Also for tiles that are damaged or of another picture.
        OSError: if the disk is full or the system refuses.
        KeyboardInterrupt: at Ctrl-C.
    """
    check_large_suffix(path)
    top, left, bottom, right = check_region(region, check_size(size)) if region else (0, 0, *check_size(size))
    form = form or PixelFormat(field.channels)
    tiles = _Tiles((top, left, bottom, right), form, path)
    blocks = getattr(field, "blocks", None)
    places = tiles_by_block(tiles.region, blocks(size) if blocks else (TILE, TILE))
    taken = f"another process is writing {path}; wait until it ends, or give another output"
    with writing(path), alone(path.with_name(f".{path.name}.lock"), taken):
        tiles.begin(identity | {"size": size_text(size), "region": [top, left, bottom, right]})
        with tiles.kept():
            with progress(tiles.count, path.name, tiles.done) as advance, torch.inference_mode():
                for place in islice(places, tiles.done, None):
                    tiles.append(place, as_levels(field.render(size, place)[0], form.depth))
                    advance(1)
            tiles.finish(progress)


class _Tiles:
    """The tiles of a picture in writing, and the number of finished ones.

    The file has tiles of its own, which begin where the region does. They are the picture's where it is whole.
    """

    def __init__(self, region: Region, form: PixelFormat, path: Path) -> None:
        size = region[2] - region[0], region[3] - region[1]
        if max(size) > LONGEST_SIDE:
            raise InputError(f"size {size_text(size)} is over the limit of {path.suffix}, {LONGEST_SIDE} pixels a side")
        self.region, self.size, self.form, self.path = region, size, form, path
        self.rows, self.columns = (-(-side // TILE) for side in size)
        self.count, self.done = count_tiles(region), 0
        self.partial = path.with_name(f".{path.name}.partial")
        self.progress = path.with_name(f".{path.name}.partial.json")
        self.unfinished = path.with_name(f".{path.name}.partial.new")
        self.pixel_bytes = form.channels * form.depth // 8
        self.tile_bytes = TILE * TILE * self.pixel_bytes

    def begin(self, identity: dict[str, Any]) -> None:
        """Resume an interrupted picture, or start a new one."""
        self.identity = identity
        if self.progress.exists() and self.partial.exists():
            self._resume()
        else:
            self._create()

    def check_space(self) -> None:
        """Raise InputError if the disk has less space than the tiles and the picture may need."""
        needed = self.rows * self.columns * self.tile_bytes
        if self.path.suffix.lower() not in TIFF_SUFFIXES:
            # Incompressible pixels need a byte more for each row, and the headers of deflate and chunks.
            rows = self.size[0] * (self.size[1] * self.pixel_bytes + 1)
            needed += rows + rows // 1000 + 4096
        if self.partial.exists():
            needed -= self.partial.stat().st_size
        free = free_space(self.path)
        if needed > free:
            raise InputError(
                f"{self.path} needs {needed / 2**30:.1f} GiB of disk space while it is written "
                f"and {free / 2**30:.1f} GiB are free"
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let interruptions and errors name the tiles that are kept."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped after tile {self.done} of {self.count}; the same command goes on from there"
            ) from None
        except OSError as error:
            why = f"{error.strerror or error}; {self.done} of {self.count} tiles are kept for the same command to go on"
            raise OSError(error.errno, why, error.filename) from error

    def append(self, place: Region, levels: numpy.ndarray) -> None:
        """Write and count the next tile, levels [height, width, channels] of a region of the whole picture."""
        (top, bottom), (left, right) = (
            (first - start, last - start)
            for first, last, start in zip(place[:2], place[2:], self.region[:2], strict=True)
        )
        with self.partial.open("r+b") as file:
            for row in range(top // TILE, -(-bottom // TILE)):
                for column in range(left // TILE, -(-right // TILE)):
                    y, x = row * TILE, column * TILE
                    tile = self._read_tile(file, row, column)
                    part = levels[max(y - top, 0) : y + TILE - top, max(x - left, 0) : x + TILE - left]
                    first = max(top - y, 0), max(left - x, 0)
                    tile[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]] = part
                    file.seek(self._offset(row, column))
                    file.write(tile.tobytes())
        self._note(self.done + 1)

    def _offset(self, row: int, column: int) -> int:
        return self.offsets[row * self.columns + column]

    def _read_tile(self, file: IO[bytes], row: int, column: int) -> numpy.ndarray:
        file.seek(self._offset(row, column))
        tile: numpy.ndarray = numpy.frombuffer(bytearray(file.read(self.tile_bytes)), self.form.dtype)
        return tile.reshape(TILE, TILE, self.form.channels)

    def finish(self, progress: Progress) -> None:
        """Move the whole picture to its path."""
        if self.path.suffix.lower() in TIFF_SUFFIXES:
            if self.form.exif:
                add_exif(self.partial, self.form.exif)
            self.partial.replace(self.path)
        else:
            with progress(self.size[0], f"compressing {self.path.name}") as advance:
                self._put(self.path, lambda path: self._write_png(path, advance))
            self.partial.unlink()
        self.progress.unlink()

    def _resume(self) -> None:
        noted = read_record(self.progress, "remove it to begin anew", done=int, picture=dict)
        done = noted["done"]
        advice = "remove it to begin anew, or give another output"
        check_settings(self.identity, noted["picture"], f"{self.partial} was begun with", advice)
        try:
            self._read_offsets(is_finished=done == self.count)
            damage = None if 0 <= done <= self.count else f"{done} of {self.count} tiles are said to be done"
        except Exception as error:
            damage = reason(error)
        if damage:
            raise InputError(f"{self.partial} is damaged ({damage}); remove it to begin anew")
        self.check_space()
        self.done = done

    def _create(self) -> None:
        make_folder(self.path.parent)
        self.partial.unlink(missing_ok=True)
        self.check_space()
        self.progress.unlink(missing_ok=True)
        try:
            self._reserve()
        except BaseException:
            self.partial.unlink(missing_ok=True)
            raise
        self._read_offsets(is_finished=False)
        self._note(0)

    def _reserve(self) -> None:
        tifffile.imwrite(
            self.partial,
            shape=self._shape(),
            dtype=self.form.dtype,
            bigtiff=True,
            byteorder="<",
            tile=(TILE, TILE),
            **photometric(self.form),
        )
        # The file is sparse, and others could fill the disk meanwhile.
        if hasattr(os, "posix_fallocate"):
            with self.partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, self.partial.stat().st_size)

    def _shape(self) -> tuple[int, ...]:
        return self.size if self.form.channels == 1 else (*self.size, self.form.channels)

    def _read_offsets(self, is_finished: bool) -> None:
        """Read the offsets of the tiles. Raises an error of any type if the file is not as `_create` made it; behind
        finished tiles may be EXIF data."""
        with tifffile.TiffFile(self.partial) as file:
            page: Any = file.pages.first
            found = page.shape, page.dtype, page.tile, page.compression
            self.offsets = page.dataoffsets
        expected = self._shape(), self.form.dtype, (TILE, TILE), tifffile.COMPRESSION.NONE
        if found != expected or len(self.offsets) != self.rows * self.columns:
            raise ValueError(
                f"its {len(self.offsets)} tiles are not the {self.rows * self.columns} of {size_text(self.size)} pixels"
            )
        first, size = self.offsets[0], self.partial.stat().st_size
        if any(offset != first + index * self.tile_bytes for index, offset in enumerate(self.offsets)):
            raise ValueError("its tiles do not lie one after the other")
        whole = first + len(self.offsets) * self.tile_bytes
        if size < whole or (size > whole and not is_finished):
            raise ValueError(f"it has {size} bytes instead of {whole}")

    def _note(self, done: int) -> None:
        noted = json.dumps({"picture": self.identity, "done": done})
        self._put(self.progress, lambda path: path.write_text(noted))
        self.done = done

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        """Write a file whole, under one temporary name, so that killed processes leave at most one file."""
        try:
            write(self.unfinished)
            self.unfinished.replace(path)
        finally:
            self.unfinished.unlink(missing_ok=True)

    def _write_png(self, path: Path, advance: Callable[[int], object]) -> None:
        form = self.form
        write_png(path, self.size, form.channels, form.depth, self._bands(advance), form.profile, form.exif)

    def _bands(self, advance: Callable[[int], object]) -> Iterator[numpy.ndarray]:
        with self.partial.open("rb") as file:
            for row in range(self.rows):
                tiles = [self._read_tile(file, row, column) for column in range(self.columns)]
                band = numpy.concatenate(tiles, 1)[: self.size[0] - row * TILE, : self.size[1]]
                yield band
                advance(len(band))
