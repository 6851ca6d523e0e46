"""Checks of the arguments of a pipeline's call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from r2id.diffusion.noise_field import finest_grid
from r2id.errors import InputError
from r2id.files.images import as_values, flatten, has_colour, in_channels, pixels
from r2id.files.label_names import labels_like
from r2id.geometry.canvas import Canvas
from r2id.geometry.sizes import Size, check_size, listed, size_text
from r2id.networks.diffuser import R2ID
from r2id.runtime.memory import check_fits_in_memory


def check_known(unknown: Mapping[str, Any], call: Callable[..., Any]) -> None:
    """Raise InputError for arguments that a call does not have; `height` and `width` of other pipelines are a size."""
    sides = [name for name in ("height", "width") if name in unknown]
    if sides:
        verb = "are" if len(sides) == 2 else "is"
        raise InputError(f"{' and '.join(sides)} {verb} given; this pipeline takes size=(height, width)")
    if unknown:
        known = [name for name, one in inspect.signature(call).parameters.items() if one.kind != one.VAR_KEYWORD]
        raise InputError(f"a call has no argument {next(iter(unknown))!r}; its arguments are {', '.join(known)}")


def sizes_of(size: Any) -> tuple[list[Size], bool]:
    """Return the sizes of the pictures, none for None, and whether a list of them was given."""
    size = listed(size)
    if size is None:
        return [], False
    if not isinstance(size, (list, tuple)):
        raise InputError(f"size is {size!r}; it must be (height, width) or a list of such pairs")
    is_pair = len(size) > 0 and all(isinstance(side, Real) for side in size)
    return [check_size(one) for one in ([size] if is_pair else size)], not is_pair


def labels_of(class_labels: Any, prompt: str | Sequence[str] | None, known: Sequence[str]) -> Sequence[str | int]:
    """Return a label or text for each picture; `known` are the model's labels, none for a model of texts."""
    class_labels = listed(class_labels)
    if prompt is not None:
        if class_labels is not None:
            raise InputError("class_labels and prompt are both given; they are two names of the same, give one")
        class_labels = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(class_labels, str) and not known:
        class_labels = [class_labels]
    if isinstance(class_labels, (str, int)):
        raise InputError(f"class_labels is {class_labels!r}; it must be a list of labels, one for each picture")
    if not class_labels:
        if not known:
            raise InputError("no prompt given; this model shows what a text says")
        raise InputError(f"no class_labels given; this model knows {labels_like('', known)}")
    return class_labels


def check_each(
    count: int, channels: int, generator: torch.Generator | Sequence[torch.Generator] | None, latents: Tensor | None
) -> None:
    """Raise InputError unless a list of generators, or latents [B, C, h, w] of these channels, fit `count` labels."""
    if isinstance(generator, (list, tuple)) and len(generator) != count:
        raise InputError(
            f"generator is a list of {len(generator)} and class_labels of {count}; "
            "give one generator for all, or a list with one for each label"
        )
    if latents is not None and latents.shape[:2] != (count, channels):
        raise InputError(
            f"latents of shape {tuple(latents.shape)} do not fit {count} labels; "
            f"the shape must be ({count}, {channels}, height, width)"
        )


def check_joint(sizes: Sequence[Size], several: bool, latents: Tensor | None, canvas: Canvas | None) -> None:
    """Raise InputError if a joint sample is given no list of sizes, or what belongs to one canvas."""
    if not (several and sizes):
        raise InputError("joint is on and size is no list of sizes; give one (height, width) for each canvas")
    for name, given in (("latents", latents), ("canvas", canvas)):
        if given is not None:
            raise InputError(f"joint is on and {name} is given, which belongs to one canvas; leave it out")


def check_memory(
    diffuser: R2ID,
    count: int,
    latent_sizes: Sequence[Size],
    sizes: Sequence[Size],
    canvases: Sequence[Canvas],
    image_channels: int,
    *,
    draws_noise: bool,
) -> None:
    """Raise InputError if `count` pictures of every size, their noise or the diffuser's features exceed the memory.

    Latents may follow from the pictures, so the error names both; `canvases` are those of latents without pictures.
    """
    check_fits_in_memory(sizes, count, image_channels)
    asked, latents = (", ".join(map(size_text, some)) for some in (sizes or canvases, latent_sizes))
    what = f"{count} times {asked}, with {latents} latents,"
    # Features of a sample in a block, four times as many in the feed-forward.
    check_fits_in_memory(latent_sizes, count, 4 * diffuser.config.dim, what)
    if draws_noise:
        # The field on its finest grid, and the parts that compose it.
        check_fits_in_memory([finest_grid(one) for one in latent_sizes], count, 2 * diffuser.config.channels, what)


def check_callback_tensors(names: Collection[str], known: Sequence[str]) -> None:
    """Raise InputError for a name of a tensor that callbacks do not get."""
    if not set(names) <= set(known):
        raise InputError(f"callback_on_step_end_tensor_inputs is {list(names)}; there are only {known}")


def given_picture(image: Any, channels: int) -> Tensor:
    """Return a PIL image, or a tensor [1, C, H, W] in [−1, 1], as such a tensor of these channels.

    Raises InputError for anything else, and for colour where channels is 1.
    """
    if isinstance(image, Image.Image):
        picture = flatten(image, 0, "the image")
        if channels == 1 and has_colour(picture):
            raise InputError(
                "the image has colour, which the grey pictures of this model lose; "
                "make it grey, or take a model of colour pictures such as flowers"
            )
        return as_values(torch.from_numpy(pixels(in_channels(picture, channels)))[None])
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[:2] != (1, channels):
        what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"image is {what}; it must be a PIL image or a tensor [1, {channels}, height, width]")
    return image.float()


def given_mask(mask: Any, size: Size) -> Tensor:
    """Return a mask [1, 1, H, W] that is 1 where a PIL image, or a tensor [H, W] from 0 to 1, is half white or more."""
    if isinstance(mask, Image.Image):
        mask = torch.from_numpy(pixels(in_channels(flatten(mask, 0, "the mask"), 1)))[0] / 255
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        what = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"mask is {what}; it must be a PIL image or a tensor [height, width]")
    if tuple(mask.shape) != size:
        raise InputError(
            f"mask is {size_text((mask.shape[0], mask.shape[1]))} and the image {size_text(size)}; both must be alike"
        )
    white = (mask.float() >= 0.5).float()[None, None]
    if len(white.unique()) == 1:
        colour = "white everywhere; black keeps" if white.all() else "black everywhere; white gives"
        raise InputError(f"mask is {colour} a part of the image, and one is needed")
    return white
