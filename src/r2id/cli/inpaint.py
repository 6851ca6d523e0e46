"""`r2id inpaint` and `outpaint`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from r2id.cli.models import RequestedSampling, check_label, chosen_model, load_pipeline
from r2id.cli.parsing import check_seed
from r2id.errors import InputError
from r2id.geometry.sizes import Size, size_text

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Given(RequestedSampling):
    """A picture that is given, and how it is continued."""

    image: tyro.conf.Positional[Path]
    """The picture. Its known pixels stay exactly, in sRGB of 8 bits."""
    output: Path | None = None
    """File to write; by default beside the picture, as .png, with the command in its name."""
    label: Annotated[str | None, tyro.conf.arg(aliases=["--class"])] = None
    """What the whole picture shows; without it and --prompt, whatever the known part suggests."""
    prompt: str | None = None
    """The same, for a model that was trained on captions."""
    latent_size: Size | None = None
    """Height and width of the latents; by default as many as the model's own, in the picture's proportions."""
    seed: int = 0
    """Another seed gives another picture."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""


@dataclass(frozen=True, kw_only=True)
class Inpaint(Given):
    """Paint the white part of a mask anew, so that it continues the rest of a picture."""

    mask: Path
    """Picture of the same size: white is painted anew, black stays."""


@dataclass(frozen=True, kw_only=True)
class Outpaint(Given):
    """Continue a picture beyond its edges."""

    left: int = 0
    """Pixels to add on the left."""
    right: int = 0
    """Pixels to add on the right."""
    top: int = 0
    """Pixels to add above."""
    bottom: int = 0
    """Pixels to add below."""


def inpaint(config: tyro.conf.OmitArgPrefixes[Inpaint]) -> None:
    """Paint the white part of a mask anew, so that it continues the rest of a picture."""
    from r2id.files.images import open_picture

    output = _output(config, "inpainted")
    mask = open_picture(config.mask, 0)
    _continue(config, output, lambda pipeline, image, **how: pipeline.inpaint(image, mask, **how))


def outpaint(config: tyro.conf.OmitArgPrefixes[Outpaint]) -> None:
    """Continue a picture beyond its edges."""
    added = {side: getattr(config, side) for side in ("left", "right", "top", "bottom")}
    output = _output(config, "outpainted")
    _continue(config, output, lambda pipeline, image, **how: pipeline.outpaint(image, **added, **how))


def _output(config: Given, done: str) -> Path:
    """Return the file to write. Raises InputError for one that cannot be, or that is the picture itself."""
    from r2id.files.atomic import check_writable
    from r2id.files.images import check_image_suffix

    output = config.output or config.image.with_name(f"{config.image.stem}-{done}.png")
    check_image_suffix(output)
    if output.resolve() == config.image.resolve():
        raise InputError(f"output {output} is the picture that is given; give another --output")
    check_writable(output)
    return output


def _continue(config: Given, output: Path, paint: Callable[..., Any]) -> None:
    import torch

    from r2id.diffusion.defaults import sampling_options
    from r2id.files.images import open_picture, save_image
    from r2id.runtime.precision import autocast

    if config.label is not None and config.prompt is not None:
        raise InputError("--label, or --class, and --prompt are both given; give the one that the model was trained on")
    check_seed(config.seed)
    image = open_picture(config.image, config.background)
    prompts = () if config.prompt is None else (config.prompt,)
    model = chosen_model(config.model, config.label, prompts, image)
    check_label(model, config.label)
    pipeline = load_pipeline(model, config.device, config.precision)
    given = {name: value for name, value in sampling_options(config).items() if value is not None}
    if config.prompt is not None:
        given["prompt"] = config.prompt
    with torch.inference_mode(), autocast(config.precision, pipeline.device):
        picture: Image.Image = paint(
            pipeline,
            image,
            class_labels=[config.label] if config.label is not None else None,
            latent_size=config.latent_size,
            generator=torch.Generator().manual_seed(config.seed),
            **given,
        ).images[0]
    save_image(picture, output)
    print(f"{output}: {size_text((picture.height, picture.width))}")
