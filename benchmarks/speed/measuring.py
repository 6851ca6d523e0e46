"""Measuring on a noisy machine: alternatives take turns, and what counts is the ratio of their medians."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil
import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, and the quartiles of the ratios within each round."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g}–{self.high:.3g})"


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    """How many times as long one alternative took as another, from their seconds in the same rounds."""
    rounds = [one / other for one, other in zip(numerator, denominator, strict=True)]
    low, _, high = quantiles(rounds, n=4) if len(rounds) > 1 else (rounds[0],) * 3
    return Ratio(median(numerator) / median(denominator), low, high)


def take_turns(alternatives: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of every alternative in every round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(rounds + 1):
        for name, work in alternatives.items():
            gc.collect()
            synchronize()
            began = time.perf_counter()
            work()
            synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def synchronize() -> None:
    """Wait for a GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(case: str, *arguments: object) -> int:
    """Bytes that a case takes at its peak beyond what it held before, measured in a process of its own.

    Args:
        case: name of a function in cases.py that returns the work.
        arguments: of that function, in what JSON has.
    """
    command = [sys.executable, str(Path(__file__).with_name("memory.py")), json.dumps([case, *arguments])]
    # Freed memory goes back at once, or what one layer left would count for the next.
    quiet = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    finished = subprocess.run(command, capture_output=True, text=True, env=quiet)
    if finished.returncode:
        raise RuntimeError(f"measuring the memory of {case} {arguments} failed:\n{finished.stderr}")
    return int(finished.stdout.split()[-1])


def resident_peak(work: Work) -> int:
    """Bytes of resident memory at the peak of the work, beyond those before it. On a GPU, bytes allocated there."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    work()
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return peak - before


def machine() -> dict[str, str]:
    """What figures are measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown processor")
    packages = ("torch", "diffusers", "numpy", "Pillow")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores",
        "processor": processor,
        "Python": ".".join(map(str, sys.version_info[:3])),
        **{name: importlib.metadata.version(name) for name in packages},
    }
