"""The noise level of a grid by its density (design §2).

Independent noise averages out over an area, and does so more on denser grids. An area has the same noise on every grid
if the ratio of noise variance to signal variance is proportional to the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def shift_noise(alpha_bar: Tensor, ratio: float) -> Tensor:
    """Return ᾱ/(ᾱ + ratio·(1 − ᾱ)): the signal's share of the variance after the noise's grows by `ratio`.

    This multiplies (1 − ᾱ)/ᾱ by the ratio, so a ratio and its inverse undo each other.
    """
    return alpha_bar / (alpha_bar + ratio * (1 - alpha_bar))


def density(size: Sequence[int], reference_size: int | None) -> float:
    """Return samples per sample of the reference grid, `reference_size` along each axis; 1 without one."""
    return math.prod(size) / reference_size ** len(size) if reference_size else 1.0
