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
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from r2id.cli.models import load_pipeline
from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.evaluate import Plan, evaluate
from r2id.evaluation.report import Rows, in_words, read_evaluation
from r2id.files.atomic import write_whole
from r2id.files.markdown import markdown_table
from r2id.geometry.sizes import Size, size_text
from r2id.publishing.card import METRICS
from r2id.runtime.precision import usable_precision
from r2id.runtime.progress import progress

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CARD = Path("src", "r2id", "pretrained", "mnist", "README.md")

BUNDLED = "mnist"
IMAGES = 10_000
"""Images of the test split."""
SIZE: Size = (32, 32)
"""The picture size of training."""
GRIDS: tuple[Size, ...] = ((4, 4), (8, 8), (10, 10), (16, 16))
"""The latents of most claims."""
DENSE: Size = (12, 12)
"""Another, of which as many digits are generated."""
BETWEEN: tuple[Size, ...] = ((5, 5), (6, 6), (4, 10), (10, 4), (12, 12), (7, 16), (16, 7))
OBLONG: tuple[Size, ...] = ((4, 10), (10, 4), (5, 12), (12, 5), (6, 15), (16, 7), (7, 16), (13, 9), (11, 11))
"""Latents in proportions from 2:5 to 5:2."""
OTHERS: tuple[Size, ...] = ((4, 10), (10, 4), (14, 14))


def generated(count: int, latents: Sequence[Size], sizes: Sequence[Size] = (SIZE,), limit: int = 0) -> Plan:
    """Digits to generate on every grid and decode at every size, and test digits to reconstruct likewise."""
    return Plan(count=count, limit=limit, denoising_error=0, latent_size=tuple(latents), size=tuple(sizes))


MEASUREMENTS: dict[str, Plan] = {
    "reconstruction": Plan(count=0, denoising_error=0, consistency=0, latent_size=(*GRIDS, (14, 14)), size=(SIZE,)),
    **{f"10000-{size_text(grid)}": generated(10_000, [grid]) for grid in (*GRIDS, DENSE)},
    "between": generated(1000, BETWEEN),
    "pairs": generated(500, OBLONG, ((16, 16), (32, 32), (16, 40), (40, 16), (100, 250), (256, 256))),
    "1024-pixels": generated(100, ((4, 4), (16, 16), (4, 10), (16, 7)), ((1024, 1024), (410, 1024), (1024, 410))),
    "gallery": Plan(
        limit=1000,
        denoising_error=256,
        latent_size=GRIDS,
        size=(SIZE, (64, 64), (27, 18), (16, 16), (10, 10), (32, 18), (18, 32)),
    ),
    "gallery/other-latents": generated(1000, OTHERS, (SIZE, (32, 18)), limit=1000),
    "gallery/large": generated(200, ((8, 8),), ((128, 51), (256, 256), (1024, 1024))),
    "gallery/100x100": generated(100, ((100, 100),), ((1024, 1024),)),
}
"""Measurements by the folder of their evaluation.json."""

ONE_SIZE = "one-size"
"""Figures of weights trained at 4×4 latents alone, which docs/results.md says how to measure."""


def folder_of(name: str) -> Path:
    """Return the folder of a measurement of the bundled weights; the gallery shows its own."""
    return (ROOT / "docs" if name.startswith("gallery") else HERE / "results") / name


