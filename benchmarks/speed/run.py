"""Time and memory of R2IR and R2ID, of peer networks and of the baseline, side by side in one run.

    python benchmarks/speed/run.py

writes docs/benchmarks.md. The results folder keeps each measured section by kind of device, with its command and
commit. The page shows all sections in that folder; --only measures some of them again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cases
import diffusers
import numpy
import roofline
import torch
from measuring import FEW, commit, extrapolate, growth, machine, peak_memory, ratio, synchronize, take_turns
from torch._inductor import config as inductor

from r2id.data.loading import load_images
from r2id.evaluation.generation import Reference, load_judge, measure_generation
from r2id.evaluation.report import in_words
from r2id.files.atomic import write_whole
from r2id.files.markdown import markdown_table
from r2id.runtime.precision import autocast
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "benchmarks.md"
COMMAND = ("python", "benchmarks/speed/run.py")

STEP_SIDES = (8, 16, 32, 64, 128, 256)
DECODE_SIDES = (64, 256, 512, 1024, 4096)
FILE_SIDES = (1024, 4096, 16384)
ROUNDS = 7
COMPILED_SIDES = (16, 64)
"""A compilation takes a minute or more for every size."""
LARGEST = {"DiT": 128, "R2IR, baseline": 1024}
"""The largest side measured of alternatives that would take minutes or exceed the memory beyond it."""

Section = Callable[[argparse.Namespace], dict[str, Any]]
Rows = list[list[str]]


def left_out(method: str, side: int) -> bool:
    """Whether a case is not measured, for its time or memory; the page extrapolates it or leaves it empty."""
    if method == "R2ID, compiled":
        return side not in COMPILED_SIDES
    return side > LARGEST.get(method, sys.maxsize)


def seconds_of(case: Callable[[str, int], cases.Work], methods: Sequence[str], side: int, rounds: int) -> dict:
    """Seconds of each method at one size, measured in turns."""
    return take_turns({name: case(name, side) for name in methods if not left_out(name, side)}, rounds)


@inductor.patch(force_disable_caches=True)
def measure_step(options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of a guided step by latent size, differences by bfloat16, and seconds of a compilation without
    cache."""
    pipeline = cases.ours()
    networks = {"R2ID": pipeline.diffuser, "DiT": cases.dit(8), "Sana": cases.sana(8), "UNet": cases.unet(8)}
    result: dict[str, Any] = {
        "parameters": {name: cases.parameters(one) for name, one in networks.items()},
        "compiling": {},
        "errors": {},
        "sides": {},
    }
    for side in options.step_sides:
        works = {name: cases.guided_step(name, side) for name in cases.STEPS if not left_out(name, side)}
        if "R2ID, compiled" in works:
            result["compiling"][side] = take_turns({"": works["R2ID, compiled"]}, 1, idle=0)[""][0]
        seconds = take_turns(works, options.rounds if side < 128 else min(2, options.rounds))
        held = [name for name in works if name != "R2ID, compiled"]
        memory = {name: peak_memory("guided_step", name, side) for name in held}
        result["sides"][side] = {"seconds": seconds, "memory": memory}
        half, single = (works[name]().float().cpu().numpy() for name in ("R2ID", "R2ID, float32"))
        result["errors"][side] = difference(half, single)
    return result


def difference(half: numpy.ndarray, single: numpy.ndarray) -> dict[str, float]:
    """The largest and the mean difference of two results, and the spread of the second."""
    apart = numpy.abs(half.astype(float) - single)
    return {"largest": float(apart.max()), "mean": float(apart.mean()), "spread": float(single.std())}


