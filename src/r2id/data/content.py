"""Contents of a source of images, before they are loaded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from r2id.errors import InputError

CAPTION_COLUMNS = ("text", "caption", "prompt")
LABEL_COLUMN = "label"
LARGEST_LABEL = 65535
DOCUMENT_SUFFIXES = (".md",)
"""Texts for people, which nobody expects to be read as data."""
ACCEPTED_SOURCES = "give a folder of images or of MNIST-style IDX files, or the id of a data set on the hub"


@dataclass(frozen=True)
class Content:
    """Contents of a source.

    Attributes:
        count: number of pictures.
        picture: reads the picture of an index below `count`; several threads may call it.
        description: the source in words.
        labels, label_names: as in `ImageDataset`.
        captions: one or several texts for each picture; None without captions.
        names: names of the files, relative to the source; None without files.
        left_out: contents that are not loaded, with the reason, in words.
    """

    count: int
    picture: Callable[[int], Image.Image]
    description: str
    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[tuple[str, ...], ...] | None = None
    names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()


def caption_texts(values: Sequence[Any], origin: object) -> tuple[tuple[str, ...], ...]:
    """Return the captions of each picture; a list holds several.

    Raises InputError unless they are texts, numbers or lists of these.
    """
    lists = [value if isinstance(value, (list, tuple)) and value else [value] for value in values]
    for value in chain.from_iterable(lists):
        if not isinstance(value, (str, int, float)) or value == "":
            raise InputError(f"{origin} has the caption {value!r}; it must be a text, or a list of texts.")
    return tuple(tuple(map(str, texts)) for texts in lists)


def index_values(values: Sequence[Any], origin: object) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return labels and their names: whole numbers are indices, anything else is a name."""
    texts = [str(value) for value in values]
    if not all(re.fullmatch(r"-?(0|[1-9]\d*)", text) for text in texts):
        return index_names(texts)
    numbers = [int(text) for text in texts]
    for number in (min(numbers), max(numbers)):
        if not 0 <= number <= LARGEST_LABEL:
            raise InputError(f"{origin} has the label {number}; it must be from 0 to {LARGEST_LABEL}, or a name.")
    return torch.tensor(numbers, dtype=torch.int64), tuple(map(str, range(max(numbers) + 1)))


def index_names(names: Sequence[str]) -> tuple[torch.Tensor, tuple[str, ...]]:
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        # "10" comes after "9".
        distinct.sort(key=int)
    index = {name: position for position, name in enumerate(distinct)}
    return torch.tensor([index[name] for name in names], dtype=torch.int64), tuple(distinct)


def counted(count: int, noun: str) -> str:
    """Return "1 drawing", "2 drawings"."""
    return f"{count} {noun}" + "s" * (count != 1)


def kinds(files: Iterable[Path]) -> str:
    """Return the number of files of each suffix: "2 of .heic, 1 of .psd"."""
    counts = Counter(file.suffix.lower() or "no suffix" for file in files)
    return ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items()))


def missing_split(folder: Path, split: str, available: Sequence[str]) -> InputError:
    return InputError(f"{folder} has no split {split!r}; choose from {', '.join(map(repr, available))}.")
