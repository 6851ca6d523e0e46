"""Operations of the web page on a pipeline, and their limits; independent of the page itself."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from r2id.app.session import WHOLE, Session, in_area
from r2id.app.watching import watched
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import file_name
from r2id.files.contact_sheets import contact_sheet, enlarged
from r2id.files.images import FORMATS, as_output, as_values, read_image
from r2id.files.latents import SUFFIX, Latents
from r2id.files.splats import write_splats
from r2id.geometry.canvas import Canvas, plain
from r2id.geometry.sizes import Region, Size, check_size, in_proportion, scaled, size_text
from r2id.geometry.splats import Splats
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
THUMBNAIL = 120
"""Pixels along the longer side of an earlier picture."""
BAND = 2**19
"""Pixels between two checks of the time limit."""

SMALL, SMALL_IN_CELLS = 32, 128
"""Pixels along the longer side of a picture while it is sampled, of a whole object and by a pyramid."""

SIZES = ((1, 1), (2, 2), (27 / 32, 18 / 32), (18 / 32, 1), (4, 51 / 32), (8, 8), (16, 16))
"""Picture sizes that the page offers, as multiples of the model's own height and width."""
PROPORTIONS = {"1:1": (1, 1), "16:9": (9, 16), "9:16": (16, 9), "3:1": (1, 3), "1:3": (3, 1)}
"""Proportions that the page offers, written width to height, and as (height, width)."""


