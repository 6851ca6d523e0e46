"""Model cards with the figures of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from r2id.errors import InputError
from r2id.evaluation.report import figure_text, read_evaluation, single_figures, title
from r2id.files.cards import card_of, hub_id, record_text, task_of
from r2id.files.markdown import markdown_table
from r2id.geometry.sizes import size_text

METRICS = {"MSE": "mse", "accuracy": "accuracy", "Fréchet": "frechet-distance"}
"""Figures in the metadata, by the hub's names; others appear in the text only."""


def model_card(
    model: Any,
    name: str | None = None,
    license: str | None = None,
    data_license: str | None = None,
    evaluation: str | Path | None = None,
) -> ModelCard:
    """Return a card for a pipeline or a single network.

    Args:
        model: an `R2Pipeline`, `R2IR` or `R2ID`.
        name: hub id or folder in the card's loading example; by default the place that the model was loaded from.
        license: licence of the weights, as an identifier of the hub such as "apache-2.0"; None for none given.
        data_license: licence of the training data, in words.
        evaluation: the evaluation.json of `r2id evaluate` for these weights; the card shows figures at the trained
            size.
    Raises:
        InputError: for an evaluation that cannot be read, or is of other weights.
    """
    results, tables = _figures(model, evaluation) if evaluation else ([], [])
    return card_of(model, name, license, data_license, results, tables)


def _figures(model: Any, evaluation: str | Path) -> tuple[list[EvalResult], list[str]]:
    """Return results for the metadata and tables for the text, of rows at the trained size."""
    settings, report = read_evaluation(evaluation)
    task = task_of(model)
    weights, data = settings["weights"], settings["data"]
    if task is None or weights != model.checksum():
        raise InputError(f"{evaluation} measured other weights than these; give figures of the same")
    how = {
        key: settings.get(key)
        for key in ("num_inference_steps", "guidance_scale", "guidance_interval", "precision", "seed")
    }
    results, tables = [], [f"Measured with `r2id evaluate` against {data}: {record_text(how)}."]
    for section, rows in report.items():
        if section == "denoising_error":
            continue
        rows = [row for row in rows if row.get("method", "R2IR") == "R2IR"]
        sizes = [row["pictures"] for row in rows if "pictures" in row]
        trained = size_text(model.generation_defaults.size) if model.diffuser.config.canvas else None
        shown = trained if trained in sizes else next(iter(sizes), None)
        rows = [row for row in rows if row.get("pictures", shown) == shown]
        head = [key for key in single_figures(rows[0]) if key != "method"]
        table = "\n".join(markdown_table(head, [[figure_text(row.get(key)) for key in head] for row in rows]))
        heading = title(section, settings)
        tables.append(f"{heading[0].upper()}{heading[1:]}:\n\n{table}")
        results += [
            EvalResult(
                task_type=task,
                dataset_type=hub_id(data) or "custom",
                dataset_name=data,
                metric_type=METRICS[key],
                metric_name=f"{key}, latents {row['latents']}, pictures {row['pictures']}",
                metric_value=round(row[key], 6),
            )
            for row in rows
            for key in METRICS
            if row.get(key) is not None and row["latents"] != "real"
        ]
    return results, tables
