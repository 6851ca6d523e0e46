"""Folders of images, with labels from folder names or metadata, and captions from metadata or texts beside them."""

# The imagefolder of datasets (tried: 5.2) silently omits linked label folders, .caption files and unread pictures. It
# refuses one text beside lists of texts, shifts columns at an unquoted comma, and sorts 10 before 2.

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from r2id.data.content import (
    CAPTION_COLUMNS,
    DOCUMENT_SUFFIXES,
    LABEL_COLUMN,
    Content,
    caption_texts,
    index_names,
    index_values,
    kinds,
    missing_split,
)
from r2id.errors import InputError
from r2id.files.folders import visible_files
from r2id.files.images import ACCEPTED_IMAGES, is_picture, open_picture

SPLIT_FOLDERS = frozenset({"train", "test", "validation", "valid", "val", "dev"})
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
CAPTION_SUFFIXES = (".txt", ".caption")
TEXT_SUFFIXES = (*CAPTION_SUFFIXES, ".jsonl", ".json", ".csv")


def folder_content(root: Path, split: str, background: int, caption_column: str | None) -> Content:
    found: list[Path] = []
    others: list[Path] = []
    for file in visible_files(root):
        suffix = file.suffix.lower()
        if suffix not in DOCUMENT_SUFFIXES:
            (found if suffix not in TEXT_SUFFIXES and is_picture(file) else others).append(file)
    if not found:
        but = "".join(f", only {one}" for one in _unreadable(others))
        raise InputError(f"{root} holds no images{but}; {ACCEPTED_IMAGES}, or MNIST-style IDX files.")
    is_flat = any(file.parent == root for file in found)
    subfolders = {file.relative_to(root).parts[0] for file in found if file.parent != root}
    split_names = subfolders & SPLIT_FOLDERS
    # A label may be called "train", the vehicle, but not beside "test" nor as the only label.
    has_splits = len(split_names) >= 2 or (bool(split_names) and split_names == subfolders and not is_flat)
    available = sorted(subfolders) if has_splits else ["train"]
    if split not in available:
        raise missing_split(root, split, available)

    folder = root / split if has_splits else root
    files = sorted(file for file in found if file.is_relative_to(folder))
    others = [file for file in others if file.is_relative_to(folder) or file.parent == root]
    left_out = _unreadable([file for file in others if file.is_relative_to(folder)])
    metadata = next(
        (place / name for place in (folder, root) for name in METADATA_FILES if (place / name).is_file()),
        None,
    )
    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[tuple[str, ...], ...] | None = None
    texts = [metadata] if metadata else [text for text in map(_caption_file, files) if text]
    if unread := {file for file in others if file.suffix.lower() in TEXT_SUFFIXES}.difference(texts):
        where = f"beside {metadata.name}" if metadata else f"that are not {', '.join(METADATA_FILES)} or captions"
        left_out += (f"texts {where} ({kinds(unread)})",)
    if metadata is not None:
        present = set(files)
        files, rows = _read_metadata(metadata, folder)
        if unnamed := len(present.difference(files)):
            left_out += (f"{unnamed} images that {metadata.name} does not name",)
        columns = (caption_column,) if caption_column else CAPTION_COLUMNS
        column, caption_values = next(
            ((name, values) for name in columns if (values := _column(metadata, rows, name))), (None, None)
        )
        if caption_column and caption_values is None:
            raise InputError(f"{metadata} has no column {caption_column!r}; give a column of captions.")
        if caption_values is not None:
            captions = caption_texts(caption_values, metadata)
        label_values = _column(metadata, rows, LABEL_COLUMN)
        if label_values is not None:
            labels, label_names = index_values(label_values, metadata)
        read = {"file_name", LABEL_COLUMN, column}
        if ignored := sorted({str(name) for row in rows for name in row} - read):
            left_out += (f"columns {', '.join(ignored)}",)
    else:
        nested = [file.relative_to(folder).parts for file in files if file.parent != folder]
        if nested and len(nested) < len(files):
            loose = next(file for file in files if file.parent == folder)
            raise InputError(
                f"{loose} lies beside subfolders of images; put the images in one flat folder, or all "
                "of them in subfolders that name their labels."
            )
        if nested:
            labels, label_names = index_names([parts[0] for parts in nested])
        captions = _captions(files)
    return Content(
        count=len(files),
        picture=lambda index: open_picture(files[index], background),
        description=f"image folder {root.resolve().name}",
        labels=labels,
        label_names=label_names,
        captions=captions,
        names=tuple(file.relative_to(folder).as_posix() for file in files),
        left_out=left_out,
    )


def _unreadable(files: Sequence[Path]) -> tuple[str, ...]:
    """Describe files that are neither pictures nor texts."""
    found = [file for file in files if file.suffix.lower() not in TEXT_SUFFIXES]
    return (f"files in no format that can be read ({kinds(found)})",) if found else ()


def _caption_file(image: Path) -> Path | None:
    """Return the text beside an image, or None."""
    return next((text for suffix in CAPTION_SUFFIXES if (text := image.with_suffix(suffix)).is_file()), None)


def _captions(images: Sequence[Path]) -> tuple[tuple[str, ...], ...] | None:
    """Read the texts beside the images; return None if no image has one."""
    texts = [_caption_file(image) for image in images]
    if not any(texts):
        return None
    if None in texts:
        missing = images[texts.index(None)].with_suffix(CAPTION_SUFFIXES[0])
        raise InputError(f"{missing} does not exist; give a caption for every image, or for none.")
    try:
        return tuple((" ".join(text.read_text(encoding="utf-8-sig").split()),) for text in texts if text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a caption cannot be read ({error}); it must be text in UTF-8.") from error


def _read_metadata(metadata: Path, folder: Path) -> tuple[list[Path], list[Mapping[str, Any]]]:
    """Return the files in `folder` and their rows; a metadata file above the splits covers all splits."""
    files: list[Path] = []
    rows: list[Mapping[str, Any]] = []
    for line, row in _metadata_rows(metadata):
        name = row.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{metadata}, line {line}, has the file_name {name!r}; it must be an image's relative path."
            )
        file = metadata.parent / name
        if not file.is_relative_to(folder):
            continue
        if not file.is_file():
            raise InputError(f"{metadata}, line {line}, names {name}, which does not exist; give existing files.")
        files.append(file)
        rows.append(row)
    if not files:
        raise InputError(f"{metadata} names no images in {folder}; it must have at least one row with a file_name.")
    return files, rows


def _metadata_rows(metadata: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as stream:
            if metadata.suffix == ".csv":
                table = csv.DictReader(stream, strict=True)
                for row in table:
                    if None in row:
                        raise InputError(
                            f"{metadata}, line {table.line_num}, has more values than the {len(row) - 1} columns; "
                            "put values with commas in double quotes."
                        )
                    yield table.line_num, row
                return
            for line, text in enumerate(stream, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise InputError(f"{metadata}, line {line}, is {text.strip()[:40]}; give a JSON object per line.")
                yield line, row
    except json.JSONDecodeError as error:
        raise InputError(f"{metadata}, line {line}, is not JSON ({error}); give a JSON object per line.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{metadata} cannot be read ({error}); give a JSON lines or CSV file in UTF-8.") from error


def _column(metadata: Path, rows: Sequence[Mapping[str, Any]], name: str) -> list[Any] | None:
    values = [row.get(name) for row in rows]
    empty = [value is None or value in ("", []) for value in values]
    if all(empty):
        return None
    if any(empty):
        file_name = rows[empty.index(True)]["file_name"]
        raise InputError(f"{metadata} has no {name} for {file_name}; give a {name} for every image, or for none.")
    return values
