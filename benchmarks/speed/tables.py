"""Which cases are measured at which size, and the cells of their tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import cases
import numpy
from measuring import extrapolate, growth, ratio, take_turns

COMPILED_SIDES = (16, 64)
"""A compilation takes a minute or more for every size."""
LARGEST = {"DiT": 128, "R2IR, baseline": 1024}
"""The largest side measured of alternatives that would take minutes or exceed the memory beyond it."""


def left_out(method: str, side: int) -> bool:
    """Whether a case is not measured, for its time or memory; the page extrapolates it or leaves it empty."""
    if method == "R2ID, compiled":
        return side not in COMPILED_SIDES
    return side > LARGEST.get(method, sys.maxsize)


def seconds_of(case: Callable[[str, int], cases.Work], methods: Sequence[str], side: int, rounds: int) -> dict:
    """Seconds of each method at one size, measured in turns."""
    return take_turns({name: case(name, side) for name in methods if not left_out(name, side)}, rounds)


def difference(half: numpy.ndarray, single: numpy.ndarray) -> dict[str, float]:
    """The largest and the mean difference of two results, and the spread of the second."""
    apart = numpy.abs(half.astype(float) - single)
    return {"largest": float(apart.max()), "mean": float(apart.mean()), "spread": float(single.std())}


def relative(seconds: dict[str, list[float]], name: str, base: str) -> str:
    if name == base:
        milliseconds = 1000 * median(seconds[name])
        return f"1 ({milliseconds:.0f} ms)" if milliseconds >= 100 else f"1 ({milliseconds:.3g} ms)"
    return str(ratio(seconds[name], seconds[base]))


def relative_or_more(sides: Mapping[int, Any], name: str, base: str, powers: tuple[int, int]) -> list[str]:
    """`relative` at every size, extrapolated beyond the largest measured size of the method."""
    known = {side: median(one["seconds"][name]) for side, one in sides.items() if name in one["seconds"]}
    cells = []
    for side, one in sides.items():
        if side in known:
            cells.append(relative(one["seconds"], name, base))
        elif name in LARGEST and len(known) > 1:
            times = extrapolate(known, side, powers) / median(one["seconds"][base])
            cells.append(f"≈ {times:.3g}")
        else:
            cells.append("")
    return cells


def mebibytes(count: float | None) -> str:
    return "" if count is None else f"{count / 2**20:.0f}"


def mebibytes_or_more(sides: Mapping[int, Any], name: str) -> list[str]:
    """Memory at every size, extrapolated beyond the largest measured size of the method."""
    known = {side: one["memory"][name] for side, one in sides.items() if name in one["memory"]}
    extrapolated = name in LARGEST and len(known) > 1
    return [
        mebibytes(known[side])
        if side in known
        else f"≈ {mebibytes(extrapolate(known, side, (0, 1)))}"
        if extrapolated
        else ""
        for side in sides
    ]


def exponent(measured: Mapping[int, float]) -> str:
    """The scaling exponent from 32 × 32 on; empty with fewer than two sizes."""
    large = {side: value for side, value in measured.items() if side >= 32}
    return f"{growth(large):.2f}" if len(large) > 1 else ""
