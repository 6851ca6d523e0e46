"""Inpainting: samples that keep the known part of a given picture (design §5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from r2id.diffusion.prediction import perfect_prediction, predicted_sample, signal_and_spread
from r2id.diffusion.windows import Windows
from r2id.geometry.canvas import Canvas
from r2id.geometry.coordinates import Grid
from r2id.geometry.sizes import Size
from r2id.networks.batches import clean_samples
from r2id.networks.diffuser import Prediction
from r2id.networks.resampler import R2IR

ENCODED_AGAIN = 0.5
"""Share of the steps after which known cells are encoded with what the sampler expects beside them. A cell reads its
neighbours too. Before, these are a smooth continuation of the picture."""

GUIDANCE = 4.0
"""Weight of the known samples' error. At 1, half of the seam stays; from 5 on, the edge is smoother than the rest."""

MOST_ENCODED_AGAIN = 32**2
"""Most latents of a grid where known cells are encoded again. On finer ones, the picture of the coarser grid is beside
them from the start."""


class KnownPicture:
    """A picture of which a part is known, and its latents.

    Args:
        resampler: the R2IR of the latents, or None for a model of pixels.
        picture: [1, C, H, W] in [−1, 1], anything where it is unknown.
        known: [1, 1, H, W], 1 where a pixel is known, else 0.
        latent_size: height and width of the latents.
        canvas: proportions of the picture.
    """

    def __init__(
        self, resampler: R2IR | None, picture: Tensor, known: Tensor, latent_size: Size, canvas: Canvas
    ) -> None:
        self.resampler, self.picture, self.known, self.canvas = resampler, picture, known, canvas
        self.latent_size = latent_size
        self.cells = known_cells(known, latent_size)
        self.clean = self._encoded(filled(picture, known))

    def refined(self, samples: Tensor, latent_size: Size) -> KnownPicture:
        """Return the same on another grid, where samples [B, C, h, w] show what is unknown."""
        finer = copy(self)
        finer.latent_size = latent_size
        finer.cells = known_cells(self.known, latent_size)
        finer.clean = finer._encoded(self.completed(self._decoded(samples)))
        return finer

    def predict(
        self,
        network: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
        noisy: Tensor,
        alpha_bar: Tensor,
        kind: Prediction,
        done: float,
        windows: Windows | None = None,
    ) -> Tensor:
        """Return a prediction [B, C, h, w] that is perfect where samples are known, and goes on from there.

        Every scheduler then moves the known samples from their noise straight to the picture. The noise hides part of
        them from the network, so that it alone would continue them in other colours. Where it errs at known samples,
        it errs likewise beside them. Their error therefore guides the unknown ones: x̂ ← x̂ + w·√ᾱ·Jᵀ(x − x̂), J the
        derivative of known x̂ by x_t (ΠGDM, Song et al. 2023, "Pseudoinverse-guided diffusion models").

        Args:
            network: returns [prediction] for [x_t] and [ᾱ] of the whole canvas, or of several windows.
            noisy, alpha_bar, kind: as for `predicted_sample`.
            done: share of the steps that are done.
            windows: those to predict in, each as a known picture of its own.
        """
        noisy = noisy.detach().float()

        guided = partial(self._guided, network, alpha_bar, kind)
        given = self.clean.expand_as(noisy), self.cells.expand(len(noisy), -1, -1, -1)
        if windows:
            cropped = windows.cropped
            prediction = windows.blended(
                lambda some, at: guided(some, *(cropped(one, at) for one in given)), noisy, alpha_bar
            )
        else:
            prediction = guided(noisy, *given)
        if self.resampler and done >= ENCODED_AGAIN and math.prod(self.latent_size) <= MOST_ENCODED_AGAIN:
            sample = predicted_sample(prediction, noisy, alpha_bar, kind)
            self.clean = self._encoded(self.completed(self._decoded(sample)))
        return torch.lerp(prediction, perfect_prediction(self.clean, noisy, alpha_bar, kind), self.cells)

    def _guided(
        self,
        network: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
        alpha_bar: Tensor,
        kind: Prediction,
        noisy: Tensor,
        clean: Tensor,
        cells: Tensor,
    ) -> Tensor:
        """Return the network's prediction, changed by the guidance of the known samples of `clean`, where `cells` is
        1."""
        with torch.enable_grad():
            noisy = noisy.detach().requires_grad_()
            (prediction,) = network([noisy], [alpha_bar])
            sample = predicted_sample(prediction.float(), noisy, alpha_bar, kind)
            (guidance,) = torch.autograd.grad(-0.5 * ((clean - sample) * cells).square().sum(), noisy)
        change = GUIDANCE * signal_and_spread(alpha_bar)[0] * guidance
        # A change of x̂ alone changes a prediction as if x_t were 0.
        return prediction.detach().float() + perfect_prediction(change, torch.zeros_like(clean), alpha_bar, kind)

    def completed(self, picture: Tensor) -> Tensor:
        """Return a picture [B, C, H, W] with exactly the known pixels, and without a seam beside them.

        The difference between both goes on smoothly beyond the known pixels, and fades out within a cell.
        """
        cell = max(1.0, *(side / count for side, count in zip(self.known.shape[-2:], self.latent_size, strict=True)))
        near = _blurred(self.known, cell / 2)
        beyond = _blurred((self.picture - picture) * self.known, cell / 2) / near.clamp_min(1e-4)
        return torch.where(self.known > 0, self.picture, picture + beyond * (2 * near).clamp(max=1))

    def _encoded(self, picture: Tensor) -> Tensor:
        grid = Grid.of_size(self.latent_size, self.canvas, picture.device)
        return clean_samples(self.resampler, picture.to(self.resampler.dtype) if self.resampler else picture, grid)

    def _decoded(self, samples: Tensor) -> Tensor:
        """Return the pictures of samples [B, C, h, w], of the size of the known one."""
        size = self.known.shape[-2], self.known.shape[-1]
        if self.resampler is None:
            return functional.interpolate(samples, size, mode="bicubic", antialias=True)
        latents = self.resampler.destandardise(samples).to(self.resampler.dtype)
        return self.resampler.decode(latents, size, self.canvas).float()


