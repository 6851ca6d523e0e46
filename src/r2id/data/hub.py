"""Data sets on the Hugging Face hub."""

from __future__ import annotations

import re
from typing import Any

import torch
from PIL import Image

from r2id.data.content import ACCEPTED_SOURCES, CAPTION_COLUMNS, LABEL_COLUMN, Content, caption_texts, index_values
from r2id.errors import InputError
from r2id.files.hub import answers
from r2id.files.images import flatten, reason, unreadable


def hub_content(identifier: str, split: str, background: int, caption_column: str | None) -> Content:
    # Importing datasets takes seconds, so local data avoid it.
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise InputError(
            f"{identifier!r} is no local folder; to take it from the Hugging Face hub, pip install 'r2id[train]'"
        ) from error

    offline = datasets.config.HF_HUB_OFFLINE
    try:
        # `load_dataset` has no argument for its cache alone.
        datasets.config.HF_HUB_OFFLINE = offline or not answers(identifier, "dataset")
        dataset = datasets.load_dataset(identifier, split=split)
    except Exception as error:
        # The hub's client raises a dozen unrelated types, all about the request or the connection.
        raise InputError(
            f"{identifier!r} is no local folder and its split {split!r} could not be loaded from the Hugging "
            f"Face hub ({reason(error)}); {ACCEPTED_SOURCES}."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    name = f"the hub data set {identifier!r}"
    if not len(dataset):
        raise InputError(f"The split {split!r} of {name} is empty; it must have at least one image.")
    features = dataset.features
    image_column = next((column for column, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if image_column is None:
        raise InputError(f"There is no image column in {name}, only {', '.join(features)}; give a data set of images.")

    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    class_column = next((column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    label_kind = features.get(LABEL_COLUMN)
    plain_labels = isinstance(label_kind, datasets.Value) and re.search("int|string", label_kind.dtype)
    label_column = class_column or (LABEL_COLUMN if plain_labels else None)
    if label_column is not None:
        values = list(dataset[label_column])
        # Labels of −1 throughout mark an unlabelled data set on the hub.
        missing = [value is None or value == -1 for value in values]
        if any(missing) and not all(missing):
            raise InputError(
                f"Row {missing.index(True)} of {name} has no {label_column}; give one for every image, or for none."
            )
        if not any(missing):
            labels, label_names = index_values(values, f"Column {label_column} of {name}")
            if class_column is not None:
                label_names = tuple(features[class_column].names)

    captions: tuple[tuple[str, ...], ...] | None = None
    text_columns = [column for column, kind in features.items() if column != label_column and _is_text(kind)]
    if caption_column and caption_column not in text_columns:
        raise InputError(
            f"There is no column of strings {caption_column!r} in {name}, only {', '.join(features)}; "
            "give a column of captions."
        )
    preferred = [caption_column] if caption_column else [name for name in CAPTION_COLUMNS if name in text_columns]
    if preferred or len(text_columns) == 1:
        caption_column = (preferred or text_columns)[0]
        texts = list(dataset[caption_column])
        if None in texts:
            raise InputError(f"Row {texts.index(None)} of {name} has no {caption_column}; give one for every image.")
        captions = caption_texts(texts, f"Column {caption_column} of {name}")
    used = {image_column, label_column, caption_column}
    unread = [column for column in features if column not in used]
    pictures = dataset.select_columns([image_column])

    def picture(index: int) -> Image.Image:
        row = f"row {index} of {name}"
        try:
            picture = pictures[index][image_column]
        except Exception as error:
            raise unreadable(row, error) from error
        if picture is None:
            raise InputError(f"There is no image in {row}; give an image in every row.")
        return flatten(picture, background, row)

    return Content(
        count=len(dataset),
        picture=picture,
        description=f"Hugging Face data set {identifier}",
        labels=labels,
        label_names=label_names,
        captions=captions,
        left_out=(f"columns {', '.join(unread)}",) if unread else (),
    )


def _is_text(kind: Any) -> bool:
    """Return whether a column holds strings or lists of strings."""
    kind = getattr(kind, "feature", kind)
    return "string" in str(getattr(kind, "dtype", ""))
