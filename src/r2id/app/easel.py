"""Operations of the web page on a given picture, outpainting and inpainting; independent of the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageChops
from torch import Tensor

from r2id.app.studio import LARGEST_PICTURE, LONGEST, Studio, check_sampling, check_upload, check_within, fitted
from r2id.app.watching import watched
from r2id.diffusion.canvases import MOST_GROWTH, check_growth
from r2id.errors import InputError
from r2id.files.images import flatten, in_channels, open_picture
from r2id.geometry.sizes import Size

LARGEST_GIVEN = 768
"""Pixels along the longer side of a given picture; a larger one is made smaller."""
MOST_BEFORE = 10
"""Most earlier pictures to return to."""
PAINTED = 128
"""Least opacity of a painted pixel, of 255."""
UNKNOWN = "grey"
"""Colour of an unknown part before it is sampled."""
SIDES = ("left", "right", "top", "bottom")

Change = dict[str, int] | Image.Image
"""Pixels to add on each of SIDES, or a mask that is white where the picture is painted anew."""


@dataclass(frozen=True)
class Painting:
    """State of one visitor: the picture, its name, earlier ones, and the change that made it of the last of these."""

    picture: Image.Image
    name: str
    before: tuple[Image.Image, ...] = ()
    change: Change | None = None

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.picture.height, self.picture.width


class Easel:
    """Operations of the page on a given picture. They raise InputError for requests beyond the page's limits."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.pipeline = studio, studio.pipeline

    def open(self, path: str | None) -> Painting:
        """Read an upload, upright, on white, and at most LARGEST_GIVEN on a side."""
        if not path:
            raise InputError("no picture is chosen; drop one first")
        name = Path(path).name
        try:
            check_upload(path)
            picture = open_picture(Path(path), background=255)
        except InputError as error:
            # Visitors know their file, not this folder.
            raise InputError(str(error).replace(path, name)) from error
        return self.of(picture, Path(name).stem)

    def of(self, picture: Image.Image, name: str) -> Painting:
        """Return a painting of a picture, in the model's channels."""
        if max(picture.size) > LARGEST_GIVEN:
            height, width = fitted((picture.height, picture.width), LARGEST_GIVEN)
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        picture = flatten(picture, 255, name)
        return Painting(in_channels(picture, self.pipeline.image_channels), name)

    def largest(self, painting: Painting) -> Size:
        """Return height and width up to which a picture can grow."""
        return tuple(min(MOST_GROWTH * side, LARGEST_PICTURE) for side in painting.size)  # type: ignore[return-value]

    def paint(
        self,
        painting: Painting,
        change: Change,
        label: str | None,
        num_inference_steps: int,
        guidance_scale: float,
        seed: int,
    ) -> Iterator[Image.Image | Painting]:
        """Yield the known part, small, then a small picture for every step, and at the end the changed painting.

        Args:
            painting: what is changed.
            change: pixels to add, or a mask.
            label: label or text of the whole picture; none lets the known part decide.
            num_inference_steps, guidance_scale, seed: as for `Studio.generate`.
        """
        check_sampling(num_inference_steps, guidance_scale, seed)
        picture = painting.picture
        ground, known = _known(painting, change)
        size = ground.height, ground.width
        check_within(size, LARGEST_PICTURE, "the picture size")
        trained = self.pipeline.diffuser.config.canvas
        # An outpainted picture has its own canvas, and an inpainted one that of the model.
        canvas = size if isinstance(change, dict) or not trained else tuple(trained)
        small = fitted(size, self.studio.preview_side)[::-1]
        small_ground, small_known = ground.resize(small, Image.Resampling.BOX), known.resize(small)

        yield Image.composite(small_ground, Image.new(ground.mode, small, UNKNOWN), small_known)

        def preview(latents: Tensor) -> Image.Image:
            made = self.studio.preview(latents, canvas)[0].resize(small)
            return Image.composite(small_ground, made, small_known)

        def sample(after_step: Any) -> Image.Image:
            how: dict[str, Any] = {
                "num_inference_steps": num_inference_steps,
                "generator": torch.Generator().manual_seed(seed),
                "callback_on_step_end": after_step,
            }
            if label:
                how |= {"class_labels": [label], "guidance_scale": guidance_scale}
            with self.studio.quickly():
                if isinstance(change, dict):
                    return self.pipeline.outpaint(picture, **how | change).images[0]
                return self.pipeline.inpaint(picture, change, **how).images[0]

        changed = yield from watched(sample, preview, LONGEST, "take a smaller picture or fewer steps")
        before = (*painting.before, picture)[-MOST_BEFORE:]
        yield Painting(changed, painting.name, before, change)

    def again(self, painting: Painting) -> tuple[Painting, Change]:
        """Return the painting before its last change, and that change."""
        if not painting.before or painting.change is None:
            raise InputError("nothing is painted yet; drag an edge or paint over a part first")
        return Painting(painting.before[-1], painting.name, painting.before[:-1]), painting.change

    def undone(self, painting: Painting) -> Painting:
        """Return the painting before its last change."""
        if not painting.before:
            raise InputError("there is no earlier picture")
        return Painting(painting.before[-1], painting.name, painting.before[:-1])


def painted_part(address: Any, size: Size) -> Image.Image:
    """Return a mask, white where the PNG of a data URL is opaque.

    Raises InputError for anything but a PNG with opacity and of `size`, and for one on which nothing is painted.
    """
    try:
        head, _, code = address.partition(",")
        if head != "data:image/png;base64":
            raise ValueError
        with Image.open(io.BytesIO(base64.b64decode(code, validate=True)), formats=("PNG",)) as drawn:
            if (drawn.height, drawn.width) != size:
                raise InputError("the mask is of another picture; paint it again")
            opacity = drawn.convert("RGBA").getchannel("A")
    except InputError:
        raise
    except Exception as error:
        raise InputError("the mask cannot be read; paint it again") from error
    mask = opacity.point(lambda level: 255 * (level >= PAINTED))
    darkest, lightest = mask.getextrema()
    if darkest == lightest:
        how = (
            "everything is painted over; leave a part that" if lightest else "nothing is painted over; paint over what"
        )
        raise InputError(f"{how} {'stays' if lightest else 'is to change'}")
    return mask


def added_pixels(sides: Any) -> dict[str, int]:
    """Return the pixels to add on each of SIDES, of which missing ones are 0. Raises InputError unless all are whole
    numbers."""
    try:
        added = {side: float(sides.get(side) or 0) for side in SIDES}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("the pixels to add are no numbers; give a whole number for each side") from error
    for side, count in added.items():
        if not 0 <= count <= LARGEST_PICTURE or count % 1:
            raise InputError(f"{side} is {count:g}; it must be a whole number from 0 to {LARGEST_PICTURE}")
    return {side: int(count) for side, count in added.items()}


def _known(painting: Painting, change: Change) -> tuple[Image.Image, Image.Image]:
    """Return the picture on its new canvas, and what is known of it in white."""
    picture = painting.picture
    if not isinstance(change, dict):
        return picture, ImageChops.invert(change)
    height, width = painting.size
    size = height + change["top"] + change["bottom"], width + change["left"] + change["right"]
    check_growth(change, painting.size)
    place = change["left"], change["top"]
    ground, known = Image.new(picture.mode, size[::-1]), Image.new("L", size[::-1])
    ground.paste(picture, place)
    known.paste(255, (*place, place[0] + width, place[1] + height))
    return ground, known