def show_step(result: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{name} {count / 1e6:.1f} million" for name, count in result["parameters"].items())
    sides = {int(side): one for side, one in result["sides"].items()}
    errors, compiling = result["errors"], result["compiling"]
    heads = [f"{side}×{side}" for side in sides]
    rows, memory = [], []
    for name in cases.STEPS:
        seconds = {side: median(one["seconds"][name]) for side, one in sides.items() if name in one["seconds"]}
        held = {side: one["memory"][name] for side, one in sides.items() if name in one["memory"]}
        # Quadratic attention also has a linear term in time; its matrix is never held as a whole.
        cells = _times_or_more(sides, name, "R2ID", (1, 2))
        rows.append([name, *cells, _growth(seconds)])
        memory.append([name, *_mebibytes_or_more(sides, name), _growth(held)])
    compiled = " and ".join(f"{seconds:.0f} s at {side}×{side}" for side, seconds in compiling.items())
    return [
        "## One guided denoising step",
        "",
        "A step runs both branches of the guidance on one 64-channel latent. It uses bfloat16, unless a row says "
        f"float32; the baseline uses float32. Parameters: {counts}.",
        "",
        "Time relative to R2ID, and its scaling exponent in the number of samples from 32×32 on:",
        "",
        *markdown_table(["", *heads, "scaling exponent"], rows),
        "",
        "Peak memory beyond the weights, in MiB, and its scaling exponent from 32×32 on. "
        "The libraries take some 10 to 30 MiB of it in the first call, at any size:",
        "",
        *markdown_table(["", *heads, "scaling exponent"], memory),
        "",
        "≈: not measured, because a step would take minutes. The figure is extrapolated from the two largest measured "
        "sizes: time as a·n + b·n² of n samples, memory as a + b·n. Scaling exponents use measured sizes only.",
        "",
        f"R2ID is compiled at {in_words(f'{side}×{side}' for side in COMPILED_SIDES)} only, because each size takes a "
        "compilation" + (f" ({compiled})" if compiled else "") + ". Its memory was not measured. "
        "A scaling exponent needs two sizes.",
        "",
        "Differences by bfloat16 in the prediction of one step, for noise at ᾱ = 0.3:",
        "",
        *markdown_table(
            ["", *heads],
            [
                ["largest difference", *(f"{one['largest']:.2g}" for one in errors.values())],
                ["mean difference", *(f"{one['mean']:.2g}" for one in errors.values())],
                ["standard deviation of the prediction", *(f"{one['spread']:.2g}" for one in errors.values())],
            ],
        ),
    ]


def measure_decode(options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of decoding, of rendering a region of a huge picture, and of encoding a large image."""
    resampler, peer = cases.ours().resampler, cases.autoencoder()
    result: dict[str, Any] = {
        "parameters": {
            "decoder": {
                "R2IR": cases.parameters(resampler.decoder),
                "AutoencoderKL": cases.parameters(peer.decoder, peer.post_quant_conv),
            },
            "encoder": {
                "R2IR": cases.parameters(resampler.encoder),
                "AutoencoderKL": cases.parameters(peer.encoder, peer.quant_conv),
            },
        },
        "errors": {},
        "sides": {},
    }
    for side in options.decode_sides:
        rounds = options.rounds if side < 4096 else min(2, options.rounds)
        seconds = seconds_of(cases.decode, list(cases.DECODERS), side, rounds)
        memory = {name: peak_memory("decode", name, side) for name in seconds}
        result["sides"][side] = {"seconds": seconds, "memory": memory}
        half, single = (cases.decode(name, side)() for name in ("R2IR", "R2IR, float32"))
        result["errors"][side] = difference(half, single.astype(float))
    result["files"] = {side: peak_memory("decode_to_file", side) for side in options.file_sides}
    result["render"] = take_turns({kind: cases.render(kind) for kind in ("region", "whole")}, options.rounds)
    methods = ["R2IR", "R2IR, float32", "R2IR, baseline", "AutoencoderKL"]
    side = options.encode_side
    encoders = take_turns({name: cases.encode(name, side) for name in methods}, min(3, options.rounds))
    held = {name: peak_memory("encode", name, side) for name in methods}
    result["encode"] = {"side": side, "seconds": encoders, "memory": held}
    return result


def show_decode(result: dict[str, Any]) -> list[str]:
    render, encode, errors = result["render"], result["encode"], result["errors"]
    sides = {int(side): one for side, one in result["sides"].items()}
    heads = [f"{side}×{side}" for side in sides]
    rows = [[name, *_times_or_more(sides, name, "R2IR", (0, 1))] for name in cases.DECODERS]
    memory = [[name, *_mebibytes_or_more(sides, name)] for name in cases.DECODERS]
    rows_encode = [
        [name, _times(encode["seconds"], name, "R2IR"), _mebibytes(encode["memory"][name])]
        for name in encode["seconds"]
    ]
    counts = {
        part: ", ".join(f"{name} {count / 1e6:.2f} million" for name, count in networks.items())
        for part, networks in result["parameters"].items()
    }
    region, tiles = median(render["region"]), (16384 // 256) ** 2
    return [
        "## Decoding and encoding",
        "",
        "R2IR decodes an 8×8 latent, AutoencoderKL its own of an eighth of the picture, and Lanczos enlarges 32×32 "
        "pixels. The result is 8-bit pixels. Decoding uses bfloat16, unless a row says float32; the baseline uses "
        f"float32. Parameters of the decoder: {counts['decoder']}. Parameters of the encoder: {counts['encoder']}.",
        "",
        "AutoencoderKL runs without the attention of its middle block, which is quadratic in the pixels. With it, "
        "AutoencoderKL would take longer. Time relative to R2IR:",
        "",
        *markdown_table(["", *heads], rows),
        "",
        "Peak memory beyond weights and latent, the picture included, in MiB. "
        "The libraries take some 15 to 25 MiB of it in the first call, at any size:",
        "",
        *markdown_table(["", *heads], memory),
        "",
        "≈: not measured, because it would not fit in memory. The figure is extrapolated from the two largest measured "
        "sizes, as a + b·n of n pixels.",
        "",
        "Differences by bfloat16 in the picture, in levels of 256:",
        "",
        *markdown_table(
            ["", *heads],
            [
                ["largest difference", *(f"{one['largest']:.0f}" for one in errors.values())],
                ["mean difference", *(f"{one['mean']:.2g}" for one in errors.values())],
            ],
        ),
        "",
        "Decoding to a file in tiles of 256×256, in bfloat16, as `r2id sample` does for pictures above 4096×4096:",
        "",
        *markdown_table(
            ["", *(f"{side}×{side}" for side in result["files"])],
            [["peak memory, MiB", *(_mebibytes(held) for held in result["files"].values())]],
        ),
        "",
        "A region of 256×256 from the middle of a 16384×16384 picture takes "
        f"{ratio(render['region'], render['whole'])} times as long as a 256×256 picture: "
        f"{1000 * region:.0f} ms. All {tiles} regions, the full cost of that picture, would take "
        f"≈{tiles * region:.0f} s by extrapolation.",
        "",
        f"Encoding an image of {encode['side']}×{encode['side']} to an 8×8 latent:",
        "",
        *markdown_table(["", "time relative to R2IR", "peak memory, MiB"], rows_encode),
    ]


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
        sample = ["-m", "r2id", "sample", "--labels", "3", "--output", f"{folder}/digits", "--device", cases.DEVICE]
        commands = {
            'python -c "import torch, diffusers"': ["-c", "import torch, diffusers"],
            "r2id --help": ["-m", "r2id", "--help"],
            "r2id sample --labels 3 --output digits": sample,
        }

        def command(arguments: list[str]) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

        return take_turns({name: command(arguments) for name, arguments in commands.items()}, options.rounds)


def show_start(result: dict[str, Any]) -> list[str]:
    bare = next(iter(result.values()))
    rows = [[f"`{name}`", f"{median(one):.2f}", str(ratio(one, bare))] for name, one in result.items()]
    return ["## Command line", "", *markdown_table(["", "seconds", "relative to the import"], rows)]


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


def measure_roofline(options: argparse.Namespace) -> dict[str, Any]:
    """Matrix operations and bytes of the largest step, and the peak rates of the machine."""
    side = max(options.step_sides)
    work = cases.guided_step("R2ID", side)
    counted = roofline.count(work)
    alternatives = {
        "step": work,
        "matmul": roofline.matmul(cases.DEVICE, cases.half_dtype()),
        "copy": roofline.copy(cases.DEVICE),
    }
    return {"side": side, **counted, "seconds": take_turns(alternatives, options.rounds)}


def show_roofline(result: dict[str, Any]) -> list[str]:
    step, matmul, copy = (median(result["seconds"][name]) for name in ("step", "matmul", "copy"))
    reached, rate = result["operations"] / step, roofline.MATMUL_OPERATIONS / matmul
    moved, bandwidth = result["bytes"] / step, roofline.COPY_BYTES / copy
    side = result["side"]
    return [
        "## Roofline",
        "",
        f"The peaks are those of a product of two {roofline.SIDE}×{roofline.SIDE} matrices in bfloat16 and of a copy, "
        f"in the same run. The step is guided, at {side}×{side} latents; its traffic includes caches:",
        "",
        *markdown_table(
            ["", "per step", "peak per second", "share of the peak"],
            [
                [
                    "operations of matrix products",
                    f"{result['operations'] / 1e12:.2f}·10¹²",
                    f"{rate / 1e12:.2f}·10¹²",
                    f"{reached / rate:.0%}",
                ],
                [
                    "memory traffic",
                    f"{result['bytes'] / 2**30:.0f} GiB",
                    f"{bandwidth / 2**30:.0f} GiB",
                    f"{moved / bandwidth:.0%}",
                ],
            ],
        ),
    ]


MODES = ("default", "max-autotune-no-cudagraphs", "reduce-overhead")
"""Modes of torch.compile; the last uses CUDA graphs."""


def measure_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """Measurements for GPUs only: compiled steps at the largest latents, and the training time of the preset."""
    side = max(options.step_sides)
    works = {"eager": cases.guided_step("R2ID", side)} | {mode: cases.compiled_step(side, mode) for mode in MODES}
    steps = take_turns(works, options.rounds, idle=3)
    batch = RESAMPLER_PRESETS["mnist"].batch_size
    training = {name: take_turns({name: cases.training_step(name, batch)}, options.rounds)[name] for name in NETWORKS}
    return {"side": side, "steps": steps, "training": training}


BATCHES = (1, 10, 100)
"""Pictures of a compiled step."""


@inductor.patch(force_disable_caches=True)
def measure_compiled(options: argparse.Namespace) -> dict[str, Any]:
    """Time of a step of several pictures, eager and compiled, and seconds of each first step, in one process."""
    result: dict[str, Any] = {"first": {}, "seconds": {}}
    for count in BATCHES:
        works = {kind: cases.batch_step(kind, count) for kind in ("eager", "compiled")}
        result["first"][count] = take_turns({"": works["compiled"]}, 1, idle=0)[""][0]
        result["seconds"][count] = take_turns(works, options.rounds)
    return result


def show_compiled(result: dict[str, Any]) -> list[str]:
    rows = [
        [
            count,
            f"{1000 * median(seconds['eager']):.3g}",
            str(ratio(seconds["compiled"], seconds["eager"])),
            f"{result['first'][count]:.0f}",
        ]
        for count, seconds in result["seconds"].items()
    ]
    return [
        "## Compiled steps",
        "",
        "Guided steps of the bundled digits at 8×8 latents in float32, eager and compiled as by `R2Pipeline.compile`. "
        "The first steps, which compile, ran one after the other in one process; later sizes share compilations:",
        "",
        *markdown_table(["pictures", "eager, ms", "compiled, relative to eager", "first step, s"], rows),
    ]


NETWORKS = {"R2IR": RESAMPLER_PRESETS["mnist"], "R2ID": DIFFUSER_PRESETS["mnist"]}


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


SECTIONS: dict[str, tuple[Section, Callable[[dict[str, Any]], list[str]]]] = {
    "step": (measure_step, show_step),
    "decode": (measure_decode, show_decode),
    "training": (measure_training, show_training),
    "samplers": (measure_samplers, show_samplers),
    "start": (measure_start, show_start),
    "rgb": (measure_rgb, show_rgb),
    "roofline": (measure_roofline, show_roofline),
    "compiled": (measure_compiled, show_compiled),
    "gpu": (measure_gpu, show_gpu),
}
ONLY = {"compiled": "cpu", "gpu": "cuda"}
"""Sections for one kind of device."""


def sections_of(device: str) -> list[str]:
    """Names of the sections for a kind of device."""
    return [name for name in SECTIONS if ONLY.get(name, device) == device]


def write_document(results: Path, document: Path) -> None:
    """Write a page of all measured sections, by kind of device."""
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page. Below each section stand its command, commit and machine. "
        "[Speed, choice by choice](speed.md) has the targets and the effect of single choices.",
        "",
        "- **Time.** The alternatives of a section ran in turns in one process, on a shared machine. They are compared "
        "by ratios of medians.",
        f"- **Brackets** hold the quartiles of the ratios of single rounds. With fewer than {FEW} rounds they hold the "
        "range and the number of rounds. A ratio of medians can lie outside them.",
        "- **Memory.** Each peak was measured in a process of its own.",
        "- **bfloat16.** float32 replaces it on a device without bfloat16 multiplication.",
        "- **Baseline.** The same networks as published: eager float32, all samples or pixels at once.",
    ]
    for device in ("cpu", "cuda"):
        measured = {name: results / f"{device}-{name}.json" for name in SECTIONS}
        measured = {name: path for name, path in measured.items() if path.is_file()}
        if not measured:
            continue
        lines += ["", f"# On {'a GPU' if device == 'cuda' else 'CPU'}"]
        missing = [name for name in sections_of(device) if name not in measured]
        lines += ["", f"Sections not measured: {in_words(missing)}."] if missing else []
        for name, path in measured.items():
            kept = json.loads(path.read_text())
            lines += ["", *SECTIONS[name][1](kept["result"])]
            about = ", ".join(f"{key} {value}" for key, value in kept["machine"].items())
            revision = f", commit {kept['commit']}" if kept["commit"] else ""
            lines += ["", f"*`{kept['command']}`{revision}; {about}*"]
    write_whole(document, lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _times(seconds: dict[str, list[float]], name: str, base: str) -> str:
    if name == base:
        milliseconds = 1000 * median(seconds[name])
        return f"1 ({milliseconds:.0f} ms)" if milliseconds >= 100 else f"1 ({milliseconds:.3g} ms)"
    return str(ratio(seconds[name], seconds[base]))


def _times_or_more(sides: Mapping[int, Any], name: str, base: str, powers: tuple[int, int]) -> list[str]:
    """`_times` at every size, extrapolated beyond the largest measured size of the method."""
    known = {side: median(one["seconds"][name]) for side, one in sides.items() if name in one["seconds"]}
    cells = []
    for side, one in sides.items():
        if side in known:
            cells.append(_times(one["seconds"], name, base))
        elif name in LARGEST and len(known) > 1:
            times = extrapolate(known, side, powers) / median(one["seconds"][base])
            cells.append(f"≈ {times:.3g}")
        else:
            cells.append("")
    return cells


def _mebibytes(count: float | None) -> str:
    return "" if count is None else f"{count / 2**20:.0f}"


def _mebibytes_or_more(sides: Mapping[int, Any], name: str) -> list[str]:
    """Memory at every size, extrapolated beyond the largest measured size of the method."""
    known = {side: one["memory"][name] for side, one in sides.items() if name in one["memory"]}
    extrapolated = name in LARGEST and len(known) > 1
    return [
        _mebibytes(known[side])
        if side in known
        else f"≈ {_mebibytes(extrapolate(known, side, (0, 1)))}"
        if extrapolated
        else ""
        for side in sides
    ]


def _growth(measured: Mapping[int, float]) -> str:
    """The scaling exponent from 32 × 32 on; empty with fewer than two sizes."""
    large = {side: value for side, value in measured.items() if side >= 32}
    return f"{growth(large):.2f}" if len(large) > 1 else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist", help="MNIST, to judge the samplers: a folder, or a hub id")
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS), help="sections to measure")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="page to write")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    parser.add_argument("--step-sides", type=int, nargs="+", default=STEP_SIDES)
    parser.add_argument("--decode-sides", type=int, nargs="+", default=DECODE_SIDES)
    parser.add_argument("--file-sides", type=int, nargs="+", default=FILE_SIDES)
    parser.add_argument("--encode-side", type=int, default=4096)
    parser.add_argument("--count", type=int, default=500, help="digits to judge each sampler by")
    options = parser.parse_args(arguments)
    command = shlex.join([*COMMAND, *(sys.argv[1:] if arguments is None else arguments)])
    revision = commit()
    for name in options.only:
        if name not in sections_of(cases.DEVICE):
            continue
        synchronize()
        made = {
            "command": command,
            "commit": revision,
            "machine": machine(),
            "result": SECTIONS[name][0](options),
        }
        kept = json.dumps(made, indent=1, ensure_ascii=False)
        path = options.results / f"{cases.DEVICE}-{name}.json"
        write_whole(path, lambda path, kept=kept: path.write_text(kept, encoding="utf-8"))
        write_document(options.results, options.document)


if __name__ == "__main__":
    main()
