"""How much noise there is at a timestep, on grids of any density (design §2)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from r2id.geometry.density import density, shift_noise
from r2id.geometry.sizes import Size


def shift_scheduler(scheduler: Any, ratio: float) -> Any:
    """A copy of a diffusers scheduler whose noise at every timestep is shifted as `shift_noise` does."""
    if ratio == 1:
        return scheduler
    alpha_bar = shift_noise(scheduler.alphas_cumprod.double(), ratio)
    alphas = alpha_bar.clone()
    alphas[1:] /= alpha_bar[:-1]
    return type(scheduler).from_config(scheduler.config, trained_betas=(1 - alphas).tolist())


def alpha_bar_at(scheduler: Any, timestep: Tensor) -> Tensor:
    """The signal's share of the variance at a timestep, between whole timesteps by interpolation."""
    table = scheduler.alphas_cumprod.to(timestep.device)
    below = timestep.float().floor().clamp(0, len(table) - 1)
    above = (below + 1).clamp(max=len(table) - 1)
    return torch.lerp(table[below.long()], table[above.long()], timestep.float() - below)


def cosine_alpha_bar(time: Tensor, size: Size, reference_size: int | None) -> Tensor:
    """cos²(πt/2) at times in [0, 1], shifted by the density of a grid of `size`: what is trained on."""
    unshifted = torch.cos(time * (math.pi / 2)).square()
    return shift_noise(unshifted, density(size, reference_size))
