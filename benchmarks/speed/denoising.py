"""Sections on one denoising step: by size of the latents, compiled, and against the machine's peak rates."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import cases
import roofline
from measuring import peak_memory, ratio, take_turns
from tables import (
    COMPILED_SIDES,
    difference,
    exponent,
    left_out,
    mebibytes_or_more,
    relative_or_more,
)
from torch._inductor import config as inductor

from r2id.evaluation.report import in_words
from r2id.files.markdown import markdown_table


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
        cells = relative_or_more(sides, name, "R2ID", (1, 2))
        rows.append([name, *cells, exponent(seconds)])
        memory.append([name, *mebibytes_or_more(sides, name), exponent(held)])
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
