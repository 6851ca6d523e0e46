"""Operations of the web page on a pipeline, and their limits; independent of the page itself."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import file_name
from r2id.files.contact_sheets import contact_sheet, enlarged
from r2id.files.images import FORMATS, as_output, as_values, read_image
from r2id.files.latents import SUFFIX, Latents
from r2id.geometry.sizes import Size, check_size, scaled, size_text
from r2id.runtime.precision import autocast

MOST_PICTURES = 20
LARGEST_LATENT = 64
LARGEST_PICTURE = 2048
MOST_PIXELS = 2**23
"""Most pixels of all pictures of a request."""
MOST_STEPS = 100
LONGEST = 120.0
"""Most seconds of a request."""
UPLOAD_PIXELS = 2**24
MOST_FILES = 50
"""Most uploads and downloads kept on disk."""
SHOWN = 480
"""Pixels along the longer side of the large view."""
BAND = 2**19
"""Pixels between two checks of the time limit."""

SIZES = ((1, 1), (2, 2), (27 / 32, 18 / 32), (18 / 32, 1), (4, 51 / 32), (8, 8), (16, 16))
"""Picture sizes that the page offers, as multiples of the model's own height and width."""

View = tuple[float, float, float, float]
WHOLE: View = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Session:
    """State of one visitor: latents with labels, the decoded size, the picked picture and its visible part."""

    latents: Tensor
    labels: tuple[str, ...]
    canvas: Size
    size: Size
    picked: int = 0
    view: View = WHOLE


