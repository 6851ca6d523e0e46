"""MNIST-style IDX files."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy
import torch
from PIL import Image

from r2id.data.content import DOCUMENT_SUFFIXES, Content, index_values, kinds, missing_split
from r2id.errors import InputError
from r2id.files.folders import visible_files

IDX_PREFIXES = {"train": "train", "test": "t10k"}
RANKS = {"images": 3, "labels": 1}
IDX_IMAGES_MAGIC = 0x00000803
IDX_LABELS_MAGIC = 0x00000801


def idx_content(folder: Path, split: str) -> Content:
    available = [name for name in IDX_PREFIXES if idx_file(folder, name, "images")]
    images_file = idx_file(folder, split, "images")
    if images_file is None:
        raise missing_split(folder, split, available)
    images = _read_idx(images_file, IDX_IMAGES_MAGIC, dimensions=3)
    if not images.size:
        raise InputError(f"{images_file} has the size {_by(images.shape)}; it must have at least one pixel.")

    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    labels_file = idx_file(folder, split, "labels")
    if labels_file is not None:
        values = _read_idx(labels_file, IDX_LABELS_MAGIC, dimensions=1)
        if len(values) != len(images):
            raise InputError(
                f"{labels_file} holds {len(values)} labels and {images_file.name} holds {len(images)} "
                "images; give one label per image."
            )
        labels, label_names = index_values(values.tolist(), labels_file)
    known = {name for one in IDX_PREFIXES for kind in RANKS for name in _names(one, kind)}
    files = [file for file in visible_files(folder) if file.suffix.lower() not in DOCUMENT_SUFFIXES]
    others = [file for file in files if file.parent != folder or file.name not in known]
    return Content(
        count=len(images),
        picture=lambda index: Image.fromarray(images[index]),
        description=f"MNIST-style IDX files {folder.resolve().name}",
        labels=labels,
        label_names=label_names,
        left_out=(f"files beside the IDX files ({kinds(others)})",) if others else (),
    )


def idx_file(folder: Path, split: str, kind: str) -> Path | None:
    if split not in IDX_PREFIXES:
        return None
    return next((folder / name for name in _names(split, kind) if (folder / name).is_file()), None)


def _names(split: str, kind: str) -> list[str]:
    """Return the names that an IDX file may have."""
    names = [f"{IDX_PREFIXES[split]}-{kind}{separator}idx{RANKS[kind]}-ubyte" for separator in "-."]
    return [f"{name}{suffix}" for name in names for suffix in ("", ".gz")]


def _read_idx(file: Path, magic: int, dimensions: int) -> numpy.ndarray:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} cannot be read ({error}); give a whole IDX file, gzipped or not.") from error
    header = 4 + 4 * dimensions
    found = int.from_bytes(content[:4], "big")
    if len(content) >= 4 and found != magic:
        raise InputError(f"{file} starts with the number 0x{found:08x}; it must be 0x{magic:08x} for this IDX file.")
    if len(content) < header:
        raise InputError(f"{file} holds {len(content)} bytes; give an IDX file, whose header alone has {header}.")
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    values = numpy.frombuffer(content, dtype=numpy.uint8, offset=header)
    if len(values) != math.prod(shape):
        raise InputError(f"{file} holds {len(values)} values; its header promises {_by(shape)} of them.")
    return values.reshape(shape)


def _by(lengths: Iterable[int]) -> str:
    return "x".join(map(str, lengths))
