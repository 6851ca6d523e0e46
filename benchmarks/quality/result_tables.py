"""Tables and claims of figures, as the README, the results and the model card show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from measurements import (
    BETWEEN,
    DENSE,
    GRIDS,
    MEASUREMENTS,
    ONE_SIZE,
    SIZE,
    Figures,
)

from r2id.evaluation.report import in_words
from r2id.files.markdown import markdown_table
from r2id.geometry.sizes import Size, size_text
from r2id.publishing.card import METRICS


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
