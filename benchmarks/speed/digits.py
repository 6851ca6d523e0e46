"""Sections on whole uses: from labels to pictures by sampler, and commands with the start of Python."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

import cases
import diffusers
import torch
from measuring import ratio, take_turns

from r2id.data.loading import load_images
from r2id.evaluation.generation import Reference, load_judge, measure_generation
from r2id.files.markdown import markdown_table
from r2id.runtime.precision import autocast

PUBLISHED = ("DDIM", 100, (0.0, 1.0))
SAMPLERS = {
    "DDIM": diffusers.DDIMScheduler,
    "DPM-Solver++": diffusers.DPMSolverMultistepScheduler,
    "UniPC": diffusers.UniPCMultistepScheduler,
}
CHOICES: tuple[tuple[str, int, tuple[float, float]], ...] = (
    PUBLISHED,
    ("DDIM", 100, (0.3, 0.8)),
    ("DDIM", 25, (0.3, 0.8)),
    ("DPM-Solver++", 12, (0.3, 0.8)),
    ("DPM-Solver++", 20, (0.3, 0.8)),
    ("UniPC", 8, (0.3, 0.8)),
    ("UniPC", 12, (0.3, 0.8)),
    ("UniPC", 20, (0.0, 1.0)),
    ("UniPC", 20, (0.3, 0.8)),
)


def sampling(steps: int, interval: tuple[float, float]) -> dict[str, Any]:
    """How to sample, as arguments of the pipeline's call."""
    return {"num_inference_steps": steps, "guidance_scale": cases.GUIDANCE, "guidance_interval": interval}


def measure_samplers(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for 100 digits, and the quality of more of them, by sampler, steps and interval of the guidance."""
    pipeline = cases.ours()
    pipeline.set_progress_bar_config(disable=True)
    data = load_images(options.data, "test", image_size=(32, 32))
    judge = load_judge(pipeline.device)
    references = {(32, 32): Reference.of(judge, data, (32, 32))}
    labels, config = list("0123456789") * 10, pipeline.scheduler.config

    def generate(choice: tuple[str, int, tuple[float, float]], precision: str) -> Callable[[], None]:
        name, steps, interval = choice

        def work() -> None:
            pipeline.scheduler = SAMPLERS[name].from_config(config)
            generator = torch.Generator().manual_seed(0)
            with autocast(precision, cases.DEVICE):
                pipeline(labels, (8, 8), generator=generator, **sampling(steps, interval))

        return work

    def plain() -> None:
        with cases.plainly(), cases.separate_branches():
            generate(PUBLISHED, "fp32")()

    alternatives = {"plain": plain} | {str(number): generate(choice, "bf16") for number, choice in enumerate(CHOICES)}
    # A round takes minutes, so two steps stand in for the warm-up round.
    generate(("DDIM", 2, (0.0, 1.0)), "bf16")()
    seconds = take_turns(alternatives, min(2, options.rounds), idle=0)
    quality = []
    for name, steps, interval in CHOICES:
        pipeline.scheduler = SAMPLERS[name].from_config(config)
        arguments = sampling(steps, interval)
        with autocast("bf16", cases.DEVICE):
            row = next(
                measure_generation(pipeline, judge, references, (8, 8), count=options.count, seed=0, sampling=arguments)
            )
        quality.append(
            {name: float(row[name]) for name in ("accuracy", "Fréchet", "recall", "intra-class distance ratio")}
        )
    return {"count": options.count, "guidance_scale": cases.GUIDANCE, "seconds": seconds, "quality": quality}


def show_samplers(result: dict[str, Any]) -> list[str]:
    rows, plain = [], result["seconds"]["plain"]
    for number, ((name, steps, interval), quality) in enumerate(zip(CHOICES, result["quality"], strict=True)):
        seconds = result["seconds"][str(number)]
        rows.append(
            [
                f"{name}, {steps} steps, guidance in {interval[0]:g}–{interval[1]:g}",
                f"{median(seconds):.2f}",
                str(ratio(plain, seconds)),
                f"{100 * quality['accuracy']:.1f}",
                *(f"{quality[key]:.2f}" for key in ("Fréchet", "recall", "intra-class distance ratio")),
            ]
        )
    heads = [
        "",
        "seconds",
        "speed-up over the baseline",
        "accuracy %",
        "Fréchet",
        "recall",
        "intra-class distance ratio",
    ]
    return [
        "## From labels to pictures",
        "",
        "100 digits are generated at 8×8 latents and decoded at 32×32, in one batch, in bfloat16, with guidance scale "
        f"{result['guidance_scale']:g}. The baseline, 100 steps of DDIM as published, took {median(plain):.1f} s. "
        f"`r2id evaluate` measured the quality of {result['count']} digits, with the weights of the commit below:",
        "",
        *markdown_table(heads, rows),
    ]


def measure_start(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of whole commands, including the start of Python."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            "r2id --help",
            "r2id sample --labels 3 --output digits",
            'r2id sample --model emoji --prompt "red heart" --size 512x512 --precision bf16 --output heart.png',
            "r2id sample --model flowers --class sunflower --size 512x512 --precision bf16 --output sunflower.png",
        ]
        on_device = {line: ["--device", cases.DEVICE] if " sample " in line else [] for line in lines}
        commands = {'python -c "import torch, diffusers"': ["-c", "import torch, diffusers"]}
        commands |= {line: ["-m", *shlex.split(line), *on_device[line]] for line in lines}

        def command(arguments: list[str]) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder)

        return take_turns({name: command(arguments) for name, arguments in commands.items()}, options.rounds)


def show_start(result: dict[str, Any]) -> list[str]:
    bare = next(iter(result.values()))
    rows = [[f"`{name}`", f"{median(one):.2f}", str(ratio(one, bare))] for name, one in result.items()]
    return ["## Command line", "", *markdown_table(["", "seconds", "relative to the import"], rows)]