class Studio:
    """Operations of the page on a pipeline. They raise InputError for requests beyond the limits above."""

    def __init__(self, pipeline: R2Pipeline) -> None:
        if pipeline.resampler is None:
            raise InputError("this model works on pixels; the page needs one whose latents can be decoded at any size")
        self.pipeline, self.resampler = pipeline, pipeline.resampler
        self.labels = list(pipeline.conditioner.label_names)
        self.defaults = pipeline.generation_defaults
        own = [scaled(self.defaults.size, factor) for factor in SIZES]
        self.sizes = [size for size in own if max(size) <= LARGEST_PICTURE]
        self._temporary = tempfile.TemporaryDirectory(prefix="r2id-")
        self.folder = Path(self._temporary.name)
        """Folder of all visitors' files, each in its own subfolder, until the studio ends."""

    def generate(
        self,
        labels: Sequence[str],
        latent_size: Size,
        size: Size,
        num_inference_steps: int,
        guidance_scale: float,
        seed: int,
    ) -> Iterator[list[Image.Image] | Session]:
        """Yield the small decoded pictures of every step, and at the end the session."""
        if not labels:
            raise InputError(
                "no label is chosen; choose at least one" if self.labels else "there is no text; write one"
            )
        if len(labels) > MOST_PICTURES:
            raise InputError(f"{len(labels)} pictures are asked for; the page makes at most {MOST_PICTURES} at once")
        check_number("the number of steps", num_inference_steps, 1, MOST_STEPS)
        check_number("guidance", guidance_scale, 1, 20)
        check_number("the seed", seed, 0, 2**31)
        check_within(latent_size, LARGEST_LATENT, "the latent size")
        check_decoded(size, len(labels))
        canvas = tuple(self.pipeline.diffuser.config.canvas or size)
        small = _fitted(canvas, 32)
        began, made = time.monotonic(), queue.Queue[Any]()
        stopped = threading.Event()

        def after_step(pipeline: R2Pipeline, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
            if stopped.is_set():
                raise InputError("stopped")
            if time.monotonic() - began > LONGEST:
                raise InputError(f"this takes more than {LONGEST:.0f} s; ask for fewer labels, latents or steps")
            latents = self.resampler.destandardise(tensors["latents"].float())
            made.put(pipeline.decode(latents, small, canvas))
            return {}

        def work() -> None:
            try:
                with self._quickly():
                    result = self.pipeline(
                        list(labels),
                        latent_size,
                        size,
                        output_type="latent",
                        num_inference_steps=num_inference_steps,
                        guidance_scale=guidance_scale,
                        generator=[torch.Generator().manual_seed(seed + index) for index in range(len(labels))],
                        callback_on_step_end=after_step,
                    )
                made.put(Session(result.latents.float(), tuple(labels), canvas, size))
            except Exception as error:
                made.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while True:
                one = made.get()
                if isinstance(one, Exception):
                    raise one
                yield one
                if isinstance(one, Session):
                    return
        finally:
            # Sampling stops when the visitor has left.
            stopped.set()
            thread.join()

    def encode(self, path: str | None, latent_size: Size, size: Size) -> Session:
        """Return the session of an uploaded picture."""
        if not path:
            raise InputError("no picture is uploaded; choose one first")
        check_within(latent_size, LARGEST_LATENT, "the latent size")
        check_decoded(size, 1)
        self._keep_newest()
        try:
            check_upload(path)
            levels = read_image(path, channels=self.resampler.config.image_channels)
        except InputError as error:
            # Visitors know their file, not this folder.
            raise InputError(str(error).replace(path, Path(path).name)) from error
        with torch.inference_mode():
            latent = self.resampler.encode(as_values(levels[None]).to(self.resampler.device), latent_size)
        return Session(latent, (), (levels.shape[-2], levels.shape[-1]), size)

    def pictures(self, session: Session) -> list[Image.Image]:
        """Decode all pictures of a session at its size."""
        check_decoded(session.size, len(session.latents))
        began, (height, width) = time.monotonic(), session.size
        rows, pictures = max(1, BAND // width), []
        with self._quickly():
            for latent in session.latents.split(max(1, BAND // (height * width))):
                field, bands = self.resampler.field(latent, session.canvas), []
                for top in range(0, height, rows):
                    if time.monotonic() - began > LONGEST:
                        raise InputError(f"this takes more than {LONGEST:.0f} s; ask for a smaller size")
                    bands.append(field.render(session.size, (top, 0, min(top + rows, height), width)))
                pictures += as_output(torch.cat(bands, dim=-2), "pil")
        return pictures

    def look(self, session: Session) -> Image.Image:
        """Render the visible part of the picked picture from the field, as large as the page shows it."""
        top, left, bottom, right = session.view
        height, width = session.size
        scale = SHOWN / max((bottom - top) * height, (right - left) * width)
        whole = max(1, round(height * scale)), max(1, round(width * scale))
        first = min(round(top * whole[0]), whole[0] - 1), min(round(left * whole[1]), whole[1] - 1)
        last = max(round(bottom * whole[0]), first[0] + 1), max(round(right * whole[1]), first[1] + 1)
        with self._quickly():
            field = self.resampler.field(session.latents[session.picked : session.picked + 1], session.canvas)
            return as_output(field.render(whole, (*first, *last)), "pil")[0]

    def overview(self, session: Session, pictures: Sequence[Image.Image]) -> Image.Image:
        """Return the whole picked picture as large as the page shows it, from `pictures` if they are large enough."""
        if max(session.size) < SHOWN:
            return self.look(replace(session, view=WHOLE))
        height, width = _fitted(session.size, SHOWN)
        return pictures[session.picked].resize((width, height), Image.Resampling.LANCZOS)

    def channels(self, session: Session) -> Image.Image:
        """Return the picked latent, channel by channel."""
        latent = session.latents[session.picked][:, None]
        return enlarged(contact_sheet(as_output(latent, "pil"), columns=16))

    def files(self, session: Session) -> tuple[Path, Path]:
        """Write the picked picture as PNG, decoded in float32, and all latents of the session; return both paths."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self._keep_newest()
        latent = session.latents[session.picked : session.picked + 1]
        picture = self.pipeline.decode(latent, session.size, session.canvas)[0]
        label = f"-{file_name(session.labels[session.picked])}" if session.labels else ""
        picture.save(folder / f"r2id{label}-{size_text(session.size)}.png")
        latents = Latents(session.latents, session.canvas, session.labels, self.resampler.checksum(), session.size)
        latents.save(folder / f"latents{SUFFIX}")
        picture_file, latents_file = sorted(folder.iterdir(), key=lambda path: path.suffix)
        return picture_file, latents_file

    @contextmanager
    def _quickly(self) -> Iterator[None]:
        """Compute in bfloat16 where the device has it: a third of the time, and pictures differ by a level or
        two of 255."""
        with torch.inference_mode(), autocast("bf16", self.pipeline.device):
            yield

    def _keep_newest(self) -> None:
        keep_newest(self.folder, MOST_FILES)


def keep_newest(folder: Path, most: int) -> None:
    """Remove all but the newest subfolders."""
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-most]:
        shutil.rmtree(old, ignore_errors=True)


def zoomed(view: View, part: View) -> View:
    """Return `part` of the part `view`, each (top, left, bottom, right) from 0 to 1; never thinner than 1e-6."""
    top, left, bottom, right = (min(1.0, max(0.0, float(edge))) for edge in part)
    height, width = view[2] - view[0], view[3] - view[1]
    if (bottom - top) * height < 1e-6 or (right - left) * width < 1e-6:
        return view
    return view[0] + top * height, view[1] + left * width, view[0] + bottom * height, view[1] + right * width


def check_number(name: str, value: float | None, least: float, most: float) -> None:
    """Raise InputError for a number outside its range."""
    if value is None or not least <= value <= most:
        raise InputError(f"{name} is {value}; it must be from {least:g} to {most:g}")


def check_within(size: Size, most: int, name: str) -> None:
    """Raise InputError for an invalid size, or one beyond the page's limits."""
    if max(check_size(size, name)) > most:
        raise InputError(f"{name} is {size_text(size)}; the page takes at most {most} on a side")


def check_upload(path: str, most: int | None = None) -> None:
    """Raise InputError for a picture of more pixels than `most`, by default UPLOAD_PIXELS, before they are read."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
    except Exception:
        return  # read_image names the fault
    most = most or UPLOAD_PIXELS
    if width * height > most:
        raise InputError(f"the picture is {height}x{width}; it must have at most {most:,} pixels")


def check_decoded(size: Size, count: int) -> None:
    """Raise InputError for pictures beyond the page's limits."""
    check_within(size, LARGEST_PICTURE, "the picture size")
    if size[0] * size[1] * count > MOST_PIXELS:
        raise InputError(
            f"{count} pictures of {size_text(size)} are more than the page decodes at once; "
            "take a smaller size or fewer labels"
        )


def _fitted(size: Size, longest: int) -> Size:
    """Return a size in the proportions of `size` whose longer side is `longest`."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
