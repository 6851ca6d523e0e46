"""Operations of the web page on photographs, looking at any part at any zoom and enlarging; independent of the page
itself."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from r2id.app.example import example_picture
from r2id.app.studio import check_upload, keep_newest
from r2id.batch.picture_field import field_of
from r2id.batch.resampling import Target, render
from r2id.errors import InputError
from r2id.files.atomic import file_name
from r2id.files.images import as_levels, flatten, in_channels
from r2id.files.pictures import FILE_TYPES, Picture, as_image, check_side, read_picture, save_picture
from r2id.geometry.sizes import Region, Size, scaled, size_text
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import autocast

LEAST_ZOOM, FIRST_ZOOM, MOST_ZOOM = 2, 4, 2**16
MAP = 192
"""Pixels along the longer side of the small whole picture."""
PHOTOGRAPH_PIXELS = 2**26
ENLARGED_PIXELS = 2**25
SMALLEST = 4
"""Fewest pixels along a side of a photograph."""
LONGEST = 600.0
"""Most seconds of an enlargement."""
MOST_FILES = 20
"""Most enlargements kept on disk."""


@dataclass(frozen=True)
class Photograph:
    """An uploaded picture: its file, the visitor's name for it, and (height, width)."""

    path: str
    name: str
    size: Size


class View(NamedTuple):
    """What is looked at: the centre in pixels of the photograph, and display pixels to one of its pixels."""

    y: float
    x: float
    zoom: int


