"""Layers of both networks. Every norm runs over the channels of one sample, never over the image."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.geometry.fourier import fourier_features
from r2id.networks.attention import FeatureMap, GlobalAttention, LinearAttention, Summary
from r2id.networks.neighbours import Neighbours
from r2id.networks.norms import RMSNorm
from r2id.networks.softmax_attention import KeysValues, SoftmaxAttention

Attention = Literal["linear", "softmax"]


class MLPBlock(nn.Sequential):
    """Feed-forward of each sample: linear to `ratio` × dim, GELU, linear back."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


class LocalMLPBlock(MLPBlock):
    """Feed-forward of each sample and its neighbours: a depthwise local kernel before GELU (design §4).

    The kernel adds to what it reads, and starts at zero. So at first this is an `MLPBlock`.
    """

    def __init__(self, dim: int, basis: int, ratio: int = 4) -> None:
        super().__init__(dim, ratio)
        self.kernel = nn.Parameter(torch.zeros(basis**2, ratio * dim))

    def forward(self, x: Tensor, neighbours: Neighbours) -> Tensor:  # type: ignore[override]
        """x: [B, N, dim], all samples of a picture → [B, N, dim]."""
        widen, activation, narrow = self
        wide = widen(x)
        return narrow(activation(wide + neighbours.mix(wide, self.kernel)))


class CrossBlock(nn.Module):
    """x ← x + attention(norm(x), source); x ← x + feed-forward(norm(x)), with global linear attention.

    Queries read the source through its `Summary` only, so each can be answered on its own.
    """

    def __init__(self, dim: int, num_heads: int, feature_map: FeatureMap, source_dim: int | None = None) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim)
        self.attention = LinearAttention(dim, num_heads, feature_map, source_dim)
        self.feed_norm = RMSNorm(dim)
        self.feed = MLPBlock(dim)

    def forward(self, x: Tensor, summary: Summary) -> Tensor:
        """x: [B, M, dim] or [M, dim]; returns [B, M, dim]."""
        x = x + self.attention.read(self.attention_norm(x), summary)
        return x + self.feed(self.feed_norm(x))


class SelfBlock(CrossBlock):
    """A `CrossBlock` that attends to its own input."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x: [B, N, dim] → [B, N, dim]."""
        x_norm = self.attention_norm(x)
        x = x + self.attention(x_norm, x_norm)
        return x + self.feed(self.feed_norm(x))


class PointBlock(nn.Module):
    """x ← x + feed-forward(norm(x)), on each sample alone."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.feed = MLPBlock(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.feed(self.norm(x))


class TimeEmbedding(nn.Module):
    """Embedding of continuous time, from the signal's share of the variance ᾱ of a sample and of an area.

    The angle t = (2/π)·arccos √ᾱ is 0 for a clean image and 1 for pure noise, and linear along the cosine schedule.
    An MLP reads both angles and their Fourier features at frequencies π·2^k, k = −1 … num_frequencies − 2.
    """

    def __init__(self, dim: int, num_frequencies: int = 8) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        channels = 2 * (2 * num_frequencies + 1)
        self.mlp = nn.Sequential(nn.Linear(channels, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())

    def forward(self, alpha_bar: Tensor) -> Tensor:
        """alpha_bar: [B, 2] in [0, 1] → [B, dim]."""
        time = torch.arccos(alpha_bar.float().clamp(0, 1).sqrt()) * (2 / math.pi)
        angular = math.pi * 2.0 ** torch.arange(-1, self.num_frequencies - 1, device=time.device)
        features = torch.cat([time, fourier_features(time, angular)], dim=-1)
        weight_type: torch.dtype = self.mlp[0].weight.dtype  # type: ignore[assignment]
        return self.mlp(features.to(weight_type))


class AdaLN(nn.Module):
    """LayerNorm whose scale and shift come from the time embedding (Peebles & Xie 2023, arXiv:2212.09748)."""

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(time_dim, 2 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: [B, N, dim], time: [B, time_dim], or [1, time_dim] if all share it → [B, N, dim]."""
        scale, shift = self.modulation(time)[:, None].chunk(2, dim=-1)
        if len(time) == 1:
            weight, bias = ((1 + scale).flatten().to(x.dtype), shift.flatten().to(x.dtype))
            return functional.layer_norm(x, self.norm.normalized_shape, weight, bias, self.norm.eps)
        return self.norm(x) * (1 + scale) + shift


