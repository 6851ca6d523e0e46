"""Classifier-free guidance within an interval of times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.sizes import listed


def is_guided(time: float, scale: float, interval: tuple[float, float]) -> bool:
    """Return whether guidance changes the prediction at a time from 0 (clean) to 1 (noise)."""
    return scale != 1 and interval[0] <= time <= interval[1]


def guide(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Extrapolate from the unconditional to the conditional prediction (Ho & Salimans 2022, arXiv:2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


def check_guidance(scale: float, interval: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return both as numbers of Python. Raises InputError unless the scale is finite and the interval is two ordered
    times from 0 to 1."""
    scale, interval = listed(scale), listed(interval)
    if not isinstance(scale, Real) or not math.isfinite(scale):
        raise InputError(f"guidance_scale is {scale!r}; it must be a finite number")
    try:
        lower, upper = interval
        valid = 0 <= lower <= upper <= 1
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"guidance_interval is {interval!r}; it must be two times from 0 to 1, lower first")
    return scale, (lower, upper)
