"""Global softmax attention, whose cost grows with the square of the samples (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from r2id.networks.attention import GlobalAttention

FEW_SAMPLES = 1024
"""Sources of up to so many samples have their weights in memory when a CPU learns. The gradients of torch's fused
attention (tried: 2.13) take some twenty times as long there, for 64 samples."""


class KeysValues(NamedTuple):
    """Keys and values of a source, [B, heads, N, d] each."""

    keys: Tensor
    values: Tensor

    def __add__(self, other: KeysValues) -> KeysValues:  # type: ignore[override]
        """Return those of both sources, so that a source can be read in chunks."""
        return KeysValues(*(torch.cat(pair, dim=2) for pair in zip(self, other, strict=True)))


class SoftmaxAttention(GlobalAttention):
    """Global multi-head attention, softmax(QKᵀ/√d)·V.

    It is a weighted average, as `LinearAttention` is. So a denser grid of the same picture changes the answers by its
    finer detail only. Arguments are those of `GlobalAttention`.
    """

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False, source_dim: int | None = None) -> None:
        super().__init__(dim, num_heads, source_dim, qk_norm)

    def summarise(self, source: Tensor) -> KeysValues:
        """Return keys and values of a source [B, N, source_dim]."""
        key, value = (self._heads(part) for part in self.to_key_value(source).chunk(2, -1))
        return KeysValues(self.key_norm(key), value)

    def read(self, query: Tensor, summary: KeysValues) -> Tensor:
        """Return answers [B, M, dim] for queries [B, M, dim]."""
        heads = self.query_norm(self._heads(self.to_query(query)))
        keys, values = summary
        if heads.device.type == "cpu" and torch.is_grad_enabled() and keys.shape[2] <= FEW_SAMPLES:
            weights = (heads * heads.shape[-1] ** -0.5 @ keys.mT).softmax(dim=-1)
            answers = weights.to(values.dtype) @ values
        else:
            answers = functional.scaled_dot_product_attention(heads, keys, values)
        return self.to_out(answers.transpose(1, 2).flatten(-2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
