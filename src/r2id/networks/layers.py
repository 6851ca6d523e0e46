"""Layers of both networks. Every norm runs over the channels of one sample, never over the image."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.geometry.fourier import fourier_features
from r2id.networks.attention import FeatureMap, LinearAttention, Summary


class RMSNorm(nn.RMSNorm):
    """x / √(mean x²) · weight. torch's own goes through float32 under autocast, with a warning."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        scale = x.shape[-1] ** 0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
        return x * scale * self.weight.to(x.dtype)


class MLPBlock(nn.Sequential):
    """Feed-forward of each sample: linear to `ratio` × dim, GELU, linear back."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


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


class EncoderBlock(nn.Module):
    """AdaLN → self-attention → residual; AdaLN → feed-forward → residual. It sees no conditioning.

    Samples interact through the summary only, and `answer` treats each on its own. Call a block as a whole, never its
    parts: weights that are sharded over processes are gathered for the call.
    """

    def __init__(self, dim: int, num_heads: int, feature_map: FeatureMap, time_dim: int) -> None:
        super().__init__()
        self.self_norm = AdaLN(dim, time_dim)
        self.self_attention = LinearAttention(dim, num_heads, feature_map)
        self.feed_norm = AdaLN(dim, time_dim)
        self.feed = MLPBlock(dim)

    def forward(self, chunks: Sequence[Tensor], times: Sequence[Tensor]) -> list[Tensor]:
        """Map chunks [B, N, dim], which hold all samples, to chunks of the same shapes; times: of each, as for
        AdaLN."""
        summary = self.summarise(chunks, times)
        return [self.answer(chunk, time, summary) for chunk, time in zip(chunks, times, strict=True)]

    def summarise(self, chunks: Sequence[Tensor], times: Sequence[Tensor]) -> Summary:
        """Return the summary of all samples for self-attention."""
        normed = (self.self_norm(chunk, time) for chunk, time in zip(chunks, times, strict=True))
        return reduce(operator.add, map(self.self_attention.summarise, normed))

    def answer(self, x: Tensor, time: Tensor, summary: Summary) -> Tensor:
        """Return samples [B, N, dim] after they read the summary."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        return x + self.feed(self.feed_norm(x, time))


class DecoderBlock(EncoderBlock):
    """An encoder block with AdaLN → cross-attention to the conditioning tokens → residual in its middle."""

    def __init__(self, dim: int, num_heads: int, feature_map: FeatureMap, time_dim: int, token_dim: int) -> None:
        super().__init__(dim, num_heads, feature_map, time_dim)
        self.cross_norm = AdaLN(dim, time_dim)
        self.cross_attention = LinearAttention(dim, num_heads, feature_map, token_dim)

    def forward(  # type: ignore[override]
        self, chunks: Sequence[Tensor], times: Sequence[Tensor], tokens: Tensor
    ) -> list[Tensor]:
        """Map chunks as `EncoderBlock` does; tokens: [B, T, token_dim]."""
        summary = self.summarise(chunks, times)
        conditioning = self.cross_attention.summarise(tokens)
        return [self.answer(chunk, time, summary, conditioning) for chunk, time in zip(chunks, times, strict=True)]

    def answer(self, x: Tensor, time: Tensor, summary: Summary, conditioning: Summary) -> Tensor:  # type: ignore[override]
        """Return samples as `EncoderBlock` does; `conditioning` is the summary of the tokens for cross-attention."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        x = x + self.cross_attention.read(self.cross_norm(x, time), conditioning)
        return x + self.feed(self.feed_norm(x, time))