def known_cells(known: Tensor, size: Size) -> Tensor:
    """Return 1 for each cell of a grid of `size` whose pixels are all known, else 0: [1, 1, H, W] → [1, 1, h, w]."""
    # Pooling of the unknown touches every pixel that a cell overlaps.
    return 1 - functional.adaptive_max_pool2d(1 - known, size)


def filled(picture: Tensor, known: Tensor) -> Tensor:
    """Return a picture [B, C, H, W] whose unknown pixels continue the known ones smoothly, from coarse to fine.

    Each level averages the known pixels of 2×2. Its own unknown ones are interpolated from the next level ("pull and
    push", Gortler et al. 1996, "The Lumigraph"). Time and memory are linear in the pixels.

    Args:
        picture: anything where it is unknown.
        known: [1, 1, H, W], 1 or 0. Where all is unknown, the picture becomes 0.
    """
    known = known.to(picture)
    picture = picture * known
    if known.all() or max(picture.shape[-2:]) == 1:
        return picture

    def halved(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)

    share = halved(known)
    coarse = filled(halved(picture) / share.clamp_min(1e-6), (share > 0).to(picture))
    return torch.where(
        known > 0, picture, functional.interpolate(coarse, picture.shape[-2:], mode="bilinear", align_corners=False)
    )


def _blurred(picture: Tensor, deviation: float) -> Tensor:
    """Return a picture [B, C, H, W] after a Gaussian filter; beyond its edges it is 0."""
    reach = int(3 * deviation)
    offsets = torch.arange(-reach, reach + 1, device=picture.device)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
    weights = (weights / weights.sum()).to(picture)
    each = picture.flatten(0, 1)[:, None]
    along = functional.conv2d(each, weights[None, None, :, None], padding=(reach, 0))
    return functional.conv2d(along, weights[None, None, None, :], padding=(0, reach)).reshape(picture.shape)