class Studio:
    """Operations of the page on a pipeline. They raise InputError for requests beyond the limits above.

    Args:
        pipeline: makes the pictures.
        folder: for files of visitors, of another studio; by default one of its own, until the studio ends.
    """

    def __init__(self, pipeline: R2Pipeline, folder: Path | None = None) -> None:
        if pipeline.resampler is None:
            raise InputError("this model works on pixels; the page needs one whose latents can be decoded at any size")
        self.pipeline, self.resampler = pipeline, pipeline.resampler
        self.labels = list(pipeline.conditioner.label_names)
        self.defaults = pipeline.generation_defaults
        self.is_pyramid = self.resampler.config.attention == "pyramid"
        """Whether pictures are made of cells, in any number, so that there are panoramas with a field."""
        self.preview_side = SMALL_IN_CELLS if self.is_pyramid else SMALL
        self.chooses_latents = pipeline.diffuser.config.canvas is None
        """Whether the model has seen many proportions, each with its own latents."""
        own = self.defaults.size
        if not self.chooses_latents:
            sizes = [scaled(own, factor) for factor in SIZES]
        else:
            sizes = [scaled(own, (factor, factor)) for factor in (1, 2, 4)]
            sizes += [in_proportion(scaled(own, (2, 2)), canvas) for canvas in list(PROPORTIONS.values())[1:]]
        self.sizes = [size for size in dict.fromkeys(sizes) if max(size) <= LARGEST_PICTURE]
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="r2id-")
            folder = Path(self._temporary.name)
        self.folder = folder
        """Folder of all visitors' files, each in its own subfolder."""

    def generate(
        self,
        labels: Sequence[str],
        latent_size: Size,
        size: Size,
        num_inference_steps: int,
        guidance_scale: float,
        seed: int,
        proportions: Sequence[Canvas] = (),
        times_as_wide: int = 1,
    ) -> Iterator[list[Image.Image] | Session]:
        """Yield the small decoded pictures of every step, and at the end the session.

        Args:
            labels: a label or text for each picture.
            latent_size, size, num_inference_steps, guidance_scale: as for the pipeline.
            seed: of the first picture; the others have the next ones.
            proportions: of canvases that are sampled jointly, each with the area of `size`.
            times_as_wide: above 1, the picture is a panorama of so many times the width.
        """
        if not labels:
            raise InputError(
                "no label is chosen; choose at least one" if self.labels else "there is no prompt; write one"
            )
        check_within(latent_size, LARGEST_LATENT, "the latent size")
        check_within(size, LARGEST_PICTURE, "the picture size")
        sizes = [in_area(size, one) for one in proportions] or [(size[0], times_as_wide * size[1])]
        if len(labels) * len(sizes) > MOST_PICTURES:
            raise InputError(
                f"{len(labels) * len(sizes)} pictures are asked for; the page makes at most {MOST_PICTURES} at once"
            )
        check_sampling(num_inference_steps, guidance_scale, seed)
        for one in sizes:
            check_decoded(one, len(labels) * len(sizes))
        square = (round((latent_size[0] * latent_size[1]) ** 0.5),) * 2
        run: Callable[..., Any] = self.pipeline
        how: dict[str, Any]
        if proportions:
            how = {"latent_size": square, "size": sizes, "joint": True}
        elif times_as_wide > 1:
            run, how = self.pipeline.panorama, {"latent_size": square, "size": sizes[0], "output_type": "pt"}
        else:
            how = {"latent_size": latent_size, "size": size}
        trained = self.pipeline.diffuser.config.canvas
        canvases = [tuple(trained)] if trained and not proportions and times_as_wide == 1 else sizes

        def preview(latents: Any) -> list[Image.Image]:
            each = latents if proportions else [latents]
            return by_label([self.preview(one, canvas) for one, canvas in zip(each, canvases, strict=True)])

        def sample(after_step: Any) -> list[Tensor]:
            with self.quickly():
                latents = run(
                    list(labels),
                    **{"output_type": "latent"} | how,
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                    generator=[torch.Generator().manual_seed(seed + index) for index in range(len(labels))],
                    callback_on_step_end=after_step,
                ).latents
                return [plain(one).float() for one in (latents if proportions else [latents])]

        every = yield from watched(sample, preview, LONGEST, "ask for fewer pictures, latents or steps")
        each = zip(every, canvases, sizes, strict=True)
        sessions = [Session(latents, tuple(labels), canvas, one) for latents, canvas, one in each]
        yield replace(sessions[0], others=tuple(sessions[1:]))

    def remarks(self, labels: Sequence[str]) -> list[str]:
        """Return a sentence for each thing that the model does not read in these texts."""
        return [] if self.labels or self.pipeline.text_encoder else self.pipeline.conditioner.remarks(labels)

    def enlarged(self, picture: Image.Image) -> Image.Image:
        """Return a small picture as large as the page shows it."""
        height, width = _shown((picture.height, picture.width))
        return picture.resize((width, height), Image.Resampling.BICUBIC)

    def preview(self, latents: Tensor, canvas: Canvas) -> list[Image.Image]:
        """Return small pictures of standardised latents while they are sampled."""
        size = fitted(canvas, self.preview_side)
        return self.pipeline.decode(self.resampler.destandardise(latents.float()), size, canvas)

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
        """Decode all pictures of a session at its sizes."""
        for one in session.canvases:
            check_decoded(one.size, session.count)
        began = time.monotonic()
        with self.quickly():
            return by_label([self._decoded(one, began) for one in session.canvases])

    def _decoded(self, session: Session, began: float) -> list[Image.Image]:
        """Decode the pictures of one canvas, in bands of rows, until LONGEST after `began`."""
        height, width = session.size
        rows, pictures = max(1, BAND // width), []
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
        one = session.picked_one
        whole, region = rendered(one)
        with self.quickly():
            return as_output(self.resampler.field(one.latents, one.canvas).render(whole, region), "pil")[0]

    def thumbnail(self, session: Session) -> Image.Image:
        """Return the first picture of a session, small."""
        first = replace(session, picked=0).picked_one
        return self.pictures(first.resized(fitted(first.size, THUMBNAIL)))[0]

    def splats(self, session: Session) -> Splats | None:
        """Return the splats of the picked picture, or None if the model has none."""
        one = session.picked_one
        return self.resampler.splats(one.latents, one.canvas) if self.resampler.has_splats else None

    def overview(self, session: Session, pictures: Sequence[Image.Image]) -> Image.Image:
        """Return the whole picked picture as large as the page shows it, from `pictures` if they are large enough."""
        size = session.picked_one.size
        height, width = _shown(size)
        if max(size) < max(height, width):
            return self.look(replace(session, view=WHOLE))
        return pictures[session.picked].resize((width, height), Image.Resampling.LANCZOS)

    def picture(self, session: Session) -> Image.Image:
        """Return the whole picked picture at its size, decoded in float32."""
        one = session.picked_one
        return self.pipeline.decode(one.latents, one.size, one.canvas)[0]

    def channels(self, session: Session) -> Image.Image:
        """Return the picked latent, channel by channel."""
        latent = session.picked_one.latents[0][:, None]
        return enlarged(contact_sheet(as_output(latent, "pil"), columns=16))

    def files(self, session: Session) -> list[Path]:
        """Write the picked picture as PNG, decoded in float32, all latents of its canvas, and the picture's splats if
        the model has them; return their paths."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self._keep_newest()
        one, canvas = session.picked_one, session.canvases[session.picked % len(session.canvases)]
        name = f"r2id-{file_name(one.labels[0])}" if one.labels else "r2id"
        paths = [folder / f"{name}-{size_text(one.size)}.png", folder / f"latents{SUFFIX}"]
        self.picture(session).save(paths[0])
        latents = Latents(canvas.latents, canvas.canvas, canvas.labels, self.resampler.checksum(), canvas.size)
        latents.save(paths[1])
        if splats := self.splats(session):
            paths += [folder / f"{name}{suffix}" for suffix in (".svg", ".ply", ".npz")]
            for path in paths[2:]:
                write_splats(path, splats)
        return paths

    @contextmanager
    def quickly(self) -> Iterator[None]:
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


def check_sampling(num_inference_steps: int, guidance_scale: float, seed: int) -> None:
    """Raise InputError for settings of sampling beyond the page's limits."""
    check_number("the number of steps", num_inference_steps, 1, MOST_STEPS)
    check_number("guidance", guidance_scale, 1, 20)
    check_number("the seed", seed, 0, 2**31)


def by_label(canvases: Sequence[Sequence[Image.Image]]) -> list[Image.Image]:
    """Return the pictures of all canvases, ordered as in a `Session`."""
    return [picture for one in zip(*canvases, strict=True) for picture in one]


def fitted(size: Sequence[float], longest: int) -> Size:
    """Return a size in the proportions of `size` whose longer side is `longest`."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def rendered(session: Session) -> tuple[Size, Region]:
    """Return the size of the whole picked picture, and its visible region in pixels, as large as the page shows it."""
    one = session.picked_one
    top, left, bottom, right = one.view
    shown = _shown(((bottom - top) * one.size[0], (right - left) * one.size[1]))
    whole = max(1, round(shown[0] / (bottom - top))), max(1, round(shown[1] / (right - left)))
    first = min(round(top * whole[0]), whole[0] - 1), min(round(left * whole[1]), whole[1] - 1)
    last = max(round(bottom * whole[0]), first[0] + 1), max(round(right * whole[1]), first[1] + 1)
    return whole, (*first, *last)


def _shown(size: Sequence[float]) -> Size:
    """Return the size of the large view of a picture; one much longer than high is wider."""
    return fitted(size, round(SHOWN * min(max(1, max(size) / min(size) / 2.5), 2)))
