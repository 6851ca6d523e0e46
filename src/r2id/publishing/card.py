"""Model cards: the record of weights as a README.md, for readers and the Hugging Face hub."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from r2id.errors import InputError
from r2id.evaluation.report import figure_text, markdown_table, read_evaluation, title
from r2id.geometry.sizes import size_text

CARD = "README.md"

MARK = re.compile(r"\n<!-- Written by r2id, and anew with the weights until it is changed: ([0-9a-f]{8}) -->\n\Z")
"""The end of a card that nobody asked for. The number tells whether anybody has changed it since."""

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
    kind = type(model).__name__
    name = name or getattr(model.config, "_name_or_path", None) or kind
    stages = {
        part: trainings(network.config.training)
        for part, network in _networks(model).items()
        if "training" in network.config
    }
    records = [record for of_part in stages.values() for _, record in of_part]
    shows_texts = getattr(model, "text_encoder", None) is not None
    task = None
    if kind == "R2Pipeline":
        task = "text-to-image" if shows_texts else "unconditional-image-generation"
    results, tables = _figures(model, task, evaluation) if evaluation else ([], [])
    data = ModelCardData(
        library_name="diffusers",
        license=license,
        pipeline_tag=task,
        tags=["r2id"] if shows_texts or not task else ["r2id", "class-conditional"],
        datasets=sorted({dataset for record in records if (dataset := _hub_id(record["data"]))}) or None,
        model_name=name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    sources = "; ".join(dict.fromkeys(record["data"] for record in records)) or "not recorded"
    text = [
        f"# {name}",
        _usage(model, name),
        "## Parts",
        "\n".join(markdown_table(("part", "class", "parameters"), itertools.starmap(_part, _networks(model).items()))),
        "## Training",
        *(f"**{part}**{turn}: {_record(record)}" for part, of_part in stages.items() for turn, record in of_part),
        *(() if records else ("Not recorded.",)),
        *(("## Figures", *tables) if tables else ()),
        "## Licences",
        f"Weights: {license or 'not given'}. Data ({sources}): {data_license or 'not given'}.",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n")


def default_card(model: Any, name: str | None = None) -> ModelCard:
    """The card of a model of which nothing is said, marked as such."""
    card = str(model_card(model, name))
    return ModelCard(f"{card}\n<!-- Written by r2id, and anew with the weights until it is changed: {_crc(card)} -->\n")


def is_default(card: str | None) -> bool:
    """Return whether there is no card, or an unchanged one from `default_card`."""
    mark = MARK.search(card or "")
    return card is None or (mark is not None and mark[1] == _crc(card[: mark.start()]))


def card_to_write(
    model: Any, given: ModelCard | None, present: str | None, name: str | None = None
) -> ModelCard | None:
    """The card that is given, or else a default one; None where somebody's own is present, which then stays."""
    return given or (default_card(model, name) if is_default(present) else None)


def read_card(path: Path) -> str | None:
    """Return the text of a card, or None if it does not exist."""
    return path.read_text(encoding="utf-8") if path.is_file() else None


def keep_card(old: Path, new: Path) -> None:
    """Let somebody's own card stay when a folder takes the place of an old one."""
    if not is_default(read_card(old / CARD)):
        shutil.copyfile(old / CARD, new / CARD)


def trainings(record: Mapping[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the trainings of weights, from first to last: the turn of several, such as ", 1 of 2", and readable
    settings."""
    if not record:
        return []
    stages = [dict(record)]
    while before := stages[0].pop("started_from", None):
        stages.insert(0, dict(before))
    turns = [f", {turn} of {len(stages)}" if len(stages) > 1 else "" for turn in range(1, len(stages) + 1)]
    settings = [{name: _readable(value) for name, value in stage.items() if value is not None} for stage in stages]
    return list(zip(turns, settings, strict=True))


def _readable(value: Any) -> Any:
    """Return sizes as HxW, and lists joined by spaces."""
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and all(isinstance(side, int) for side in value):
            return size_text((value[0], value[1]))
        return " ".join(str(_readable(one)) for one in value)
    return value


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _networks(model: Any) -> dict[str, Any]:
    """Return the parts with weights, by name."""
    parts = getattr(model, "components", {type(model).__name__: model})
    return {part: network for part, network in parts.items() if hasattr(network, "parameters")}


def _part(name: str, network: Any) -> tuple[str, str, str]:
    return name, type(network).__name__, f"{sum(one.numel() for one in network.parameters()):,}"


def _usage(model: Any, name: str) -> str:
    kind, alone = type(model).__name__, ""
    code = [f"from r2id import {kind}", "", f'model = {kind}.from_pretrained("{name}")']
    if kind == "R2Pipeline":
        labels = ["a text"] if model.text_encoder is not None else model.conditioner.label_names[:4]
        size = size_text(model.generation_defaults.size).replace("x", ", ")
        code.append(f"pictures = model({json.dumps(labels, ensure_ascii=False)}, size=({size})).images")
    alone = (
        f', or `DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)`' if kind == "R2Pipeline" else ""
    )
    return f"Needs `pip install r2id`. Load it so{alone}:\n\n```python\n" + "\n".join(code) + "\n```"


def _record(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in record.items() if value != "")


def _hub_id(source: str) -> str | None:
    """Return the hub id of a data set, from the description of its source."""
    found = re.match(r"Hugging Face data set (\S+),", source)
    return found[1] if found else None


def _figures(model: Any, task: str | None, evaluation: str | Path) -> tuple[list[EvalResult], list[str]]:
    """Return results for the metadata and tables for the text, of rows at the trained size."""
    settings, report = read_evaluation(evaluation)
    weights, data = settings["weights"], settings["data"]
    if task is None or weights != model.checksum():
        raise InputError(f"{evaluation} measured other weights than these; accepted are figures of the same")
    how = {
        key: settings.get(key)
        for key in ("num_inference_steps", "guidance_scale", "guidance_interval", "precision", "seed")
    }
    results, tables = [], [f"Measured with `r2id evaluate` against {data}: {_record(how)}."]
    for section, rows in report.items():
        if section == "denoising_error":
            continue
        rows = [row for row in rows if row.get("method", "R2IR") == "R2IR"]
        sizes = [row["pictures"] for row in rows if "pictures" in row]
        trained = size_text(tuple(model.diffuser.config.canvas)) if model.diffuser.config.canvas else None
        shown = trained if trained in sizes else next(iter(sizes), None)
        rows = [row for row in rows if row.get("pictures", shown) == shown]
        head = [key for key in rows[0] if key != "method"]
        table = "\n".join(markdown_table(head, [[figure_text(row.get(key)) for key in head] for row in rows]))
        heading = title(section, settings)
        tables.append(f"{heading[0].upper()}{heading[1:]}:\n\n{table}")
        results += [
            EvalResult(
                task_type=task,
                dataset_type=_hub_id(data) or "custom",
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
