"""The parts that both networks are built from. Every norm is over one sample's channels, never over the image."""

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
    """x / √(mean x²) · weight. Under autocast, torch's own would go through float32, with a warning."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        scale = x.shape[-1] ** 0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
        return x * scale * self.weight.to(x.dtype)


class MLPBlock(nn.Sequential):
    """Linear to `ratio` × dim, GELU, linear back, on each sample alone."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


class CrossBlock(nn.Module):
    """x ← x + attention(norm(x), source); x ← x + feed-forward(norm(x)), with global linear attention.

    The source is read only through its `Summary`, so queries can be answered one by one.
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
    """The same, attending to its own input."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x: [B, N, dim] → [B, N, dim]."""
        x_norm = self.attention_norm(x)
        x = x + self.attention(x_norm, x_norm)
        return x + self.feed(self.feed_norm(x))


class PointBlock(nn.Module):
    """x ← x + feed-forward(norm(x)): sees one sample and nothing else."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.feed = MLPBlock(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.feed(self.norm(x))


class TimeEmbedding(nn.Module):
    """Continuous time, from the signal's share of the variance ᾱ of a sample and of an area, as a vector.

    The angle t = (2/π)·arccos √ᾱ, 0 for a clean image and 1 for pure noise, moves evenly along the cosine
    schedule; both angles and their Fourier features at frequencies π·2^k, k = −1 … num_frequencies − 2, go through an
    MLP.
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
    """AdaLN: a LayerNorm whose scale and shift come from the time embedding (Peebles & Xie 2023, arXiv:2212.09748)."""

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
    """AdaLN → self-attention → residual; AdaLN → feed-forward → residual. Composition, without conditioning.

    Samples know of each other only through the summary: `answer` treats each on its own. A block is called as a whole
    and never by its parts: where weights are spread over processes, that is when they come together.
    """

    def __init__(self, dim: int, num_heads: int, feature_map: FeatureMap, time_dim: int) -> None:
        super().__init__()
        self.self_norm = AdaLN(dim, time_dim)
        self.self_attention = LinearAttention(dim, num_heads, feature_map)
        self.feed_norm = AdaLN(dim, time_dim)
        self.feed = MLPBlock(dim)

    def forward(self, chunks: Sequence[Tensor], time: Tensor) -> list[Tensor]:
        """chunks: samples [B, N, dim], all of them or in parts; time: as for AdaLN → the same parts."""
        summary = self.summarise(chunks, time)
        return [self.answer(chunk, time, summary) for chunk in chunks]

    def summarise(self, chunks: Sequence[Tensor], time: Tensor) -> Summary:
        """What all samples together tell each of them."""
        return reduce(operator.add, (self.self_attention.summarise(self.self_norm(chunk, time)) for chunk in chunks))

    def answer(self, x: Tensor, time: Tensor, summary: Summary) -> Tensor:
        """Samples [B, N, dim] once they have read the summary of all."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        return x + self.feed(self.feed_norm(x, time))


class DecoderBlock(EncoderBlock):
    """An encoder block with AdaLN → cross-attention to the conditioning tokens → residual between its two halves."""

    def __init__(self, dim: int, num_heads: int, feature_map: FeatureMap, time_dim: int, token_dim: int) -> None:
        super().__init__(dim, num_heads, feature_map, time_dim)
        self.cross_norm = AdaLN(dim, time_dim)
        self.cross_attention = LinearAttention(dim, num_heads, feature_map, token_dim)

    def forward(self, chunks: Sequence[Tensor], time: Tensor, tokens: Tensor) -> list[Tensor]:  # type: ignore[override]
        """The same; tokens: [B, T, token_dim]."""
        summary = self.summarise(chunks, time)
        conditioning = self.cross_attention.summarise(tokens)
        return [self.answer(chunk, time, summary, conditioning) for chunk in chunks]

    def answer(self, x: Tensor, time: Tensor, summary: Summary, conditioning: Summary) -> Tensor:  # type: ignore[override]
        """The same; `conditioning` is the cross-attention's summary of the tokens."""
        x = x + self.self_attention.read(self.self_norm(x, time), summary)
        x = x + self.cross_attention.read(self.cross_norm(x, time), conditioning)
        return x + self.feed(self.feed_norm(x, time))
