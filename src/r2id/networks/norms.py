"""Norms over the channels of one sample, never over the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """x / √(mean x²) · weight. torch's own goes through float32 under autocast, with a warning."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        scale = x.shape[-1] ** 0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
        return x * scale * self.weight.to(x.dtype)
