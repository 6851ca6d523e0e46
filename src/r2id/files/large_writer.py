"""Pictures larger than memory, written tile by tile and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy
import png
import tifffile
import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.files.atomic import check_writable, free_space, make_folder, writing
from r2id.files.images import LARGE, as_levels, check_image_suffix, is_large, reason
from r2id.files.locks import alone
from r2id.files.record import check_settings, read_record
from r2id.files.tiff import TIFF_SUFFIXES
from r2id.geometry.sizes import Region, Size, check_region, check_size, size_text
from r2id.runtime.progress import Progress

TILE = 256
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


def check_output(path: Path, size: Size, channels: int) -> None:
    """Check, before any work, that a picture can be written to `path`, and leave nothing there.

    Raises InputError for another suffix, a size over the format's limit, a folder, or too little disk space for a large
    picture; OSError if the system refuses.
    """
    check_suffix(path, size)
    check_writable(path)
    if is_large(size):
        _Tiles(size, channels, path).check_space()


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
) -> None:
    """Render a field of one picture to a tiled BigTIFF or a PNG, in constant memory.

    Tiles are kept beside `path` in an uncompressed BigTIFF, `.NAME.partial`. After an interruption, the same call
    continues after the last whole tile.

    Args:
        field: a field with a batch of one.
        size, region: as for `ImageField.render`.
        path: file to write, .tif or .png.
        identity: description of the picture, as JSON types; tiles with another one are refused.
        progress: display of the progress.
    Raises:
        InputError: for another suffix or size, too little disk space, tiles that are damaged or of another picture, or
            another process that writes the same file.
        OSError: if the disk is full or the system refuses.
        KeyboardInterrupt: at Ctrl-C.
    """
    check_large_suffix(path)
    top, left, bottom, right = check_region(region, check_size(size)) if region else (0, 0, *check_size(size))
    tiles = _Tiles((bottom - top, right - left), field.channels, path)
    taken = f"another process is writing {path}; wait until it ends, or give another output"
    with writing(path), alone(path.with_name(f".{path.name}.lock"), taken):
        tiles.begin(identity | {"size": size_text(size), "region": [top, left, bottom, right]})
        with tiles.kept():
            with progress(tiles.count, path.name, tiles.done) as advance, torch.inference_mode():
                while tiles.done < tiles.count:
                    y, x, lower, farther = tiles.place(tiles.done)
                    picture = field.render(size, (top + y, left + x, top + lower, left + farther))
                    tiles.append(as_levels(picture[0]))
                    advance(1)
            tiles.finish(progress)


class _Tiles:
    """The tiles of a picture in writing, in order, and the number of finished ones."""

    def __init__(self, size: Size, channels: int, path: Path) -> None:
        if max(size) > LONGEST_SIDE:
            raise InputError(f"size {size_text(size)} is over the limit of {path.suffix}, {LONGEST_SIDE} pixels a side")
        self.size, self.channels, self.path = size, channels, path
        self.rows, self.columns = (-(-side // TILE) for side in size)
        self.count, self.done = self.rows * self.columns, 0
        self.partial = path.with_name(f".{path.name}.partial")
        self.progress = path.with_name(f".{path.name}.partial.json")
        self.unfinished = path.with_name(f".{path.name}.partial.new")
        self.tile_bytes = TILE * TILE * channels

    def place(self, index: int) -> Region:
        """Return the region of a tile in the picture."""
        y, x = divmod(index, self.columns)
        return y * TILE, x * TILE, min((y + 1) * TILE, self.size[0]), min((x + 1) * TILE, self.size[1])

    def begin(self, identity: dict[str, Any]) -> None:
        """Resume an interrupted picture, or start a new one."""
        self.identity = identity
        if self.progress.exists() and self.partial.exists():
            self._resume()
        else:
            self._create()

    def check_space(self) -> None:
        """Raise InputError if the disk has less space than the tiles and the picture may need."""
        needed = self.count * self.tile_bytes
        if self.path.suffix.lower() not in TIFF_SUFFIXES:
            # Incompressible pixels need a byte more for each row, and the headers of deflate and chunks.
            rows = self.size[0] * (self.size[1] * self.channels + 1)
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

    def append(self, levels: numpy.ndarray) -> None:
        """Write and count the next tile, uint8 [height, width, channels]."""
        padded = numpy.zeros((TILE, TILE, self.channels), numpy.uint8)
        padded[: levels.shape[0], : levels.shape[1]] = levels
        with self.partial.open("r+b") as file:
            file.seek(self.offsets[self.done])
            file.write(padded.tobytes())
        self._note(self.done + 1)

    def finish(self, progress: Progress) -> None:
        """Move the whole picture to its path."""
        if self.path.suffix.lower() in TIFF_SUFFIXES:
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
            self._read_offsets()
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
        self._read_offsets()
        self._note(0)

    def _reserve(self) -> None:
        tifffile.imwrite(
            self.partial,
            shape=self._shape(),
            dtype=numpy.uint8,
            bigtiff=True,
            tile=(TILE, TILE),
            photometric="minisblack" if self.channels == 1 else "rgb",
            metadata=None,
        )
        # The file is sparse, and others could fill the disk meanwhile.
        if hasattr(os, "posix_fallocate"):
            with self.partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, self.partial.stat().st_size)

    def _shape(self) -> tuple[int, ...]:
        return self.size if self.channels == 1 else (*self.size, self.channels)

    def _read_offsets(self) -> None:
        """Read the offsets of the tiles. Raises an error of any type if the file is not as `_create` made it."""
        with tifffile.TiffFile(self.partial) as file:
            page: Any = file.pages.first
            found = page.shape, page.dtype, page.tile, page.compression
            self.offsets = page.dataoffsets
        expected = self._shape(), numpy.uint8, (TILE, TILE), tifffile.COMPRESSION.NONE
        if found != expected or len(self.offsets) != self.count:
            raise ValueError(f"its {len(self.offsets)} tiles are not the {self.count} of {size_text(self.size)} pixels")
        first, size = self.offsets[0], self.partial.stat().st_size
        if any(offset != first + index * self.tile_bytes for index, offset in enumerate(self.offsets)):
            raise ValueError("its tiles do not lie one after the other")
        whole = first + self.count * self.tile_bytes
        if size != whole:
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
        height, width = self.size
        with path.open("wb") as file:
            png.Writer(width, height, greyscale=self.channels == 1, bitdepth=8).write(file, self._pixel_rows(advance))

    def _pixel_rows(self, advance: Callable[[int], object]) -> Iterator[bytes]:
        with self.partial.open("rb") as file:
            for y in range(self.rows):
                band = numpy.empty((TILE, self.columns * TILE, self.channels), numpy.uint8)
                for x in range(self.columns):
                    file.seek(self.offsets[y * self.columns + x])
                    tile = numpy.frombuffer(file.read(self.tile_bytes), numpy.uint8)
                    band[:, x * TILE : (x + 1) * TILE] = tile.reshape(TILE, TILE, self.channels)
                for row in band[: self.size[0] - y * TILE, : self.size[1]]:
                    yield row.tobytes()
                    advance(1)
