"""Objectives: modules from a batch of images to the loss of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from r2id.data.captions import Captions, WordCaptions
from r2id.diffusion.pipeline import R2Pipeline
from r2id.diffusion.prediction import LEAST_SPREAD, predicted_sample, prediction_error, signal_and_spread
from r2id.diffusion.schedule import cosine_alpha_bar, logit_normal_time
from r2id.geometry.canvas import Canvas, canvas_of
from r2id.geometry.coordinates import Grid
from r2id.geometry.sizes import Size, with_longer_side
from r2id.networks.batches import clean_samples
from r2id.networks.resampler import R2IR
from r2id.runtime.processes import Share

DECODED = 4
"""Of so many samples of a batch, one is decoded where pictures are compared."""
DECODED_SHARE = 0.5
"""Share of the rows, and of the columns, that these are decoded at."""


class Objective(nn.Module, ABC):
    """The loss of a training, and its networks. Trained parameters require gradients.

    Attributes:
        share: this process's share of the batch.
        done_share: share of the training that is done, from 0 to 1.
        latent_jitter: standard deviation, in cells, of the jitter of latent rows and columns.
    """

    share = Share()
    done_share = 0.0
    latent_jitter = 0.0

    def draw(self, distribution: Callable[..., Tensor], count: int, *shape: int, device: torch.device) -> Tensor:
        """Draw random numbers [count, *shape] for `count` images.

        Every process draws those of the whole batch and takes its own share, so that training does not depend on their
        number.
        """
        return self.share.take(distribution(self.share.count * count, *shape, device=device))

    def latent_grid(self, latent_size: Size, images: Tensor) -> Grid:
        """Return the grid of the latents of images [B, C, H, W] in this step."""
        grid = Grid.of_size(latent_size, canvas_of(images) or (images.shape[-2], images.shape[-1]), images.device)
        return grid.jittered(self.latent_jitter) if self.latent_jitter else grid

    @abstractmethod
    def forward(self, images: Tensor, labels: Tensor, latent_size: Size) -> Tensor:
        """Return the loss of images [B, C, H, W] in [−1, 1], or their latents, with labels [B] at one latent grid.

        Latents of mirrored pictures come with `mirrored=True`, to objectives that take latents.
        """

    @abstractmethod
    def preview(self, images: Tensor, names: Sequence[str], latent_size: Size) -> Tensor:
        """Return preview images [N, C, H, W] in [−1, 1], with N a multiple of len(images).

        Args:
            images: [B, C, H, W] in [−1, 1], or their latents.
            names: their label names or captions.
            latent_size: one latent grid.
        """


class ReconstructionObjective(Objective):
    """E‖decode(encode(x) + σ·n) − x‖², over a random share of the image's rows and columns (design §1.3, §2).

    With `two_tone` λ, λ·s·E[1 − c²] is added, over the colours c of the decoded field at random points. The share s of
    the training that is done lets forms come first and sharp edges later.

    Args:
        resampler: the R2IR to train.
        latent_noise: σ.
        pixel_share: share of the rows, and of the columns, that are decoded.
        latent_jitter: standard deviation, in cells, of the jitter of latent rows and columns.
        two_tone: λ, for images of two colours, whose pixels are grey only where an edge crosses them.
    """

    def __init__(
        self,
        resampler: R2IR,
        latent_noise: float = 0.0,
        pixel_share: float = 1.0,
        latent_jitter: float = 0.0,
        two_tone: float = 0.0,
    ) -> None:
        super().__init__()
        self.resampler, self.latent_noise, self.pixel_share = resampler, latent_noise, pixel_share
        self.latent_jitter, self.two_tone = latent_jitter, two_tone

    def forward(self, images: Tensor, labels: Tensor, latent_size: Size) -> Tensor:
        size, device = (images.shape[-2], images.shape[-1]), images.device
        rows, columns = (some_of(side, self.pixel_share, device) for side in size)
        noise_shape = (self.resampler.config.latent_channels, *latent_size)
        noise = self.latent_noise * self.draw(torch.randn, len(images), *noise_shape, device=device)
        some = Grid.of_size(size, device=device).crop(rows, columns)
        grid, truth = self.latent_grid(latent_size, images), images[:, :, rows][..., columns]
        if not self.two_tone:
            return (self.resampler(images, grid, some, noise).float() - truth).square().mean()
        field: Any = self.resampler.field(self.resampler.encode(images, grid) + noise, size, grid)
        points = Grid(tuple(torch.rand_like(axis).sort().values - 0.5 for axis in some.axes), (0.0, 0.0), some.extent)
        between = 1 - field.means(points).float().square()
        return (field.means(some).float() - truth).square().mean() + self.two_tone * self.done_share * between.mean()

    @torch.no_grad()
    def preview(self, images: Tensor, names: Sequence[str], latent_size: Size) -> Tensor:
        """Return the images, then their reconstructions."""
        size = (images.shape[-2], images.shape[-1])
        return torch.cat([images, self.resampler.decode(self.resampler.encode(images, latent_size), size)])


class DiffusionObjective(Objective):
    """E‖network(√ᾱ·x + √(1 − ᾱ)·ε, ᾱ) − target‖² with ᾱ = cos²(πt/2), t uniform in [0, 1], one stratum per image.

    With `noise_reference_size`, ᾱ is then shifted by the density of the grid. The target is ε, or the velocity
    √ᾱ·ε − √(1 − ᾱ)·x, of a clean sample too (`diffusion.prediction`).

    With `picture_weight` λ, λ·E[ᾱ/(1 − ᾱ)·‖decode(x̂) − decode(x)‖²] is added, where x̂ is the predicted clean sample.
    Its factor ᾱ is there as the picture of a mean of latents is no mean of pictures, which matters where noise is
    strong.

    Args:
        pipeline: its diffuser and conditioner are trained together. Its frozen resampler makes the standardised
            latents x. Without a resampler, x are pixels, resized to the grid.
        label_dropout: share of the labels replaced by "no label".
        latent_jitter: standard deviation, in cells, of the jitter of latent rows and columns.
        captions: conditioner in place of the pipeline's, if labels are indices of captions.
        times: mean and standard deviation of a logit-normal distribution of the noise (`logit_normal_time`); None for a
            uniform one.
        crop: height and width of a window of the latents; None for whole grids. It lies anywhere in a larger grid and
            keeps its coordinates there (design §4).
        flips: whether to mirror half of the images, and tell the diffuser which.
        picture_weight: λ, for whole grids of a resampler that is no pyramid.
    """

    def __init__(
        self,
        pipeline: R2Pipeline,
        label_dropout: float,
        latent_jitter: float = 0.0,
        captions: Captions | WordCaptions | None = None,
        times: tuple[float, float] | None = None,
        crop: Size | None = None,
        flips: bool = False,
        picture_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.pipeline, self.diffuser = pipeline, pipeline.diffuser
        self.conditioner: Any = captions or pipeline.conditioner
        self.resampler = pipeline.resampler.requires_grad_(False).eval() if pipeline.resampler else None
        self.label_dropout, self.latent_jitter = label_dropout, latent_jitter
        self.times, self.crop, self.flips, self.picture_weight = times, crop, flips, picture_weight

    def train(self, mode: bool = True) -> DiffusionObjective:
        super().train(mode)
        if self.resampler:
            self.resampler.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor, latent_size: Size, mirrored: bool = False) -> Tensor:
        images, flipped = self._mirror(images, mirrored)
        canvas = canvas_of(images) or (images.shape[-2], images.shape[-1])
        grid = self.latent_grid(latent_size, images)
        clean, grid = self._window(clean_samples(self.resampler, images, grid), grid)
        count, device = len(clean), clean.device
        time = self.draw(self._strata, count, device=device)
        time = logit_normal_time(time, *self.times) if self.times else time
        alpha_bar = self.alpha_bar(time, grid.whole_size)
        noise = self.draw(self.noise, count, *clean.shape[1:], device=device)
        signal, spread = signal_and_spread(alpha_bar)
        dropped = self.draw(torch.rand, count, device=device) < self.label_dropout
        tokens = self.conditioner(torch.where(dropped, self.conditioner.no_label, labels))
        told = {} if flipped is None else {"augmentation": flipped[:, None]}
        noisy = signal * clean + spread * noise
        prediction = self.diffuser(noisy, alpha_bar, tokens, canvas, grid, **told)
        kind = self.diffuser.config.prediction_type
        error = prediction_error(prediction, clean, noise, alpha_bar, kind).square().mean()
        if not self.picture_weight:
            return error
        some = slice(None, None, DECODED)
        predicted = predicted_sample(prediction.float(), noisy, alpha_bar, kind)
        pictures = self._decoded(torch.stack([predicted[some], clean[some]]), canvas)
        weight = (signal / spread.clamp_min(LEAST_SPREAD))[some]
        return error + self.picture_weight * (weight * (pictures[0] - pictures[1])).square().mean()

    def _decoded(self, samples: Tensor, canvas: Canvas) -> Tensor:
        """Return some of the pixels of samples [2, B, C, h, w], the same of all."""
        assert self.resampler is not None
        field: Any = self.resampler.field(self.resampler.destandardise(samples.flatten(0, 1)), canvas)
        size = with_longer_side(self.resampler.config.sample_size, canvas)
        pixels = (some_of(side, DECODED_SHARE, samples.device) for side in size)
        return field.means(Grid.of_size(size, canvas, samples.device).crop(*pixels)).unflatten(0, samples.shape[:2])

    def _mirror(self, images: Tensor, mirrored: bool) -> tuple[Tensor, Tensor | None]:
        """Return images of which half are mirrored, and which [B] are; None if the network is told nothing of it.

        Latents cannot be mirrored, but may be of `mirrored` pictures.
        """
        if not self.diffuser.config.augmentations:
            return images, None
        if not self.flips:
            return images, images.new_full((len(images),), float(mirrored))
        flipped = self.draw(torch.rand, len(images), device=images.device) < 0.5
        return torch.where(flipped[:, None, None, None], images.flip(-1), images), flipped

    def _window(self, samples: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Return a window of each of the samples [B, C, H, W], and where it lies; all of them if they fit."""
        height, width = (min(most, count) for most, count in zip(self.crop or grid.size, grid.size, strict=True))
        if (height, width) == grid.size:
            return samples, grid
        top, left = self.draw(torch.rand, len(samples), 2, device=samples.device).unbind(1)
        top, left = (top * (grid.size[0] - height + 1)).long(), (left * (grid.size[1] - width + 1)).long()
        windows = [start[:, None] + torch.arange(n, device=start.device) for start, n in ((top, height), (left, width))]
        return rows_and_columns_of_each(samples, *windows), grid.windows(*windows)

    def alpha_bar(self, time: Tensor, size: Sequence[int]) -> Tensor:
        """Return the signal's share of the variance at times in [0, 1], in samples of a grid of `size`."""
        return cosine_alpha_bar(time, size, self.diffuser.config.noise_reference_size)

    # On any single grid, the white field is independent noise.
    noise = staticmethod(torch.randn)

    @staticmethod
    def _strata(count: int, device: torch.device) -> Tensor:
        """Return times in [0, 1], one in each of `count` equal parts."""
        return (torch.arange(count, device=device) + torch.rand(count, device=device)) / count

    @torch.no_grad()
    def preview(self, images: Tensor, names: Sequence[str], latent_size: Size) -> Tensor:
        """Return generated pictures of the labels or captions."""
        self.pipeline.set_progress_bar_config(disable=True)
        canvas = canvas_of(images)
        size = self.pipeline.defaults_on(canvas).size if canvas else (images.shape[-2], images.shape[-1])
        generator = torch.Generator("cpu").manual_seed(0)
        return self.pipeline(
            names,
            latent_size,
            [size],
            canvas=canvas or size,
            generator=generator,
            output_type="pt",
        ).images[0]


def some_of(count: int, share: float, device: torch.device) -> Tensor:
    """Return a random share of `count` indices, in order."""
    return torch.randperm(count, device=device)[: max(1, round(share * count))].sort().values


def rows_and_columns_of_each(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return a part of each image [B, C, H, W], [B, C, h, w], of its own rows [B, h] and columns [B, w]."""
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images.movedim(1, -1)[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
