"""R2IR that decodes to splats: a token of the latent is a few Gaussians, and a picture is their sum (design §6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from r2id.errors import InputError
from r2id.fields.splats import SplatField
from r2id.geometry.canvas import canvas_of, plain
from r2id.geometry.coordinates import Grid
from r2id.geometry.fourier import FourierPositionEmbedding, Jitter, check_jitter
from r2id.geometry.sizes import Size, first_given, listed
from r2id.geometry.splats import Splats
from r2id.networks.attention import FeatureMap
from r2id.networks.local import LocalEncoder
from r2id.networks.resampler import R2IR

NUMBERS = 6
"""Numbers of a splat beside its colour: its place (y, x), its shape (m, a, b) and its weight."""
OFFSET = 1.0
"""Cells that a splat lies from its token's place, at most, along each axis."""
MIDDLE_SCALE, SCALE_RANGE = 0.35, 1.5
"""Scale of a splat in cells, and the most that the mean of its log-scales differs from that of this one."""
STRETCH = 1.2
"""Most that each of the two other numbers of a shape is away from 0, a round splat's."""
LOG_WEIGHT = 3.0
"""Most that the logarithm of a weight is away from 0."""
RANGES = (OFFSET, OFFSET, SCALE_RANGE, STRETCH, STRETCH, LOG_WEIGHT)
"""What a latent of 1 means for each of the NUMBERS."""


