"""Time and memory of R2IR and R2ID, of peer networks and of the baseline, side by side in one run.

    python benchmarks/speed/run.py

writes docs/benchmarks.md. The results folder keeps each measured section by kind of device, with its command and
commit. The page shows all sections in that folder; --only measures some of them again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cases
import decoding
import denoising
import digits
import trainings
from measuring import FEW, commit, machine, synchronize

from r2id.evaluation.report import in_words
from r2id.files.atomic import write_whole

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "benchmarks.md"
COMMAND = ("python", "benchmarks/speed/run.py")
STEP_SIDES = (8, 16, 32, 64, 128, 256)
DECODE_SIDES = (64, 256, 512, 1024, 4096)
SPLAT_SIDES = (256, 1024)
FILE_SIDES = (1024, 4096, 16384)
ROUNDS = 7

Section = Callable[[argparse.Namespace], dict[str, Any]]

SECTIONS: dict[str, tuple[Section, Callable[[dict[str, Any]], list[str]]]] = {
    "step": (denoising.measure_step, denoising.show_step),
    "decode": (decoding.measure_decode, decoding.show_decode),
    "splats": (decoding.measure_splats, decoding.show_splats),
    "training": (trainings.measure_training, trainings.show_training),
    "samplers": (digits.measure_samplers, digits.show_samplers),
    "start": (digits.measure_start, digits.show_start),
    "rgb": (trainings.measure_rgb, trainings.show_rgb),
    "roofline": (denoising.measure_roofline, denoising.show_roofline),
    "compiled": (denoising.measure_compiled, denoising.show_compiled),
    "gpu": (trainings.measure_gpu, trainings.show_gpu),
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist", help="MNIST, to judge the samplers: a folder, or a hub id")
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS), help="sections to measure")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="page to write")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    parser.add_argument("--step-sides", type=int, nargs="+", default=STEP_SIDES)
    parser.add_argument("--decode-sides", type=int, nargs="+", default=DECODE_SIDES)
    parser.add_argument("--splat-sides", type=int, nargs="+", default=SPLAT_SIDES)
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
