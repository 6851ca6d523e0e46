"""Many pictures through R2IR: decoded in batches that fit, and encoded as the samples that R2ID learns from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from r2id.geometry.canvas import canvas_of, plain
from r2id.geometry.coordinates import Grid
from r2id.geometry.sizes import Size
from r2id.networks.resampler import R2IR


def decode_some_at_once(resampler: R2IR, latents: Tensor, size: Size, canvas: tuple[float, float]) -> Iterator[Tensor]:
    """Yield pictures [B, C, H, W] in [−1, 1]: small ones in batches, large ones and those of dense latents one by one.
    Only pictures that the caller keeps stay in memory."""
    together = max(1, 2**16 // max(size[0] * size[1], 16 * latents.shape[-2] * latents.shape[-1]))
    for some in latents.split(together):
        yield resampler.decode(some, size, canvas)


@torch.no_grad()
def clean_samples(resampler: R2IR | None, images: Tensor, size: Size | Grid) -> Tensor:
    """Return the clean samples of images [B, C, H, W] for diffusion.

    They are standardised latents of `size` or on that grid; without a resampler, the images at that size. Latents that
    come with their canvas are encoded already.
    """
    if resampler and canvas_of(images):
        return resampler.standardise(plain(images))
    if resampler:
        return resampler.standardise(resampler.encode(images, size).float())
    lengths = size.size if isinstance(size, Grid) else size
    if lengths == tuple(images.shape[-2:]):
        return images
    return nn.functional.interpolate(images, lengths, mode="bicubic", antialias=True)
