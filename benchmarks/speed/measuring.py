"""Measuring on a noisy machine: alternatives take turns, and what counts is the ratio of their medians."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil
import torch

Work = Callable[[], object]


FEW = 5
"""Rounds below which quartiles say less than the least and the greatest, and how many there were."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, and the quartiles of the ratios within each round or, of few rounds, their range."""

    value: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        count = f", of {self.rounds}" if self.rounds < FEW else ""
        return f"{self.value:.3g} ({self.low:.3g}–{self.high:.3g}{count})"


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    """How many times as long one alternative took as another, from their seconds in the same rounds."""
    rounds = [one / other for one, other in zip(numerator, denominator, strict=True)]
    low, _, high = quantiles(rounds, n=4) if len(rounds) >= FEW else (min(rounds), None, max(rounds))
    return Ratio(median(numerator) / median(denominator), low, high, len(rounds))


def take_turns(alternatives: dict[str, Work], rounds: int, idle: int = 1) -> dict[str, list[float]]:
    """Seconds of every alternative in every round, after `idle` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    with nothing_old_collected():
        for turn in range(idle + rounds):
            for name, work in alternatives.items():
                gc.collect()
                synchronize()
                began = time.perf_counter()
                work()
                synchronize()
                if turn >= idle:
                    seconds[name].append(time.perf_counter() - began)
    return seconds


@contextmanager
def nothing_old_collected() -> Iterator[None]:
    """The garbage collector looks through what is made from here on alone: all that libraries hold takes it a second
    each time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def synchronize() -> None:
    """Wait for a GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _Server:
    """A process that has imported everything and forks for each case: starting anew would take seconds each time."""

    def __init__(self) -> None:
        # Freed memory goes back at once, or what one layer left would count for the next. A GPU that was only looked
        # for in the usual way could not be used after a fork.
        quiet = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
        quiet["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("memory.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | quiet,
        )

    def ask(self, case: str, *arguments: object) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([case, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer.strip():
            raise RuntimeError(f"measuring the memory of {case} {arguments} failed; the error is above")
        return int(answer)


_server = functools.cache(_Server)


def peak_memory(case: str, *arguments: object) -> int:
    """Bytes that a case takes at its peak beyond those before it, measured in a process of its own.

    Args:
        case: name of a function in cases.py that returns the work.
        arguments: of that function, in what JSON has.
    """
    return _server().ask(case, *arguments)


def resident_peak(work: Work) -> int:
    """Resident memory at the peak of the work, beyond that before it; on a GPU, bytes allocated there."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        synchronize()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    work()
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return peak - before


def growth(measured: dict[int, float]) -> float:
    """Exponent of a quantity over samples, by side of a square: the slope of a line through the logarithms."""
    x = [2 * math.log(side) for side in measured]
    y = [math.log(value) for value in measured.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True))
    return above / sum((one - mean_x) ** 2 for one in x)


def extrapolate(measured: dict[int, float], side: int, powers: tuple[int, int]) -> float:
    """What side × side samples would take: a·nᵖ + b·n^q for n samples, through the two largest sides measured."""
    (near, first), (far, second) = sorted(measured.items())[-2:]
    (a, b), (c, d) = ([(one / side) ** (2 * power) for power in powers] for one in (near, far))
    determinant = a * d - b * c
    return (first * d - second * b + second * a - first * c) / determinant


def machine() -> dict[str, str]:
    """What figures are measured on."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    cpu = {name.strip(): value.strip() for name, value in reversed(lines)}
    # Under virtualisation the name may say little; family and model tell the generation.
    numbers = " ".join(f"{name.removeprefix('cpu ')} {cpu[name]}" for name in ("cpu family", "model") if name in cpu)
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    features = ", ".join(name for name in known if name in cpu.get("flags", "").split())
    packages = ("torch", "diffusers", "numpy", "Pillow")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores",
        "processor": f"{cpu.get('model name', platform.machine())} ({numbers}; {features})",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def commit() -> str | None:
    """The commit that is measured, and whether its code was changed since; None outside of a repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "*.py", f"{here.parents[1]}/src")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
