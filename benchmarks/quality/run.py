"""Measure the quality of the bundled weights, and write its tables.

`python benchmarks/quality/run.py --data MNIST` measures what has not been measured with the weights and the defaults of
today, hours of one core, and goes on where it was interrupted. The figures are kept beside this file and in
docs/gallery, as `r2id evaluate` writes them. The tables stand between comments in README.md, in docs/results.md and in
the card of the weights; what has not been measured with these weights is a dash there.

Weights that are to take their place are measured likewise with `--model FOLDER --results FOLDER`, and with
`--guidance-scale` if the default is to change with them, which writes no tables.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import measurements
import result_tables

from r2id.cli.models import load_pipeline
from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.plan import Plan
from r2id.evaluation.report import read_evaluation
from r2id.files.atomic import write_whole
from r2id.geometry.sizes import size_text
from r2id.runtime.precision import usable_precision
from r2id.runtime.progress import progress


def is_measured(folder: Path, plan: Plan, weights: int) -> bool:
    """Return whether a folder has all rows of a plan with every number filled in."""
    rows = measurements.kept_rows(folder, plan, weights)
    sections = {
        "reconstruction": plan.limit,
        "consistency": plan.consistency,
        "generation": plan.count,
        "denoising_error": plan.denoising_error,
    }
    return all(
        {row["latents"] for row in rows.get(section, ())} >= set(map(size_text, plan.latent_size))
        for section, number in sections.items()
        if number
    )


def measure(folder: Path, model: str, pipeline: R2Pipeline, data: ImageDataset, plan: Plan) -> None:
    """Measure a plan in bfloat16 where the device has it, after what an interrupted run of the same has left. What a
    folder keeps of other weights, of another plan or in the other precision is measured anew."""
    plan = replace(plan, precision=usable_precision("bf16", pipeline.device)).of(
        len(data), pipeline.generation_defaults
    )
    path = folder / "evaluation.json"
    begun = bool(measurements.kept_rows(folder, plan, pipeline.checksum()))
    resume = begun and read_evaluation(path)[0]["precision"] == plan.precision
    if path.is_file() and not resume:
        print(f"{path} was measured otherwise; measured anew")
    about = {"model": model, "split": "test", "image_size": None}
    evaluate(pipeline, data, plan, about=about, output=folder, resume=resume, progress=progress)


def write_tables(weights: int, root: Path = measurements.ROOT) -> None:
    """Put the tables where a checkout's documents have places for them, between a line that begins one and a line that
    ends it, both comments.

    Raises InputError where a document does not have each of them once; then nothing is written.
    """
    figures = measurements.Figures(weights)
    tables = {
        Path("README.md"): {"summary": result_tables.table(result_tables.summary(figures))},
        Path("docs", "results.md"): {"claims": result_tables.table(result_tables.claims(figures))},
        measurements.CARD: {
            "metrics": result_tables.card_metrics(figures),
            "summary": result_tables.table(result_tables.card_table(figures)),
        },
    }
    texts = {}
    for path, parts in tables.items():
        texts[path] = (root / path).read_text(encoding="utf-8")
        for name, lines in parts.items():
            begin = rf"^(?:<!--| *#) begin {name}, written by [^\n]*$"
            end = rf"^(?:<!-- end {name} -->| *# end {name})$"
            if any(len(re.findall(line, texts[path], re.MULTILINE)) != 1 for line in (begin, end)):
                raise InputError(f"{path} must have one line 'begin {name}, written by' and one line 'end {name}'")
            place = re.compile(rf"({begin}\n).*?({end})", re.MULTILINE | re.DOTALL)
            content = "".join(f"{line}\n" for line in lines)
            texts[path] = place.sub(lambda found, content=content: found[1] + content + found[2], texts[path])
    for path, text in texts.items():
        write_whole(root / path, lambda whole, text=text: whole.write_text(text, encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist", help="MNIST: a folder of its IDX files, or a hub id")
    parser.add_argument(
        "--only",
        choices=list(measurements.MEASUREMENTS),
        nargs="*",
        default=list(measurements.MEASUREMENTS),
        metavar="NAME",
        help=f"what to measure, by default all: {', '.join(measurements.MEASUREMENTS)}; "
        "without a name, only the tables are written",
    )
    parser.add_argument("--model", default=measurements.BUNDLED, help="weights to measure")
    parser.add_argument("--results", type=Path, help="folder for their figures, if they are not the bundled ones")
    parser.add_argument(
        "--guidance-scale",
        type=float,
        default=Plan.guidance_scale,
        help="of weights that are not the bundled ones; %(default)s",
    )
    options = parser.parse_args(arguments)
    if (options.model == measurements.BUNDLED) != (options.results is None):
        parser.error("--model and --results go together: figures of other weights are kept apart")
    if options.model == measurements.BUNDLED and options.guidance_scale != Plan.guidance_scale:
        parser.error(
            f"--guidance-scale {options.guidance_scale} needs --model: the bundled weights are measured with "
            "the default"
        )
    pipeline = load_pipeline(options.model)
    pipeline.set_progress_bar_config(disable=True)
    if options.only:
        data = load_images(options.data, "test", image_size=measurements.SIZE)
        for name in options.only:
            folder = options.results / name if options.results else measurements.folder_of(name)
            plan = replace(measurements.MEASUREMENTS[name], guidance_scale=options.guidance_scale)
            if not is_measured(folder, plan.of(len(data), pipeline.generation_defaults), pipeline.checksum()):
                measure(folder, options.model, pipeline, data, plan)
    if options.model == measurements.BUNDLED:
        write_tables(pipeline.checksum())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{Path(__file__).name}: stopped; the same command goes on")
