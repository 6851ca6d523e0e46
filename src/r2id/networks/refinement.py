"""Refinement of a latent: gradient steps bring its picture closer to an image than one pass of the encoder does."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.canvas import LatentTensor, canvas_of, plain
from r2id.geometry.sizes import first_given
from r2id.networks.resampler import R2IR

EDGE = 0.995
"""Most that a bounded latent is when the steps begin; at 1 it could not move."""
NEARNESS = 1e-3
"""Weight of the mean squared distance to the latent at the beginning, in its standard deviations. The image does not
tell what lies between its pixels; there the encoder knows more than the steps do."""


def refine(
    resampler: R2IR,
    latent: Tensor,
    image: Tensor,
    steps: int = 100,
    learning_rate: float = 0.03,
    canvas: tuple[float, float] | None = None,
    progress: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Return a latent whose picture is closer to an image, by steps of Adam on the squared error.

    A small penalty keeps it near to where it began.

    Args:
        resampler: the R2IR of the latent, whose weights stay as they are.
        latent: [B, latent_channels, h, w], such as `encode` gives.
        image: [B, C, H, W] in [−1, 1].
        steps: gradient steps.
        learning_rate: of the values before their tanh, or of a pyramid's own; it falls to 0 along a cosine.
        canvas: as for `R2IR.decode`.
        progress: receives the number of each step that is done.
    Raises:
        InputError: for fewer than 0 steps, or shapes that are not those of the model.
    """
    if steps < 0:
        raise InputError(f"steps is {steps}; it must be at least 0")
    if not steps:
        return latent
    resampler.check_channels(image, resampler.config.image_channels, "an image")
    resampler.check_channels(latent, resampler.config.latent_channels, "a latent")
    size = (image.shape[-2], image.shape[-1])
    canvas = first_given(canvas, canvas_of(latent), size)
    bounded = not resampler.is_pyramid
    with torch.inference_mode(False), torch.enable_grad():
        image = image.clone()
        start = plain(latent).detach().clone()
        free = (start.clamp(-EDGE, EDGE).atanh() if bounded else start).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=learning_rate, betas=(0.9, 0.99))
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
            values = free.tanh() if bounded else free
            # Each picture has steps of its own, whatever the batch.
            error = (resampler.decode(values, size, canvas) - image).square().mean((1, 2, 3)).sum()
            moved = ((values - start) / resampler.latent_std[:, None, None]).square().mean((1, 2, 3)).sum()
            (free.grad,) = torch.autograd.grad(error + NEARNESS * moved, free)
            optimizer.step()
            progress(step + 1)
        values, own = (free.tanh() if bounded else free).detach(), canvas_of(latent)
        return values if own is None else LatentTensor.of(values, own)
