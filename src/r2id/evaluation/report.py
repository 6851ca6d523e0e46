"""Figures as rows: printed as a table while they come, and kept in a file that is whole after every row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r2id.files import write_whole


class Report:
    """Rows of figures in named sections.

    Args:
        settings: what was measured and how; kept with the rows.
        path: JSON file to write after every row; None for none.
    """

    def __init__(self, settings: Mapping[str, Any], path: Path | None) -> None:
        self.settings, self.path = dict(settings), path
        self.sections: dict[str, list[dict[str, Any]]] = {}

    def add(self, section: str, row: Mapping[str, Any]) -> None:
        """Print a row, under its section's heading if it is the first, and keep it."""
        rows = self.sections.setdefault(section, [])
        if not rows:
            print(f"\n{section}\n{_line({name: name for name in row}, row)}", flush=True)
        rows.append(dict(row))
        print(_line({name: figure_text(value) for name, value in row.items()}, row), flush=True)
        if self.path:
            sections = {name: [_finite(row) for row in rows] for name, rows in self.sections.items()}
            content = json.dumps({"settings": self.settings} | sections, indent=1, ensure_ascii=False) + "\n"
            write_whole(self.path, lambda path: path.write_text(content, encoding="utf-8"))


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which is the PSNR of a perfect copy."""
    finite = {name: not isinstance(value, float) or math.isfinite(value) for name, value in row.items()}
    return {name: value if finite[name] else None for name, value in row.items()}


def _line(cells: Mapping[str, str], row: Mapping[str, Any]) -> str:
    """Cells in columns as wide as their heading needs; text to the left, numbers to the right."""
    columns = []
    for name, cell in cells.items():
        wide = max(len(name), 8)
        columns.append(cell.rjust(wide) if isinstance(row[name], float) else cell.ljust(wide))
    return "  " + "  ".join(columns).rstrip()


def figure_text(value: Any) -> str:
    """Four figures of a number; a dash for what was kept as none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
