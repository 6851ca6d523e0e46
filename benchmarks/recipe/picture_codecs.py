"""Two ways from pictures to the samples that R2ID denoises: patches of pixels, and latents of the model `pictures`."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from r2id import R2IR
from r2id.data.dataset import ImageDataset
from r2id.geometry.canvas import plain
from r2id.training.latent_statistics import COARSENESS, PIXELS, adapt_to

AT_ONCE = 32


class Codec(Protocol):
    """Samples [N, C, h, w] of about unit variance, from pictures [N, 3, H, W] in [−1, 1] and back."""

    def encode(self, pictures: Tensor) -> Tensor: ...

    def decode(self, samples: Tensor) -> Tensor: ...


class Patches:
    """Squares of pixels, one for each sample, by their leading principal components.

    All components have one scale, because whitening would make noise of the last ones.

    Args:
        pictures: [N, 3, H, W] in [−1, 1], which give the components.
        side: of a square, in pixels.
        channels: components, at most 3·side².
    """

    def __init__(self, pictures: Tensor, side: int, channels: int) -> None:
        self.side = side
        values = pixel_unshuffle(pictures, side).movedim(1, -1).flatten(0, -2)
        self.mean = values.mean(0)
        covariance = (values - self.mean).mT @ (values - self.mean) / len(values)
        found, vectors = torch.linalg.eigh(covariance.double())
        self.components = vectors.float().mT.flip(0)[:channels]
        self.scale = found.flip(0)[:channels].mean().sqrt().float()

    def encode(self, pictures: Tensor) -> Tensor:
        values = pixel_unshuffle(pictures, self.side).movedim(1, -1)
        return ((values - self.mean) @ self.components.mT / self.scale).movedim(-1, 1).contiguous()

    def decode(self, samples: Tensor) -> Tensor:
        values = samples.movedim(1, -1) * self.scale @ self.components + self.mean
        return pixel_shuffle(values.movedim(-1, 1), self.side).clamp(-1, 1)


class Latents:
    """Latents of an R2IR, at the scales that `r2id train` gives them.

    Args:
        pictures: [N, 3, H, W] in [−1, 1], whose latents of 8×8 pixels give the scales.
        side: pixels along a side for each latent.
        coarseness: as for `adapt_to`.
        model: name, folder or hub id.
    """

    def __init__(self, pictures: Tensor, side: int, coarseness: float = COARSENESS, model: str = "pictures") -> None:
        self.side, self.size = side, (pictures.shape[-2], pictures.shape[-1])
        self.resampler = R2IR.from_pretrained(model).eval()
        levels = ((pictures + 1) * 127.5).round().byte()
        grid = (self.size[0] // PIXELS, self.size[1] // PIXELS)
        adapt_to(self.resampler, [ImageDataset(levels, None, (), None, "pictures")], [grid], coarseness)

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        parts = [self.resampler.encode(some, pixels_per_cell=self.side) for some in pictures.split(AT_ONCE)]
        return torch.cat([self.resampler.standardise(plain(part).float()) for part in parts]).clone()

    @torch.inference_mode()
    def decode(self, samples: Tensor) -> Tensor:
        latents = [self.resampler.destandardise(some) for some in samples.split(AT_ONCE)]
        return torch.cat([self.resampler.decode(some, self.size, self.size) for some in latents]).clamp(-1, 1)