def kept_rows(folder: Path, plan: Plan | None, weights: int | None) -> Rows:
    """The rows that a folder keeps of a plan with every number filled in and of some weights, in either precision; of
    any, if none are named. None are there where it was not measured, or otherwise."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return {}
    settings, rows = read_evaluation(path)
    wanted = {} if plan is None else json.loads(json.dumps(asdict(plan)))
    wanted |= {} if weights is None else {"weights": weights}
    return rows if all(settings.get(name) == value for name, value in wanted.items() if name != "precision") else {}


def bundled_defaults() -> GenerationDefaults:
    """Read the generation defaults stored with the bundled weights, without loading them."""
    stored = json.loads((ROOT / CARD).with_name("model_index.json").read_text(encoding="utf-8"))["generation_defaults"]
    return GenerationDefaults.from_json(stored)


class Figures:
    """All figures of some weights, by the name of their measurement."""

    def __init__(self, weights: int) -> None:
        defaults = bundled_defaults()
        self.rows = {
            name: kept_rows(folder_of(name), plan.of(IMAGES, defaults), weights) for name, plan in MEASUREMENTS.items()
        }
        self.rows[ONE_SIZE] = kept_rows(folder_of(ONE_SIZE), None, None)

    def of(
        self, name: str, column: str, latents: Sequence[Size], sizes: Sequence[Size] = (SIZE,)
    ) -> list[float | None]:
        """A column of the rows of R2IR or of generated pictures, of all these latents at all these sizes; None for one
        that was not measured."""
        found = {
            (row["latents"], row.get("pictures", size_text(SIZE))): row[column]
            for rows in self.rows[name].values()
            for row in rows
            if column in row and row.get("method") in (None, "R2IR")
        }
        return [found.get((size_text(grid), size_text(size))) for size in sizes for grid in latents]

    def of_many(self, column: str, latents: Sequence[Size] = GRIDS) -> list[float | None]:
        """Return a column of 10,000 digits on each grid."""
        return [figure for grid in latents for figure in self.of(f"10000-{size_text(grid)}", column, [grid])]


def show(figures: Iterable[float | None], form: str) -> list[str]:
    """Figures in a format of Python's; a dash for one that was not measured."""
    return ["–" if one is None else f"{one:{form}}".replace("%", " %") for one in figures]


def span(shares: Iterable[float | None]) -> str:
    """From the least to the most share that was measured; a dash if none was."""
    known = [share for share in shares if share is not None]
    if not known:
        return "–"
    least, most = (f"{100 * one:.1f}" for one in (min(known), max(known)))
    return f"{least} %" if least == most else f"{least} to {most} %"


# The tables.


def summary(figures: Figures) -> list[list[str]]:
    """The figures of generated and reconstructed digits in the README."""
    generated_ones = {
        "classifier accuracy": ("accuracy", ".1%"),
        "Fréchet distance on the classifier's features": ("Fréchet", ".3f"),
        "recall": ("recall", ".2f"),
        "intra-class distance ratio, generated to real": ("intra-class distance ratio", ".2f"),
    }
    error = "R2IR: mean squared error on test digits, in [−1, 1]"
    return [
        ["latents", *names(GRIDS)],
        [error, *show(figures.of("reconstruction", "MSE", GRIDS), ".4f")],
        *([name, *show(figures.of_many(column), form)] for name, (column, form) in generated_ones.items()),
    ]


def card_table(figures: Figures) -> list[list[str]]:
    """The table in the card of the weights."""

    def gallery(column: str, size: Size = SIZE) -> list[float | None]:
        return figures.of("gallery", column, GRIDS, [size])

    return [
        ["latents", *names(GRIDS)],
        [
            "¹ mean squared error of R2IR on test digits at 32×32, in [−1, 1]",
            *show(figures.of("reconstruction", "MSE", GRIDS), ".4f"),
        ],
        [
            "² mean squared error between decoding at 64×64, averaged to 32×32, and at 32×32",
            *show(gallery("2x against 1x"), ".5f"),
        ],
        ["³ classifier accuracy, 32×32, of 10,000 digits", *show(figures.of_many("accuracy"), ".1%")],
        [
            "³ Fréchet distance, 32×32, of as many (two halves of the real test set: 0.046)",
            *show(figures.of_many("Fréchet"), ".3f"),
        ],
        ["³ precision (of one real half on the other: 0.87)", *show(figures.of_many("precision"), ".2f")],
        ["³ recall (likewise: 0.85)", *show(figures.of_many("recall"), ".2f")],
        [
            "³ intra-class distance ratio, generated to real",
            *show(figures.of_many("intra-class distance ratio"), ".2f"),
        ],
        *(
            [f"² classifier accuracy, {names([size])[0]}, of 1,000 digits", *show(gallery("accuracy", size), ".1%")]
            for size in (SIZE, (64, 64), (27, 18), (16, 16))
        ),
    ]


def card_metrics(figures: Figures) -> list[str]:
    """The figures for the Hugging Face hub, in the card's metadata."""
    metrics = (
        ("MSE", figures.of("reconstruction", "MSE", GRIDS), 4),
        ("accuracy", figures.of_many("accuracy"), 3),
        ("Fréchet", figures.of_many("Fréchet"), 3),
    )
    return [
        line
        for name, values, decimals in metrics
        for grid, value in zip(GRIDS, values, strict=True)
        if value is not None
        for line in (
            f"    - type: {METRICS[name]}",
            f"      name: {name}, latents {size_text(grid)}, pictures {size_text(SIZE)}",
            f"      value: {round(value, decimals)}",
        )
    ]


