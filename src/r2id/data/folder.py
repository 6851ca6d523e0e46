"""Folders of images, with labels and captions from their names, from metadata or from texts beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from r2id.data.content import CAPTION_COLUMNS, LABEL_COLUMN, Content, index_names, index_values, missing_split
from r2id.errors import InputError
from r2id.files.images import ACCEPTED_IMAGES, IMAGE_SUFFIXES, open_picture

SPLIT_FOLDERS = frozenset({"train", "test", "validation", "valid", "val", "dev"})
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
CAPTION_SUFFIX = ".txt"


def folder_content(root: Path, split: str, background: int, caption_column: str | None) -> Content:
    subfolders = {
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and any(_image_files(folder))
    }
    if not subfolders and not any(_image_files(root)):
        raise InputError(f"{root} holds no images; {ACCEPTED_IMAGES}, or MNIST-style IDX files.")
    split_names = subfolders & SPLIT_FOLDERS
    # A label may well be called "train", the vehicle; but not with "test" beside it, nor as the only one.
    has_splits = len(split_names) >= 2 or (split_names == subfolders and not _is_flat(root))
    available = sorted(subfolders) if has_splits else ["train"]
    if split not in available:
        raise missing_split(root, split, available)

    folder = root / split if has_splits else root
    metadata = next(
        (place / name for place in (folder, root) for name in METADATA_FILES if (place / name).is_file()),
        None,
    )
    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None
    if metadata is not None:
        files, rows = _read_metadata(metadata, folder)
        columns = [caption_column] if caption_column else CAPTION_COLUMNS
        caption_values = next(filter(None, (_column(metadata, rows, name) for name in columns)), None)
        if caption_column and caption_values is None:
            raise InputError(f"{metadata} has no column {caption_column!r}; accepted is a column of captions.")
        captions = None if caption_values is None else tuple(map(str, caption_values))
        label_values = _column(metadata, rows, LABEL_COLUMN)
        if label_values is not None:
            labels, label_names = index_values(label_values, metadata)
    else:
        files = sorted(_image_files(folder))
        nested = [file.relative_to(folder).parts for file in files if file.parent != folder]
        if nested and len(nested) < len(files):
            loose = next(file for file in files if file.parent == folder)
            raise InputError(
                f"{loose} lies beside subfolders of images; accepted are images in one flat folder, or all "
                "of them in subfolders that name their labels."
            )
        if nested:
            labels, label_names = index_names([parts[0] for parts in nested])
        captions = _caption_files(files)
    return Content(
        pictures=(open_picture(file, background) for file in files),
        description=f"image folder {root.resolve().name}",
        labels=labels,
        label_names=label_names,
        captions=captions,
    )


def _image_files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in IMAGE_SUFFIXES and not hidden and file.is_file():
            yield file


def _caption_files(images: Sequence[Path]) -> tuple[str, ...] | None:
    """Texts beside the images; None where no image has one."""
    texts = [image.with_suffix(CAPTION_SUFFIX) for image in images]
    missing = [text for text in texts if not text.is_file()]
    if len(missing) == len(texts):
        return None
    if missing:
        raise InputError(f"{missing[0]} does not exist; accepted is a caption for every image, or for none.")
    try:
        return tuple(" ".join(text.read_text(encoding="utf-8-sig").split()) for text in texts)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a caption cannot be read ({error}); accepted is text in UTF-8.") from error


def _is_flat(folder: Path) -> bool:
    return any(file.parent == folder for file in _image_files(folder))


def _read_metadata(metadata: Path, folder: Path) -> tuple[list[Path], list[Mapping[str, Any]]]:
    """The rows about files in `folder`, and these files; a metadata file above the splits covers them all."""
    files: list[Path] = []
    rows: list[Mapping[str, Any]] = []
    for line, row in _metadata_rows(metadata):
        name = row.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{metadata}, line {line}, has the file_name {name!r}; accepted is an image's relative path."
            )
        file = metadata.parent / name
        if not file.is_relative_to(folder):
            continue
        if not file.is_file():
            raise InputError(
                f"{metadata}, line {line}, names {name}, which does not exist; accepted are existing files."
            )
        files.append(file)
        rows.append(row)
    if not files:
        raise InputError(f"{metadata} names no images in {folder}; accepted is at least one row with a file_name.")
    return files, rows


def _metadata_rows(metadata: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as stream:
            if metadata.suffix == ".csv":
                table = csv.DictReader(stream, strict=True)
                for row in table:
                    yield table.line_num, row
                return
            for line, text in enumerate(stream, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise InputError(
                        f"{metadata}, line {line}, is {text.strip()[:40]}; accepted is a JSON object per line."
                    )
                yield line, row
    except json.JSONDecodeError as error:
        raise InputError(
            f"{metadata}, line {line}, is not JSON ({error}); accepted is a JSON object per line."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{metadata} cannot be read ({error}); accepted is a JSON lines or CSV file in UTF-8."
        ) from error


def _column(metadata: Path, rows: Sequence[Mapping[str, Any]], name: str) -> list[Any] | None:
    values = [row.get(name) for row in rows]
    empty = [value is None or value == "" for value in values]
    if all(empty):
        return None
    if any(empty):
        file_name = rows[empty.index(True)]["file_name"]
        raise InputError(
            f"{metadata} has no {name} for {file_name}; accepted is a {name} for every image, or for none."
        )
    return values
