"""Sections on training steps, the preset for RGB pictures, and a GPU's training time."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import cases
import roofline
from measuring import peak_memory, ratio, take_turns

from r2id.evaluation.report import in_words
from r2id.files.markdown import markdown_table
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS

NETWORKS = {"R2IR": RESAMPLER_PRESETS["mnist"], "R2ID": DIFFUSER_PRESETS["mnist"]}
MODES = ("default", "max-autotune-no-cudagraphs", "reduce-overhead")
"""Modes of torch.compile; the last uses CUDA graphs."""


def measure_training(options: argparse.Namespace) -> dict[str, Any]:
    """Time of a training step of both networks."""
    return {
        name: take_turns({kind: cases.training_step(kind, 128) for kind in (name, f"{name}, baseline")}, options.rounds)
        for name in ("R2IR", "R2ID")
    }


def show_training(result: dict[str, Any]) -> list[str]:
    rows = []
    for name, seconds in result.items():
        fast, plain = seconds[name], seconds[f"{name}, baseline"]
        speeds = (f"{128 / median(one):.0f}" for one in (fast, plain))
        rows.append([name, *speeds, str(ratio(plain, fast))])
    return [
        "## Training",
        "",
        "One optimiser step on 128 images of 32×32 at 8×8 latents. Preset `mnist` trains compiled in bfloat16, R2IR on "
        "half of the rows and columns. The baseline trains eagerly in float32 on all pixels:",
        "",
        *markdown_table(["", "images/s, preset", "images/s, baseline", "speed-up"], rows),
    ]


def measure_rgb(options: argparse.Namespace) -> dict[str, Any]:
    """Time, memory and operations of preset rgb-16x."""
    result: dict[str, Any] = {
        "parameters": dict(zip(("R2IR", "R2ID"), map(cases.parameters, cases.rgb_networks()), strict=False)),
        "batch": 4,
        "work": {},
    }
    for name in cases.RGB:
        work = cases.rgb(name, result["batch"])
        result["work"][name] = {
            "operations": roofline.count_operations(work),
            "seconds": take_turns({name: work}, min(3, options.rounds))[name],
            "memory": peak_memory("rgb", name, result["batch"]),
        }
        del work
    return result


def show_rgb(result: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{name} {count / 1e6:.0f} million" for name, count in result["parameters"].items())
    batch = result["batch"]
    rows = [
        [
            name,
            f"{median(one['seconds']) / batch:.2g}",
            f"{one['operations'] / batch / 1e12:.3f}",
            f"{one['memory'] / 2**30:.1f}",
        ]
        for name, one in result["work"].items()
    ]
    return [
        "## RGB pictures at a sixteenth",
        "",
        f"Preset `rgb-16x` has 256×256 pixels and 16×16 latents of 768 channels. Parameters: {counts}. A batch has "
        f"{batch} pictures, in bfloat16, not compiled. Memory excludes the weights; in training it includes gradients "
        "and the state of AdamW:",
        "",
        *markdown_table(["", "seconds per picture", "10¹² operations per picture", "peak memory, GiB"], rows),
    ]


def measure_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """Measurements for GPUs only: compiled steps at the largest latents, and the training time of the preset."""
    side = max(options.step_sides)
    works = {"eager": cases.guided_step("R2ID", side)} | {mode: cases.compiled_step(side, mode) for mode in MODES}
    steps = take_turns(works, options.rounds, idle=3)
    batch = RESAMPLER_PRESETS["mnist"].batch_size
    training = {name: take_turns({name: cases.training_step(name, batch)}, options.rounds)[name] for name in NETWORKS}
    return {"side": side, "steps": steps, "training": training}


def show_gpu(result: dict[str, Any]) -> list[str]:
    steps, side = result["steps"], result["side"]
    rows = [[name, f"{1 / median(one):.1f}", str(ratio(steps["eager"], one))] for name, one in steps.items()]
    minutes = {name: NETWORKS[name].steps * median(one) / 60 for name, one in result["training"].items()}
    each = in_words(f"{name} {NETWORKS[name].steps} steps, {one:.1f} minutes" for name, one in minutes.items())
    return [
        "## Compiled steps and training time",
        "",
        f"Guided steps at {side}×{side} latents in bfloat16, by mode of torch.compile:",
        "",
        *markdown_table(["", "steps/s", "speed-up over eager"], rows),
        "",
        f"Training time of preset `mnist`: {each}, ≈{sum(minutes.values()):.1f} minutes together. The times are "
        "extrapolated from single steps at 8×8 latents, without compiling and saving. Some grids of the preset have "
        "fewer samples, and some more.",
    ]