@dataclass(frozen=True)
class Claim:
    """A row of what was to be reached.

    Attributes:
        what, published, limit: as the page says them.
        figures: what was measured; None for what was not.
        form: how a figure is written, a format of Python's.
        reached: whether a figure is good enough.
        places: what each figure is of, if the page is to say which of them miss.
        note: after the verdict.
        measured: what the page says was measured; by default the figures themselves.
    """

    what: str
    published: str
    limit: str
    figures: Sequence[float | None]
    form: str
    reached: Callable[[float], bool]
    note: str
    places: Sequence[str] = ()
    measured: str | None = None

    def row(self) -> list[str]:
        return [
            self.what,
            self.published,
            self.limit,
            self.measured or ", ".join(show(self.figures, self.form)),
            f"{self.verdict()} {self.note}",
        ]

    def verdict(self) -> str:
        """Every figure counts as measured, not as it is written; shares are kept in float32, of some seven digits."""
        known = {index: round(figure, 6) for index, figure in enumerate(self.figures) if figure is not None}
        missed = [index for index, figure in known.items() if not self.reached(figure)]
        complete = len(known) == len(self.figures)
        rest = "reached elsewhere" if complete else "not measured everywhere"
        if not known:
            return "not measured"
        if not missed:
            return "reached" if complete else rest
        if not self.places or len(missed) == len(self.figures):
            return "**missed**"
        return f"**missed** at {in_words(self.places[index] for index in missed)}, {rest}"


def claims(figures: Figures) -> list[list[str]]:
    """The targets and the measurements in docs/results.md, whose notes give the commands."""

    def at_least(least: float) -> Callable[[float], bool]:
        return lambda figure: figure >= least

    def at_most(most: float) -> Callable[[float], bool]:
        return lambda figure: figure <= most

    def everywhere(name: str, what: str) -> Claim:
        """Accuracy of every row of a measurement, from the least to the most."""
        plan = MEASUREMENTS[name]
        shares = figures.of(name, "accuracy", plan.latent_size, plan.size)
        places = [f"{grid} → {size}" for size in names(plan.size) for grid in names(plan.latent_size)]
        measured = f"{span(shares)} of {plan.count:,} digits"
        published, limit = "legible with deformities", "≥ 98 %, none below 95 %"
        return Claim(what, published, limit, shares, ".1%", at_least(0.98), "⁴", places, measured)

    others = [grid for grid in BETWEEN if grid != DENSE]
    ratios = figures.of_many("intra-class distance ratio", (*GRIDS, DENSE))
    widest = max(known) - min(known) if (known := [one for one in ratios if one is not None]) else 0.0
    distances = figures.of_many("Fréchet", (*GRIDS, DENSE))
    also = [(14, 14)]
    of_fewer = figures.of("between", "Fréchet", others) + figures.of("gallery/other-latents", "Fréchet", also)
    rows = [
        Claim(
            "mean squared error of R2IR, 4×4 latents",
            "0.0104", "≤ 0.004", figures.of("reconstruction", "MSE", [(4, 4)]), ".4f", at_most(0.004), "¹",
        ),
        Claim(
            "the same, 8×8 and 14×14 latents",
            "–", "≤ 0.003", figures.of("reconstruction", "MSE", [(8, 8), (14, 14)]), ".4f", at_most(0.003), "¹",
        ),
        Claim(
            "classifier accuracy, 4×4 latents",
            '"bad"', "≥ 99 %", figures.of_many("accuracy", [(4, 4)]), ".2%", at_least(0.99), "²",
        ),
        Claim(
            "classifier accuracy, 8×8, 10×10 and 16×16 latents",
            "100 of 100 pictures at 10×10", "≥ 99.3 %",
            figures.of_many("accuracy", GRIDS[1:]), ".2%", at_least(0.993), "²", names(GRIDS[1:]),
        ),
        everywhere(
            "pairs", "the same, nine grids from 2:5 to 5:2, six sizes from 16×16 to 256×256"
        ),
        everywhere("1024-pixels", "the same, four grids, 1024×1024, 410×1024 and 1024×410"),
        everywhere("between", "the same, " + in_words(names(BETWEEN)) + " latents"),
        Claim(
            "Fréchet distance, 4×4, 8×8, 10×10, 16×16 and 12×12 latents",
            "–", "≤ 0.23", distances, ".3f", at_most(0.23), "²", names((*GRIDS, DENSE)),
        ),
        Claim(
            "the same of 1,000 digits, " + in_words(names([*others, *also])),
            "–", "≤ 0.23 of 10,000",
            of_fewer, ".3f", at_most(0.23), "(of fewer digits) ⁴", names([*others, *also]),
        ),
        Claim(
            "intra-class distance ratio, generated to real, same five grids",
            "falls as the latent grows", "≥ 0.85, within 0.05 of each other",
            ratios, ".2f", lambda figure: figure >= 0.85 and widest <= 0.05, "²",
        ),
        Claim(
            "improved recall, same five grids",
            "–", "≥ 0.6", figures.of_many("recall", (*GRIDS, DENSE)), ".2f", at_least(0.6), "²", names((*GRIDS, DENSE)),
        ),
        Claim(
            "mean squared error between 64×64 averaged to 32×32, and 32×32",
            "–", "≤ 0.0005", figures.of("gallery", "2x against 1x", GRIDS), ".6f", at_most(0.0005), "⁵", names(GRIDS),
        ),
        Claim(
            "trained at 4×4 latents alone, accuracy at 8×8 and 10×10",
            "works at 8×8", "≥ 98 %",
            figures.of(ONE_SIZE, "accuracy", [(8, 8), (10, 10)]), ".1%", at_least(0.98), "⁶",
        ),
    ]  # fmt: skip
    return [["", "published", "target", "measured", ""], *(claim.row() for claim in rows)]