class Enlarger:
    """Operations of the page on a pyramid R2IR, which is loaded when first needed.

    Args:
        load: loads it.
        shown: height and width of a view in pixels, at most.
    """

    def __init__(self, load: Callable[[], R2IR], shown: Size = (640, 960)) -> None:
        self.shown = shown
        self._load, self._lock = load, threading.Lock()
        self._loaded: R2IR | None = None
        self._temporary = tempfile.TemporaryDirectory(prefix="r2id-")
        self.folder = Path(self._temporary.name)
        """Folder of all enlargements, until the enlarger ends."""
        self._picture = lru_cache(maxsize=4)(_read)
        self._pixels = lru_cache(maxsize=4)(lambda path: _displayed(self._picture(path)))
        self._small = lru_cache(maxsize=64)(lambda path: _small(self._pixels(path)))

    @property
    def network(self) -> R2IR:
        """The R2IR. Raises InputError for one that is no pyramid of RGB."""
        with self._lock:
            if self._loaded is None:
                network = self._load()
                if network.config.attention != "pyramid" or network.config.image_channels != 3:
                    raise InputError("this model is no pyramid of RGB, which photographs need; `pictures` is one")
                self._loaded = network.eval()
            return self._loaded

    def open(self, path: str | None) -> Photograph:
        """Read an upload. Raises InputError for anything but a photograph within the limits."""
        if not path:
            raise InputError("no photograph is chosen; drop one first")
        name = Path(path).name
        try:
            check_upload(path, PHOTOGRAPH_PIXELS)
            size = self._picture(path).size
            if min(size) < SMALLEST:
                raise InputError(f"{name} is {size_text(size)}; it must have at least {SMALLEST} pixels on a side")
        except InputError as error:
            # Visitors know their file, not this folder.
            raise InputError(str(error).replace(path, name)) from error
        return Photograph(path, name, size)

    def example(self) -> Photograph:
        """Return the picture to start with."""
        path = self.folder / "example.png"
        if not path.exists():
            example_picture().save(path)
        return self.open(str(path))

    def small(self, photograph: Photograph) -> Image.Image:
        """Return the whole photograph, small."""
        return self._small(photograph.path)

    def first_view(self, photograph: Photograph) -> View:
        """Return the view that a photograph opens with: its middle, a small one as large as the page shows it."""
        height, width = photograph.size
        zoom = FIRST_ZOOM
        while 2 * zoom <= min(MOST_ZOOM, self.shown[0] / height, self.shown[1] / width):
            zoom *= 2
        return View(height / 2, width / 2, zoom)

    def region(self, photograph: Photograph, view: View) -> Region:
        """Return (top, left, bottom, right) of a view, in pixels of the whole photograph at its zoom."""
        starts, ends = [], []
        for length, centre, most in zip(photograph.size, view[:2], self.shown, strict=True):
            whole = length * view.zoom
            shown = min(most, whole)
            start = min(max(round(centre * view.zoom - shown / 2), 0), whole - shown)
            starts.append(start)
            ends.append(start + shown)
        return starts[0], starts[1], ends[0], ends[1]

    def lanczos(self, photograph: Photograph, view: View) -> Image.Image:
        """Return the view by a Lanczos filter."""
        (top, left, bottom, right), zoom = self.region(photograph, view), view.zoom
        box = (left / zoom, top / zoom, right / zoom, bottom / zoom)
        picture = self._pixels(photograph.path)
        return picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box)

    def r2ir(self, photograph: Photograph, view: View) -> Image.Image:
        """Return the view by R2IR, rendered from the field at just this zoom."""
        picture, whole = self._picture(photograph.path), scaled(photograph.size, (view.zoom, view.zoom))
        with torch.inference_mode(), autocast("bf16", self.network.device):
            values = field_of(self.network, picture).view(whole, self.region(photograph, view))[0]
        return _displayed(Picture(as_levels(values, picture.form.depth), picture.form))

    def enlarge(self, photograph: Photograph, size: Size, said: Callable[[float], object]) -> Path:
        """Write the whole photograph at `size`, in the type of its file where that is written, and return the path.

        Args:
            photograph: what is enlarged.
            size: height and width.
            said: is called with the part that is done, from 0 to 1.
        Raises:
            InputError: for a size beyond the limits, or one that takes too long.
        """
        if size[0] * size[1] > ENLARGED_PIXELS:
            raise InputError(
                f"the size is {size_text(size)}; it must have at most {ENLARGED_PIXELS:,} pixels. "
                "`r2id resample` makes larger ones"
            )
        keep_newest(self.folder, MOST_FILES)
        name = Path(photograph.name)
        suffix = name.suffix if name.suffix.lower() in FILE_TYPES else ".png"
        path = Path(tempfile.mkdtemp(dir=self.folder)) / f"{file_name(name.stem)}-{size_text(size)}{suffix}"
        check_side(path, size)
        field = field_of(self.network, self._picture(photograph.path))
        save_picture(render(field, Target(size=size), progress=lambda *work: _timed(said, *work)), path)
        return path


def valid_view(photograph: Photograph, y: float, x: float, zoom: float) -> View:
    """Return the view that a browser asks for, within the photograph and the limits of the zoom."""
    height, width = photograph.size
    zoom = 2 ** round(math.log2(min(max(zoom, LEAST_ZOOM), MOST_ZOOM)))
    return View(min(max(y, 0.0), height), min(max(x, 0.0), width), int(zoom))


@contextmanager
def _timed(said: Callable[[float], object], total: int, title: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Say which part is done, and raise InputError when it takes too long."""
    began = time.monotonic()

    def advance(count: int) -> None:
        nonlocal done
        done += count
        said(done / total)
        if time.monotonic() - began > LONGEST:
            raise InputError(f"this takes more than {LONGEST:.0f} s; ask for a smaller size, or use `r2id resample`")

    said(done / total)
    yield advance


def _read(path: str) -> Picture:
    if not Path(path).exists():
        raise InputError("this photograph is no longer kept; choose it again")
    return read_picture(Path(path))


def _displayed(picture: Picture) -> Image.Image:
    """Return the picture as a browser shows it, in sRGB and on white."""
    return in_channels(flatten(as_image(picture), 255, "the photograph"), 3)


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((MAP, MAP), Image.Resampling.LANCZOS)
    return small
