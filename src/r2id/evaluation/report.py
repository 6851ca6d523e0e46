"""Reports: rows of figures, printed as tables and kept in a file that is whole after every addition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.record import check_settings, plain, write_record

Row = Mapping[str, Any]
Rows = dict[str, list[dict[str, Any]]]
"""Rows by section."""

TITLES = {
    "reconstruction": "reconstruction of {limit} images, in [-1, 1]",
    "consistency": "mean squared error of {consistency} images between sizes, and at the border",
    "generation": "{count} generated pictures",
    "outpainting": "steps of pixels across the seams of {canvases} outpainted pictures, over those near them",
    "joint": "{canvases} pictures of three proportions each",
    "panoramas": "{canvases} panoramas of four times the width",
    "duplicates": "subjects counted in {duplicates} pictures",
    "denoising_error": "denoising error by timestep of {denoising_error} images",
}
"""Headings of the sections of a report; the numbers are settings."""

SHOWN_CLASSES = 4
"""Best and worst classes in print; the file has all."""

CALLED = ("model",)
"""Settings that are only names, and so may differ on resuming."""


class Report:
    """Rows of figures by section of TITLES.

    Args:
        settings: settings of the measurement, as JSON types; kept with the rows.
        path: JSON file to write after every addition; None for no file.
    """

    def __init__(self, settings: Mapping[str, Any], path: Path | None) -> None:
        self.settings, self.path = plain(dict(settings)), path
        self.rows: Rows = {}

    def resume(self) -> None:
        """Load the rows of the file, if it exists.

        Raises InputError if its settings differ or the file is damaged.
        """
        if self.path is None or not self.path.exists():
            return
        before, rows = read_evaluation(self.path)
        advice = "leave out --resume to measure everything anew"
        check_settings(self.settings, before, f"what {self.path} holds was measured with", advice, CALLED)
        self.rows = rows
        print(f"{sum(map(len, rows.values()))} rows are in {self.path} already", flush=True)

    def has(self, section: str, row: Row) -> bool:
        """Return whether there is a row of the same latents and pictures."""
        same = {name: row[name] for name in ("latents", "pictures")}
        return any(kept.items() >= same.items() for kept in self.rows.get(section, ()))

    def add(self, section: str, rows: Sequence[Row], shown: Sequence[Row] | None = None) -> None:
        """Keep rows, all at once, and print them, or `shown` in their place, under the section's heading.

        Of figures by class, the best and the worst are printed below their row.
        """
        begun = section in self.rows
        self.rows.setdefault(section, []).extend({name: _finite(value) for name, value in row.items()} for row in rows)
        if self.path:
            write_record(self.path, {"settings": self.settings} | self.rows)
        shown = rows if shown is None else shown
        if not begun:
            first = single_figures(shown[0])
            print(f"\n{title(section, self.settings)}\n{_line({name: name for name in first}, first)}")
        for row in shown:
            single = single_figures(row)
            print(_line({name: figure_text(value) for name, value in single.items()}, single), flush=True)
            for name in row.keys() - single.keys():
                print(f"    {name}: {_extremes(row[name])}", flush=True)


def read_evaluation(path: str | Path) -> tuple[dict[str, Any], Rows]:
    """Read the settings and the rows of a file that a `Report` wrote.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    try:
        rows = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        settings = dict(rows.pop("settings"))
        for name in ("weights", "data"):
            settings[name]
        for section, some in rows.items():
            title(section, settings)
            if not some or not all(isinstance(row, dict) and "latents" in row for row in some):
                raise ValueError(f"section {section} has no rows of latents")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as figures ({error}); give an evaluation.json of r2id evaluate"
        ) from error
    return settings, rows


def single_figures(row: Row) -> Row:
    """Return a row without its figures by class."""
    return {name: value for name, value in row.items() if not isinstance(value, Mapping)}


def _extremes(by_class: Mapping[str, float]) -> str:
    """Return the best and the worst classes with their figures, best first."""
    ranked = sorted(by_class, key=lambda name: (-by_class[name], name))
    left_out = len(ranked) - 2 * SHOWN_CLASSES
    texts = [f"{name} {figure_text(by_class[name])}" for name in ranked]
    if left_out > 0:
        texts[SHOWN_CLASSES:-SHOWN_CLASSES] = [f"{left_out} others"]
    return ", ".join(texts)


def in_words(parts: Iterable[str]) -> str:
    """Join parts: ["a", "b", "c"] → "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def title(section: str, settings: Mapping[str, Any]) -> str:
    """Return the heading of a section. Raises KeyError for an unknown section or a missing setting."""
    return TITLES[section].format_map(settings)


def _finite(value: Any) -> Any:
    """Return None for infinity, the PSNR of a perfect copy, and NaN, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(cells: Mapping[str, str], row: Row) -> str:
    """Align cells in columns as wide as their headings; text to the left, numbers to the right."""
    columns = []
    for name, cell in cells.items():
        wide = max(len(name), 8)
        columns.append(cell.rjust(wide) if isinstance(row[name], float) else cell.ljust(wide))
    return "  " + "  ".join(columns).rstrip()


def figure_text(value: Any) -> str:
    """Format a number with four significant figures; None and NaN become a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
