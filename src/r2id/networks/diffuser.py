"""R2ID, the resolution-invariant image diffuser: denoises a grid of samples of any height and width (design §1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid
from r2id.geometry.density import density, shift_noise
from r2id.geometry.fourier import FourierPositionEmbedding, Jitter, check_jitter
from r2id.geometry.sizes import first_given
from r2id.networks.attention import FeatureMap, LocalKernelAttention
from r2id.networks.layers import AdaLN, Attention, DecoderBlock, EncoderBlock, TimeEmbedding, global_attention
from r2id.networks.loading import CheckedLoading
from r2id.networks.neighbours import Neighbours, neighbours_of

Prediction = Literal["epsilon", "v_prediction", "sample"]

SAMPLES_AT_ONCE = 2048
"""Samples, over the batch, that pass through a block together without gradients. Activations then fit in a processor's
cache."""

TIMES_AS_MANY_ON_GPU = 32
"""Factor of SAMPLES_AT_ONCE on a GPU, which fewer samples do not keep busy."""

NEIGHBOURHOOD_SCALE = 1 / 32
"""Factor of the output of the neighbourhood's attention. That is a sum over basis² terms, which a step of Adam moves
together. Without the factor it learns long before the rest, and digits stay garbled for longer."""


class R2ID(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts noise, velocity or clean sample of x_t = √ᾱ·x_0 + √(1 − ᾱ)·ε, latents or an image of any size.

    Args:
        channels: channels of the samples: R2IR's latent channels, or 1 or 3 to diffuse pixels.
        dim, num_heads: channels and heads of the blocks.
        encoder_blocks: blocks without conditioning, run once per step.
        decoder_blocks: blocks with conditioning, run once per guidance branch.
        token_dim: channels of the conditioning tokens.
        time_dim: channels of the time embedding that drives AdaLN.
        feature_map: of the linear attention, "softmax" or "elu".
        prediction_type: "epsilon" for the noise ε, "v_prediction" for the velocity √ᾱ·ε − √(1 − ᾱ)·x_0
            (Salimans & Ho 2022, arXiv:2202.00512), "sample" for x_0. The last leaves out the noise, for which a network
            with few channels has no room (Li & He 2025; design §4).
        num_high, num_low: position frequencies π·2^k for k = −num_low … num_high − 1.
        jitter: jitter of the positions in training, as in R2IR.
        sample_size: samples along the longer side of the finest grid whose positions are told apart, with expected
            jitter.
        noise_reference_size: latents along the side of the square grid that has the schedule's own noise. Denser grids
            get more noise, coarser ones less, so that an area has the same noise on all (design §2). None gives the
            schedule's own noise on every grid.
        radius, basis: reach, in absolute coordinates, and cosines per axis of the local attention to noisy neighbours
            (design §2). A radius of None gives the published design.
        local_radius, local_basis: reach and cosines per axis of the local kernels in the feed-forward of every block
            (design §4). One and a half cells give 3×3 neighbours. A radius of None gives none.
        attention: "linear", or "softmax", whose cost grows with the square of the samples; of self- and
            cross-attention.
        qk_norm: RMS norm of queries and keys.
        pooled_tokens: whether the mean of the tokens also joins the time embedding of the decoder. It then scales and
            shifts every sample (Peebles & Xie 2023, arXiv:2212.09748).
        augmentations: numbers that tell how training changed a picture, such as 1 for a mirrored one. Sampling without
            them gives unchanged ones (Karras et al. 2022, arXiv:2206.00364, appendix F.2).
        canvas: proportions (height, width) of the training pictures, None if they had several.
        latents_of: the bundled R2IR that a pipeline saved without one takes, by `R2IR.described`.
        training: record of the training, kept with the weights.
    """

    convolves = True
    """Whether local kernels convolve on even grids; False for a graph of any size."""

    @register_to_config
    def __init__(
        self,
        channels: int = 64,
        dim: int = 192,
        num_heads: int = 6,
        encoder_blocks: int = 8,
        decoder_blocks: int = 8,
        token_dim: int = 192,
        time_dim: int = 128,
        feature_map: FeatureMap = "softmax",
        prediction_type: Prediction = "v_prediction",
        num_high: int = 10,
        num_low: int = 6,
        jitter: Jitter = "expected",
        sample_size: int = 8,
        noise_reference_size: int | None = 4,
        radius: float | None = 0.375,
        basis: int = 6,
        local_radius: float | None = None,
        local_basis: int = 3,
        attention: Attention = "linear",
        qk_norm: bool = False,
        pooled_tokens: bool = False,
        augmentations: int = 0,
        canvas: tuple[float, float] | None = None,
        latents_of: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(
                f"prediction_type is {prediction_type!r}; it must be 'epsilon', 'v_prediction' or 'sample'"
            )
        check_jitter(jitter)
        self.sample_in = nn.Linear(channels, dim)
        self.neighbourhood = LocalKernelAttention(channels, dim, radius, basis) if radius else None
        if self.neighbourhood:
            nn.init.zeros_(self.neighbourhood.weight)
        self.position = FourierPositionEmbedding(dim, num_high, num_low, sample_size, jitter == "expected")
        self.time = TimeEmbedding(time_dim)
        self.augmentation = nn.Linear(augmentations, time_dim, bias=False) if augmentations else None
        self.pooled = nn.Linear(token_dim, time_dim) if pooled_tokens else None
        if self.pooled:
            nn.init.zeros_(self.pooled.weight)
            nn.init.zeros_(self.pooled.bias)
        build_attention = partial(global_attention, attention, dim, num_heads, feature_map, qk_norm)
        common: Any = (dim, time_dim, build_attention, local_basis if local_radius else None)
        self.encoder: Any = nn.ModuleList(EncoderBlock(*common) for _ in range(encoder_blocks))
        self.decoder: Any = nn.ModuleList(DecoderBlock(*common, token_dim=token_dim) for _ in range(decoder_blocks))
        self.out_norm = AdaLN(dim, time_dim)
        self.out = nn.Linear(dim, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def with_channels(self, channels: int) -> R2ID:
        """Return this network for samples of another number of channels, whose first and last layers are new."""
        other: R2ID = R2ID.from_config(self.config, channels=channels)
        kept = {name: one for name, one in self.state_dict().items() if other.state_dict()[name].shape == one.shape}
        other.load_state_dict(kept, strict=False)
        return other

    def forward(
        self,
        sample: Tensor,
        alpha_bar: Tensor,
        tokens: Tensor,
        canvas: tuple[float, float] | None = None,
        grid: Grid | None = None,
        augmentation: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction for one set of tokens.

        Args:
            sample: x_t, [B, C, H, W], any H and W.
            alpha_bar: ᾱ of each sample in [0, 1], [B], or [1] if all share it, which is faster.
            tokens: [B, T, token_dim].
            canvas: proportions of the picture, by default those of training, or else those of H × W.
            grid: places of the samples, by default even rows and columns of the canvas. Windows of an even grid have
                one for each of the batch.
            augmentation: how each picture was changed, [B, augmentations]; None if none was.
        Returns:
            [B, C, H, W].
        Raises:
            InputError: for other channels than the model's.
        """
        return self.guidance_branches(sample, alpha_bar, [tokens], canvas, grid, augmentation)[0]

    @apply_forward_hook
    def guidance_branches(
        self,
        sample: Tensor,
        alpha_bar: Tensor,
        branches: Sequence[Tensor],
        canvas: tuple[float, float] | None = None,
        grid: Grid | None = None,
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return one prediction per set of tokens. The encoder, which sees no tokens, runs once for all of them."""
        predicted = self._branches([sample], [alpha_bar], branches, [canvas], [grid], augmentation)
        return tuple(part for (part,) in predicted)

    @apply_forward_hook
    def joint_branches(
        self,
        samples: Sequence[Tensor],
        alpha_bars: Sequence[Tensor],
        branches: Sequence[Tensor],
        canvases: Sequence[tuple[float, float] | None],
    ) -> tuple[list[Tensor], ...]:
        """Return `guidance_branches` of several canvases as one set of samples, a list of one for each canvas.

        Every sample keeps the coordinates and the neighbours of its own canvas. Global attention runs over all of them,
        so that the canvases show the same picture in their own proportions (design §5).
        """
        return self._branches(samples, alpha_bars, branches, canvases, [None] * len(samples))

    def _branches(
        self,
        samples: Sequence[Tensor],
        alpha_bars: Sequence[Tensor],
        branches: Sequence[Tensor],
        canvases: Sequence[tuple[float, float] | None],
        grids: Sequence[Grid | None],
        augmentation: Tensor | None = None,
    ) -> tuple[list[Tensor], ...]:
        """Return the predictions of every canvas for each set of tokens."""
        chunks: list[Tensor] = []
        times: list[Tensor] = []
        near: list[Neighbours | None] = []
        counts = []
        for sample, alpha_bar, canvas, grid in zip(samples, alpha_bars, canvases, grids, strict=True):
            x, time, neighbours = self._embed(sample, alpha_bar, canvas, grid)
            if self.augmentation is not None and augmentation is not None:
                time = time + self.augmentation(augmentation.to(time.dtype))
            at_once = SAMPLES_AT_ONCE * (1 if x.device.type == "cpu" else TIMES_AS_MANY_ON_GPU)
            whole = torch.is_grad_enabled() or neighbours is not None
            parts = [x] if whole else list(x.split(max(1, at_once // len(x)), dim=1))
            chunks += parts
            times += [time] * len(parts)
            near += [neighbours] * len(parts)
            counts.append(len(parts))
        for block in self.encoder:
            chunks = block(chunks, times, near)
        # Branches that fill a chunk run one by one, because a batch of them would be reordered for every head.
        together = len(branches) if max(counts) == 1 else 1
        groups = [branches[first : first + together] for first in range(0, len(branches), together)]
        predictions: list[list[Tensor]] = []
        for group in groups:
            decoded = iter(self._decode(chunks, times, group, near))
            of_canvases = [torch.cat(list(islice(decoded, count)), dim=1) for count in counts]
            pictures = [
                x.mT.unflatten(-1, (sample.shape[-2], sample.shape[-1])).unflatten(0, (len(group), -1)).unbind()
                for x, sample in zip(of_canvases, samples, strict=True)
            ]
            predictions += map(list, zip(*pictures, strict=True))
        return tuple(predictions)

    def _embed(
        self, sample: Tensor, alpha_bar: Tensor, canvas: tuple[float, float] | None, grid: Grid | None
    ) -> tuple[Tensor, Tensor, Neighbours | None]:
        """Return the samples of a canvas [B, N, dim] before the first block, their time embedding and neighbours."""
        if sample.ndim != 4 or sample.shape[1] != self.config.channels:
            raise InputError(
                f"a sample of shape {tuple(sample.shape)} does not fit this model; "
                f"it takes [batch, {self.config.channels}, height, width]"
            )
        size = (sample.shape[-2], sample.shape[-1])
        ratio = density(grid.whole_size if grid else size, self.config.noise_reference_size)
        time = self.time(torch.stack([alpha_bar, shift_noise(alpha_bar, 1 / ratio)], dim=-1))
        grid = grid or Grid.of_size(size, first_given(canvas, self.config.canvas), sample.device)
        x = self.sample_in(sample.flatten(2).mT) + self._positions(grid)
        # Kernels are functions of offsets, which are the same in all windows.
        alike = grid.first_window()
        if self.neighbourhood:
            # The mean over an area has 1/ratio of the noise. This scale makes it equally large on every grid.
            scale = (alpha_bar + (1 - alpha_bar) / ratio).rsqrt().to(sample.dtype)
            near = self.neighbourhood((sample * scale[:, None, None, None]).movedim(1, -1), alike, alike)
            x = x.add(near.flatten(1, -2), alpha=NEIGHBOURHOOD_SCALE)
        return x, time, self._neighbours(alike)

    def _decode(
        self,
        chunks: list[Tensor],
        times: list[Tensor],
        branches: Sequence[Tensor],
        near: Sequence[Neighbours | None],
    ) -> list[Tensor]:
        """Return the decoder's predictions for a batch of branches, in chunks [branches · B, N, C]."""
        count = len(branches)
        chunks = [chunk.repeat(count, 1, 1) for chunk in chunks]
        times = [time.repeat(count, 1) if len(time) > 1 else time for time in times]
        tokens = torch.cat(list(branches))
        if self.pooled is not None:
            pooled = self.pooled(tokens.mean(dim=1))
            times = [time + pooled for time in times]
        for block in self.decoder:
            chunks = block(chunks, times, tokens, near)
        return [self.out(self.out_norm(chunk, time)) for chunk, time in zip(chunks, times, strict=True)]

    def _neighbours(self, grid: Grid) -> Neighbours | None:
        """Return the neighbours of every sample for the local kernels of the blocks; None if they have no kernels."""
        radius, basis = self.config.local_radius, self.config.local_basis
        return neighbours_of(grid, radius, basis, self.convolves) if radius else None

    def _positions(self, grid: Grid) -> Tensor:
        if self.training and self.config.jitter == "sampled":
            return self.position(grid.points().jittered())
        return self.position(grid).flatten(-3, -2)