def global_attention(
    kind: Attention, dim: int, num_heads: int, feature_map: FeatureMap, qk_norm: bool, source_dim: int | None = None
) -> GlobalAttention:
    """Build the attention of R2ID's blocks; `feature_map` is that of linear attention. ValueError for another kind."""
    if kind not in get_args(Attention):
        raise ValueError(f"attention is {kind!r}; it must be 'linear' or 'softmax'")
    if kind == "softmax":
        return SoftmaxAttention(dim, num_heads, qk_norm, source_dim)
    return LinearAttention(dim, num_heads, feature_map, source_dim, qk_norm)


class EncoderBlock(nn.Module):
    """AdaLN → self-attention → residual; AdaLN → feed-forward → residual. It sees no conditioning.

    Samples interact through the summary only, and `answer` treats each on its own. With `local_basis`, the feed-forward
    reads neighbours too, and all samples of a canvas come in one chunk. Call a block as a whole, never its parts:
    weights that are sharded over processes are gathered for the call.

    Args:
        dim: channels.
        time_dim: channels of the time embedding.
        build_attention: builds a `GlobalAttention` of these channels, to a source of `source_dim` if that is given.
        local_basis: cosines per axis of the feed-forward's local kernel; None for a feed-forward of each sample alone.
    """

    def __init__(
        self,
        dim: int,
        time_dim: int,
        build_attention: Callable[..., GlobalAttention],
        local_basis: int | None = None,
    ) -> None:
        super().__init__()
        self.self_norm = AdaLN(dim, time_dim)
        self.self_attention: Any = build_attention()
        self.feed_norm = AdaLN(dim, time_dim)
        self.feed = LocalMLPBlock(dim, local_basis) if local_basis else MLPBlock(dim)

    def forward(
        self, chunks: Sequence[Tensor], times: Sequence[Tensor], near: Sequence[Neighbours | None]
    ) -> list[Tensor]:
        """Map chunks [B, N, dim], which hold all samples, to chunks of the same shapes.

        times: of each chunk, as for AdaLN. near: neighbours of each, for local kernels; else None.
        """
        summary = self.summarise(chunks, times)
        every = zip(chunks, times, near, strict=True)
        return [self.answer(chunk, time, summary, neighbours) for chunk, time, neighbours in every]

    def summarise(self, chunks: Sequence[Tensor], times: Sequence[Tensor]) -> Summary | KeysValues:
        """Return the summary of all samples for self-attention."""
        normed = (self.self_norm(chunk, time) for chunk, time in zip(chunks, times, strict=True))
        return reduce(operator.add, map(self.self_attention.summarise, normed))

    def answer(self, x: Tensor, time: Tensor, summary: Any, neighbours: Neighbours | None) -> Tensor:
        """Return samples [B, N, dim] after they read the summary, and their neighbours if they have any."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        return x + self.feed_forward(x, time, neighbours)

    def feed_forward(self, x: Tensor, time: Tensor, neighbours: Neighbours | None) -> Tensor:
        normed = self.feed_norm(x, time)
        return self.feed(normed, neighbours) if neighbours is not None else self.feed(normed)


class DecoderBlock(EncoderBlock):
    """An encoder block with AdaLN → cross-attention to the conditioning tokens → residual in its middle.

    Args:
        token_dim: channels of the tokens; others as of `EncoderBlock`.
    """

    def __init__(
        self,
        dim: int,
        time_dim: int,
        build_attention: Callable[..., GlobalAttention],
        local_basis: int | None = None,
        *,
        token_dim: int,
    ) -> None:
        super().__init__(dim, time_dim, build_attention, local_basis)
        self.cross_norm = AdaLN(dim, time_dim)
        self.cross_attention: Any = build_attention(source_dim=token_dim)

    def forward(  # type: ignore[override]
        self,
        chunks: Sequence[Tensor],
        times: Sequence[Tensor],
        tokens: Tensor,
        near: Sequence[Neighbours | None],
    ) -> list[Tensor]:
        """Map chunks as `EncoderBlock` does; tokens: [B, T, token_dim]."""
        summary = self.summarise(chunks, times)
        conditioning = self.cross_attention.summarise(tokens)
        every = zip(chunks, times, near, strict=True)
        return [self.answer(chunk, time, summary, conditioning, neighbours) for chunk, time, neighbours in every]

    def answer(  # type: ignore[override]
        self, x: Tensor, time: Tensor, summary: Any, conditioning: Any, neighbours: Neighbours | None
    ) -> Tensor:
        """Return samples as `EncoderBlock` does; `conditioning` is the summary of the tokens for cross-attention."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        x = x + self.cross_attention.read(self.cross_norm(x, time), conditioning)
        return x + self.feed_forward(x, time, neighbours)