def names(sizes: Iterable[Size]) -> list[str]:
    """(4, 10) → "4×10"."""
    return [size_text(size).replace("x", "×") for size in sizes]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row is the heading. Without empty lines around it, Markdown would take the comments for rows."""
    return ["", *markdown_table(rows[0], rows[1:]), ""]


# Measuring and writing.


def is_measured(folder: Path, plan: Plan, weights: int) -> bool:
    """Return whether a folder has all rows of a plan with every number filled in."""
    rows = kept_rows(folder, plan, weights)
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
    begun = bool(kept_rows(folder, plan, pipeline.checksum()))
    resume = begun and read_evaluation(path)[0]["precision"] == plan.precision
    if path.is_file() and not resume:
        print(f"{path} was measured otherwise; measured anew")
    about = {"model": model, "split": "test", "image_size": None}
    evaluate(pipeline, data, plan, about=about, output=folder, resume=resume, progress=progress)


def write_tables(weights: int, root: Path = ROOT) -> None:
    """Put the tables where a checkout's documents have places for them, between a line that begins one and a line that
    ends it, both comments.

    Raises InputError where a document does not have each of them once; then nothing is written.
    """
    figures = Figures(weights)
    tables = {
        Path("README.md"): {"summary": table(summary(figures))},
        Path("docs", "results.md"): {"claims": table(claims(figures))},
        CARD: {"metrics": card_metrics(figures), "summary": table(card_table(figures))},
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
        choices=list(MEASUREMENTS),
        nargs="*",
        default=list(MEASUREMENTS),
        metavar="NAME",
        help=f"what to measure, by default all: {', '.join(MEASUREMENTS)}; without a name, only the tables are written",
    )
    parser.add_argument("--model", default=BUNDLED, help="weights to measure")
    parser.add_argument("--results", type=Path, help="folder for their figures, if they are not the bundled ones")
    parser.add_argument(
        "--guidance-scale",
        type=float,
        default=Plan.guidance_scale,
        help="of weights that are not the bundled ones; %(default)s",
    )
    options = parser.parse_args(arguments)
    if (options.model == BUNDLED) != (options.results is None):
        parser.error("--model and --results go together: figures of other weights are kept apart")
    if options.model == BUNDLED and options.guidance_scale != Plan.guidance_scale:
        parser.error(
            f"--guidance-scale {options.guidance_scale} needs --model: the bundled weights are measured with "
            "the default"
        )
    pipeline = load_pipeline(options.model)
    pipeline.set_progress_bar_config(disable=True)
    if options.only:
        data = load_images(options.data, "test", image_size=SIZE)
        for name in options.only:
            folder = options.results / name if options.results else folder_of(name)
            plan = replace(MEASUREMENTS[name], guidance_scale=options.guidance_scale)
            if not is_measured(folder, plan.of(len(data), pipeline.generation_defaults), pipeline.checksum()):
                measure(folder, options.model, pipeline, data, plan)
    if options.model == BUNDLED:
        write_tables(pipeline.checksum())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{Path(__file__).name}: stopped; the same command goes on")
