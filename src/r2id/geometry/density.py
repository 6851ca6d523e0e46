"""Noise whose strength belongs to the picture, not to the grid that samples it (design §2).

Independent noise on every sample averages out over an area the more, the denser the samples. So that an area is as
noisy on every grid, a denser grid needs more noise per sample: a variance, relative to the signal's, in proportion to
the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def shift_noise(alpha_bar: Tensor, ratio: float) -> Tensor:
    """ᾱ/(ᾱ + ratio·(1 − ᾱ)): the signal's share of the variance once the noise's is `ratio` times as large.

    (1 − ᾱ)/ᾱ is multiplied by the ratio, so a ratio and its inverse undo each other.
    """
    return alpha_bar / (alpha_bar + ratio * (1 - alpha_bar))


def density(size: Sequence[int], reference_size: int | None) -> float:
    """Samples of a grid for every sample of the reference grid, of `reference_size` along each axis; 1 without one."""
    return math.prod(size) / reference_size ** len(size) if reference_size else 1.0