class SplatResampler(R2IR):
    """R2IR whose latents are splats, so that decoding needs no network.

    Each token has `latent_channels` / (6 + `image_channels`) splats: offset, shape, weight and colour of the first,
    then of the next. Values in [−1, 1] span ranges in cells of the latent's grid.

    Args:
        image_channels: 1 for grey, 3 for RGB.
        latent_channels: channels of the latent, 6 + `image_channels` for each splat of a token.
        attention: "splats", which tells this form of R2IR from others.
        feature_map: feature map of the global linear attention, "softmax" or "elu".
        dim, num_heads, num_blocks: channels, heads and transformer blocks of the encoder.
        num_high, num_low: position frequencies π·2^k for k = −num_low … num_high − 1.
        jitter: jitter of the positions, half a pixel: "expected" averages over it in closed form; "none".
        sample_size: pixels along the longer side of the training images, their finest detail.
        latent_size: latents along the longer side for images of `sample_size`.
        radius, basis: reach of local attention in units of 1/latent_size, and its cosines per axis.
        value_dim: channels of an embedded pixel.
        training: record of the training, kept with the weights.
    """

    @register_to_config
    def __init__(
        self,
        image_channels: int = 1,
        latent_channels: int = 14,
        attention: Literal["splats"] = "splats",
        feature_map: FeatureMap = "softmax",
        dim: int = 192,
        num_heads: int = 6,
        num_blocks: int = 1,
        num_high: int = 10,
        num_low: int = 6,
        jitter: Jitter = "expected",
        sample_size: int = 32,
        latent_size: int = 8,
        radius: float = 1.5,
        basis: int = 12,
        value_dim: int = 8,
        training: dict[str, Any] | None = None,
    ) -> None:
        # R2IR itself would build a decoder.
        ModelMixin.__init__(self)
        check_jitter(jitter)
        if jitter == "sampled":
            raise ValueError("jitter is 'sampled'; with splats it must be 'expected' or 'none'")
        if attention != "splats":
            raise ValueError(f"attention is {attention!r}; with splats it must be 'splats'")
        if latent_channels % (NUMBERS + image_channels):
            raise ValueError(
                f"latent_channels is {latent_channels}; a splat has {NUMBERS + image_channels}, "
                "of which it must be a multiple"
            )
        self.encoder: Any = LocalEncoder(
            image_channels,
            latent_channels,
            value_dim,
            dim,
            num_heads,
            num_blocks,
            feature_map,
            radius / latent_size,
            basis,
            FourierPositionEmbedding(dim, num_high, num_low, latent_size, jitter == "expected"),
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))
        self._spread_splats()

    @torch.no_grad()
    def _spread_splats(self) -> None:
        """Let the splats of a token start round and apart from each other; alike ones would learn alike."""
        head = self.encoder.out[1]
        head.weight.mul_(0.3)
        bias = head.bias.zero_().unflatten(0, (-1, NUMBERS + self.config.image_channels))
        count = len(bias)
        order = torch.arange(count)
        along = torch.stack([(order + 0.5) / count, (order * (math.sqrt(5) - 1) / 2 + 0.25) % 1], -1)
        bias[:, :2] = torch.atanh((along - 0.5) / OFFSET)

    @apply_forward_hook
    def field(self, latent: Tensor, canvas: tuple[float, float] | None = None) -> SplatField:  # type: ignore[override]
        """Return the latent [B, latent_channels, h, w] as a function of coordinates; arguments are those of R2IR."""
        return SplatField(self.splats(latent, canvas), self.config.sample_size)

    def splats(self, latent: Tensor, canvas: tuple[float, float] | None = None) -> Splats:
        """Return the splats of a latent [B, latent_channels, h, w], with values in [−1, 1], to which it is clamped.

        `canvas` gives the proportions of the picture, by default those that the latent carries, or else h × w. Raises
        InputError for other channels than the model's.
        """
        self._check_channels(latent, self.config.latent_channels, "a latent")
        canvas, latent = listed(first_given(canvas, canvas_of(latent))), plain(latent)
        return self._splats_on(latent, Grid.of_size((latent.shape[-2], latent.shape[-1]), canvas, latent.device))

    def _splats_on(self, latent: Tensor, grid: Grid) -> Splats:
        """Return the splats of a latent whose tokens lie on a grid."""
        values = latent.float().clamp(-1, 1).unflatten(1, (-1, NUMBERS + self.config.image_channels))
        # [B, h, w, K, numbers], so that the splats of a token lie side by side.
        values = values.permute(0, 3, 4, 1, 2)
        cell = [side * extent for side, extent in zip(grid.cell, grid.extent, strict=True)]
        numbers, colours = values.split([NUMBERS, self.config.image_channels], -1)
        numbers = numbers * numbers.new_tensor(RANGES)
        places = grid.points().absolute().view(*grid.size, 1, 2)
        centres = places + numbers[..., :2] * numbers.new_tensor(cell)
        round_one = math.log(MIDDLE_SCALE * math.sqrt(math.prod(cell)))
        shapes = numbers[..., 2:5] + numbers.new_tensor([round_one, 0, 0])
        centres, shapes, colours, weights = (part.flatten(1, 3) for part in (centres, shapes, colours, numbers[..., 5]))
        return Splats(centres, shapes, colours, weights, grid.extent)

    def forward(
        self,
        image: Tensor,
        latent_size: Size | Grid,
        query: Grid | None = None,
        latent_noise: Tensor | None = None,
    ) -> Tensor:
        """Run a training pass, as R2IR does: encode, add noise, render the pixels of the query."""
        pixels = Grid.of_size((image.shape[-2], image.shape[-1]), device=image.device)
        tokens = latent_size if isinstance(latent_size, Grid) else Grid.of_size(latent_size, pixels.extent)
        latent = self.encoder(image.movedim(1, -1), pixels, tokens).movedim(-1, 1)
        if latent_noise is not None:
            latent = latent + latent_noise
        return SplatField(self._splats_on(latent, tokens), self.config.sample_size).means(query or pixels)

    def refine(
        self,
        latent: Tensor,
        image: Tensor,
        steps: int = 300,
        learning_rate: float = 0.03,
        canvas: tuple[float, float] | None = None,
        progress: Callable[[int], object] = lambda step: None,
    ) -> Tensor:
        """Return a latent whose picture is closer to an image, by steps of Adam on the squared error.

        Args:
            latent: [B, latent_channels, h, w], such as `encode` gives.
            image: [B, C, H, W] in [−1, 1].
            steps: gradient steps.
            learning_rate: of the values before their tanh; it falls to 0 along a cosine.
            canvas: as for `decode`.
            progress: receives the number of each step that is done.
        Raises:
            InputError: for fewer than 0 steps, or shapes that are not those of the model.
        """
        if steps < 0:
            raise InputError(f"steps is {steps}; it must be at least 0")
        self._check_channels(image, self.config.image_channels, "an image")
        self._check_channels(latent, self.config.latent_channels, "a latent")
        size = (image.shape[-2], image.shape[-1])
        canvas = first_given(canvas, canvas_of(latent), size)
        with torch.inference_mode(False), torch.enable_grad():
            image = image.clone()
            free = plain(latent).detach().clone().clamp(-0.995, 0.995).atanh().requires_grad_()
            optimizer = torch.optim.Adam([free], lr=learning_rate, betas=(0.9, 0.99))
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
                optimizer.zero_grad()
                # Each picture has steps of its own, whatever the batch.
                (self.decode(free.tanh(), size, canvas) - image).square().mean((1, 2, 3)).sum().backward()
                optimizer.step()
                progress(step + 1)
            return free.detach().tanh()
