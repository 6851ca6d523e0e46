"""Measurements of the bundled weights, and the figures that are kept of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from r2id.diffusion.defaults import GenerationDefaults
from r2id.evaluation.plan import COLOUR_ONLY, Plan
from r2id.evaluation.report import Rows, read_evaluation
from r2id.geometry.sizes import Size, size_text

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
    wanted = {name: value for name, value in wanted.items() if name not in COLOUR_ONLY}
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
