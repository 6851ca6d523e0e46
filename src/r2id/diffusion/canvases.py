"""Canvases beyond those of training: given pictures that are continued, and panoramas, as methods of a pipeline
(design §5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from r2id.diffusion.arguments import given_mask, given_picture, labels_of
from r2id.diffusion.inpainting import KnownPicture
from r2id.diffusion.parts import Parts
from r2id.diffusion.stages import stages_of, windows_of
from r2id.diffusion.windows import SAMPLES_TOGETHER, Windows
from r2id.errors import InputError
from r2id.files.images import as_output, check_output_type
from r2id.geometry.canvas import Canvas, check_canvas, plain
from r2id.geometry.sizes import Size, check_size, first_given, in_proportion, listed, scaled, size_text
from r2id.runtime.memory import check_bytes_fit, check_fits_in_memory

PIXELS_BESIDE = 8
"""Pixels of a given picture along a side of a cell. With 11, photographs that a pyramid encodes and decodes are less
sharp than the given ones, which shows as a seam; with 8 they are not."""
MOST_BESIDE = 96**2
"""Latents that continue a given picture, at most, as time is in proportion to them."""
MOST_GROWTH = 4
"""Times the side of a picture that outpainting makes it at most. Beyond, hardly any of the latents are known."""


class Canvases(Parts):
    """Methods of `R2Pipeline` for given pictures and for panoramas."""

    __call__: Callable[..., Any]

    @torch.no_grad()
    def inpaint(
        self,
        image: Image.Image | Tensor,
        mask: Image.Image | Tensor,
        class_labels: Sequence[str | int] | None = None,
        output_type: str = "pil",
        **arguments: Any,
    ) -> Any:
        """Paint the white part of a mask anew, one picture for each label or text; all other pixels stay exactly.

        Args:
            image: PIL image, or [1, C, H, W] in [−1, 1].
            mask: of the size of the image; white (1) is painted anew, black (0) stays, as in diffusers. PIL image, or a
                tensor [H, W] from 0 to 1.
            class_labels: as for a call; without any, and without `prompt`, one picture that follows the image alone.
            output_type: "pil", "np" or "pt".
            arguments: others of a call, such as `generator`, `prompt` and `latent_size`.
        Returns:
            `R2PipelineOutput`.
        Raises:
            InputError: for a mask of another size, or all of one colour, and as for a call.
        """
        picture = given_picture(image, self.image_channels)
        unknown = given_mask(mask, (picture.shape[-2], picture.shape[-1]))
        return self._continued(picture, 1 - unknown, class_labels, output_type, arguments)

    @torch.no_grad()
    def outpaint(
        self,
        image: Image.Image | Tensor,
        class_labels: Sequence[str | int] | None = None,
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        output_type: str = "pil",
        **arguments: Any,
    ) -> Any:
        """Continue an image beyond its edges, one picture for each label or text; its own pixels stay exactly.

        The image keeps its place on the larger canvas.

        Args:
            image, class_labels, output_type, arguments: as for `inpaint`.
            left, right, top, bottom: pixels to add, at least 0, and 1 in all.
        Returns:
            `R2PipelineOutput`.
        Raises:
            InputError: for no pixels to add, or more than three times the side of the image, and as for a call.
        """
        picture = given_picture(image, self.image_channels)
        height, width = picture.shape[-2:]
        edges = check_growth({"left": left, "right": right, "top": top, "bottom": bottom}, (height, width))
        left, right, top, bottom = edges
        size = height + top + bottom, width + left + right
        check_fits_in_memory([size], 1, picture.shape[1])
        known = functional.pad(torch.ones(1, 1, height, width), edges)
        return self._continued(
            functional.pad(picture, edges), known, class_labels, output_type, {"canvas": size} | arguments
        )

    @torch.no_grad()
    def panorama(
        self,
        class_labels: Sequence[str | int] | None = None,
        size: Size | None = None,
        latent_size: Size | None = None,
        output_type: str = "pil",
        **arguments: Any,
    ) -> Any:
        """Generate pictures many times wider or higher than those of training, one for each label or text.

        The canvas is predicted in overlapping windows with the proportions of training, which are blended at each step
        (Bar-Tal et al. 2023, arXiv:2302.08113). One window spans the shorter side. Time and memory are linear in the
        size.

        Args:
            class_labels: as for a call; all windows of a picture show it.
            size: height and width of the pictures.
            latent_size: height and width of the latents of a window, by default the model's own.
            output_type: "pil", "np" or "pt".
            arguments: others of a call, such as `generator` and `prompt`.
        Returns:
            `R2PipelineOutput`.
        Raises:
            InputError: for no size or one that memory does not hold, and as for a call.
        """
        check_output_type(output_type)
        if size is None:
            raise InputError("no size is given; a panorama needs its height and width")
        windows = self.panorama_windows(size := check_size(size), latent_size)
        count = len(labels_of(class_labels, arguments.get("prompt"), self.conditioner.label_names))
        check_fits_in_memory([size, size], count, self.image_channels)
        arguments |= {"canvas": size, "latent_size": windows.grid, "windows": windows, "output_type": "latent"}
        result = self(class_labels, **arguments)
        if self.resampler:
            latents = plain(result.latents).to(self.resampler.dtype)
            result.images = as_output(windows.decode(self.resampler, latents, size), output_type)
        else:
            result.images = self.decode(result.latents, size, output_type=output_type)
        return result

    def panorama_windows(self, size: Size, latent_size: Size | None = None) -> Windows:
        """Return the windows in which `panorama` predicts a canvas. Arguments are the same."""
        defaults = self.generation_defaults
        trained = check_canvas(first_given(self.diffuser.config.canvas, defaults.size))
        window = check_size(first_given(latent_size, defaults.latent_size), "the latent size")
        return Windows.over(size, trained, window)

    def _continued(
        self, picture: Tensor, known: Tensor, labels: Any, output_type: str, arguments: dict[str, Any]
    ) -> Any:
        """Return the output of a call whose pictures have the known pixels."""
        check_output_type(output_type)
        size = picture.shape[-2], picture.shape[-1]
        if labels is None and arguments.get("prompt") is None:
            labels, arguments = [None], {"guidance_scale": 1.0} | arguments
        canvas = check_canvas(first_given(arguments.get("canvas"), self.diffuser.config.canvas, size))
        latent_size = first_given(arguments.get("latent_size"), self.latents_beside(size, canvas))
        latent_size = check_size(latent_size, "the latent size")
        # Gradients need some 30 features of each sample in each block, in float32.
        config = self.diffuser.config
        features = 30 * config.dim * (config.encoder_blocks + 2 * config.decoder_blocks)
        at_once = math.prod(latent_size)
        if windows_of([latent_size], self.generation_defaults.most_latents):
            at_once = min(at_once, SAMPLES_TOGETHER)
        check_bytes_fit(4 * features * at_once, f"{size_text(latent_size)} latents with gradients")
        if next(self.diffuser.parameters()).is_inference():
            raise InputError(
                "the model was loaded in torch.inference_mode, which leaves no gradients; load it outside of it"
            )
        device = self._execution_device
        arguments |= {"canvas": canvas, "latent_size": latent_size, "output_type": "latent"}
        # Tensors that are made in inference mode never have the gradients that guide the unknown part.
        with torch.inference_mode(False), torch.no_grad():
            # The grid of the first stage.
            ((grid,), *_) = stages_of([latent_size], self.generation_defaults.most_latents)
            known_picture = KnownPicture(self.resampler, picture.to(device), known.to(device), grid, canvas)
            result = self(labels, known=known_picture, **arguments)
            pictures = self.decode(result.latents, size, canvas, "pt")
            result.images = as_output(known_picture.completed(pictures.float()), output_type)
        return result

    def latents_beside(self, size: Size, canvas: Canvas) -> Size:
        """Return the latent size (h, w) that continues a given picture of `size` (H, W) on a canvas.

        Cells of a pyramid have PIXELS_BESIDE, or more where these would be more than MOST_BESIDE. Those of another
        model of a single canvas are as large as there.
        """
        defaults = self.defaults_on(canvas)
        usual = in_proportion(defaults.latent_size, canvas) if self.diffuser.config.canvas else defaults.latent_size
        if self.resampler is None or not self.resampler.is_pyramid:
            return usual
        pixels = max(PIXELS_BESIDE, math.sqrt(math.prod(size) / MOST_BESIDE))
        dense = scaled(size, (1 / pixels, 1 / pixels))
        return max(usual, dense, key=math.prod)


def check_growth(added: dict[str, Any], size: Size) -> tuple[int, ...]:
    """Return the pixels to add to a picture of `size`. Raises InputError unless some are added, to at most MOST_GROWTH
    times a side."""
    added = {name: listed(count) for name, count in added.items()}
    for name, count in added.items():
        if not isinstance(count, Real) or count < 0 or count % 1 != 0:
            raise InputError(f"{name} is {count!r}; it must be a whole number of pixels, at least 0")
    if not any(added.values()):
        raise InputError(f"{', '.join(added)} are all 0; give the pixels to add on at least one side")
    for ends, old in zip((("top", "bottom"), ("left", "right")), size, strict=True):
        if (new := old + sum(added[name] for name in ends)) > MOST_GROWTH * old:
            given = " and ".join(f"{name} {added[name]}" for name in ends if added[name])
            raise InputError(
                f"{given} would make a side of {old} pixels {new}; it may grow to at most {MOST_GROWTH * old}"
            )
    return tuple(map(int, added.values()))
