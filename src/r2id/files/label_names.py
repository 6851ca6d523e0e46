"""Labels that a model knows, and what is told of one that it does not, without torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from r2id.errors import InputError
from r2id.files.models import model_folder
from r2id.files.record import read_record

MOST_LABELS, LABELS_ALIKE = 20, 5
"""Most labels that an error names, and how many of a larger number."""


def label_names(model: str | os.PathLike) -> list[str] | None:
    """Return the labels of a pipeline, which is a folder or bundled weights; None for texts or a model of the hub."""
    config = model_folder(model, "model_index.json") / Path("conditioner", "config.json")
    if not config.is_file():
        return None
    names = read_record(config, "give a folder written by save_pretrained").get("label_names")
    return None if names is None else list(names)


def index_of_label(label: str | int, names: Sequence[str]) -> int:
    """Return the index of a label in names. Raises InputError, which tells those most alike, if it is not there."""
    if str(label) not in names:
        raise InputError(f"label {str(label)[:40]!r} is not known to this model; it knows {_known(str(label), names)}")
    return names.index(str(label))


def _known(label: str, names: Sequence[str]) -> str:
    """Return all names or, of many, those spelled most like `label`."""
    if len(names) <= MOST_LABELS:
        return ", ".join(names)
    spelled = {name.lower(): name for name in names}
    alike = difflib.get_close_matches(label[:40].lower(), spelled, LABELS_ALIKE, 0.4) or list(spelled)[:LABELS_ALIKE]
    return f"{len(names)} labels, such as {', '.join(spelled[name] for name in alike)}"
