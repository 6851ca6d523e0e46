"""Labels that a model knows, and what is told of one that it does not, without torch."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from r2id.errors import InputError
from r2id.files.models import model_folder
from r2id.files.record import read_record

MOST_LABELS, MOST_ALIKE = 20, 5
"""Most labels that an error names, and of a larger number the most that are like the wanted one."""
ALIKE = 0.65
"""Least similarity of these, from 0 to 1."""


def label_names(model: str | os.PathLike) -> list[str] | None:
    """Return the labels of a pipeline, which is a folder or bundled weights; None for texts or a model of the hub."""
    config = model_folder(model, "model_index.json") / Path("conditioner", "config.json")
    if not config.is_file():
        return None
    names = read_record(config, "give a folder written by save_pretrained").get("label_names")
    return None if names is None else list(names)


def known_label(label: str, names: Sequence[str]) -> str | None:
    """Return the label in names, or the only one that differs from it in case or in "_", "-" or spaces between words.

    Returns None if there is none, or several.
    """
    if label in names:
        return label
    alike = [name for name in names if _plain(name) == _plain(label)]
    return alike[0] if len(alike) == 1 else None


def index_of_label(label: str | int, names: Sequence[str]) -> int:
    """Return the index of the `known_label` in names. Raises InputError, which tells those alike, if there is none."""
    known = known_label(str(label), names)
    if known is None:
        if not str(label).strip():
            raise InputError(f"a label or prompt is empty; this model knows {labels_like('', names)}")
        wrong = str(label)[:40]
        raise InputError(f"label {wrong!r} is not known to this model; it knows {labels_like(wrong, names)}")
    return names.index(known)


def labels_like(label: str, names: Sequence[str], model: str = "MODEL") -> str:
    """Return all names of a model or, of many, their number and those like `label`, which is one of their words or a
    typo."""
    if len(names) <= MOST_LABELS:
        return ", ".join(names)
    wanted, spelled = _plain(label), [_plain(name) for name in names]
    near = [one for one in spelled if wanted in one.split()]
    near += difflib.get_close_matches(wanted, spelled, MOST_ALIKE, ALIKE)
    alike = dict.fromkeys(name for one in near for name, own in zip(names, spelled, strict=True) if own == one)
    if not alike:
        return f"{len(names)} labels, which `r2id info {model}` lists"
    return f"{len(names)} labels, such as {', '.join(list(alike)[:MOST_ALIKE])}"


def _plain(label: str) -> str:
    """Return a label in small letters with a space between words."""
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", label.strip()).casefold()
