"""Classifier-free guidance in an interval of times."""

from __future__ import annotations

import math

from torch import Tensor

from r2id.errors import InputError


def is_guided(time: float, scale: float, interval: tuple[float, float]) -> bool:
    """Whether guidance changes the prediction at a time from 0, clean, to 1, noise."""
    return scale != 1 and interval[0] <= time <= interval[1]


def guide(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """The prediction moved away from the unconditional one (Ho & Salimans 2022, arXiv:2207.12598); 1 leaves it."""
    return unconditional + scale * (conditional - unconditional)


def check_guidance(scale: float, interval: tuple[float, float]) -> None:
    """Raises InputError for a strength that is no number, or an interval that is none of times."""
    if not math.isfinite(scale):
        raise InputError(f"guidance_scale is {scale}; it must be a finite number")
    if not 0 <= interval[0] <= interval[1] <= 1:
        raise InputError(f"guidance_interval is {interval}; it must be two times from 0 to 1, lower first")
