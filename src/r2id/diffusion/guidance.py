"""Classifier-free guidance in an interval of times."""

from __future__ import annotations

import math

from r2id.errors import InputError


def check_guidance(scale: float, interval: tuple[float, float]) -> None:
    """Raises InputError for a strength that is no number, or an interval that is none of times."""
    if not math.isfinite(scale):
        raise InputError(f"guidance_scale is {scale}; it must be a finite number")
    if not 0 <= interval[0] <= interval[1] <= 1:
        raise InputError(f"guidance_interval is {interval}; it must be two times from 0 to 1, lower first")
