"""Folders of models, and their description without torch."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from r2id.errors import InputError
from r2id.files.record import read_record

PRETRAINED = Path(__file__).parents[1] / "pretrained"

NETWORKS = ("resampler", "diffuser", "conditioner")
"""Parts of a pipeline from this package."""

PART_OF_CLASS = {"R2IR": "resampler", "R2ID": "diffuser"}
"""The part of a pipeline that a class is; the others are conditioners."""

NO_PARAMETERS = ("latent_mean", "latent_std", "spelling", "fixed")
"""Tensors beside the weights that are no parameters."""


MARKERS = ("model_index.json", "config.json")
"""Files of which each folder of a pipeline or of a network has one."""


def model_folder(name: str | os.PathLike, marker: str | Path) -> Path:
    """Return the folder `name` if it holds a model, or else the bundled one; without either, the path as it is.

    Args:
        name: a folder, or the name of bundled weights.
        marker: the file that identifies the model that is wanted.
    Raises:
        InputError: for a folder of that name with a part of a model.
    """
    folder, bundled = Path(name), PRETRAINED / name
    if not (bundled / marker).is_file() or any((folder / one).is_file() for one in (marker, *MARKERS)):
        return folder
    if any(any(folder.glob(part)) for part in ("*/config.json", "*.safetensors", "*/*.safetensors")):
        raise InputError(
            f"{name} is a folder with a part of a model and without {marker}; "
            f"complete it, or rename it to take the bundled weights {name}"
        )
    return bundled


class Part(NamedTuple):
    """A network in a folder: its config and the number of its parameters."""

    config: dict[str, Any]
    parameters: int


def read_parts(folder: Path) -> dict[str, Part]:
    """Return the networks of a pipeline, by name. Raises InputError for missing or damaged files."""
    index = _read_config(folder / "model_index.json")
    return {name: read_part(folder / name) for name in NETWORKS if (index.get(name) or [None])[0]}


def read_generation_defaults(folder: Path) -> dict[str, Any]:
    """Return the generation defaults of a pipeline. Raises InputError for a missing or damaged file."""
    return _read_config(folder / "model_index.json").get("generation_defaults") or {}


def read_part(folder: Path) -> Part:
    """Read the config of a network and the shapes of its weights. Raises InputError for missing or damaged files."""
    config = _read_config(folder / "config.json")
    shapes: dict[str, list[int]] = {}
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "np") as file:
                # Variants of the weights have the same names.
                shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); give safetensors of save_pretrained") from error
    if not shapes:
        raise InputError(f"{folder} holds no weights; give a folder written by save_pretrained")
    return Part(config, sum(math.prod(shape) for name, shape in shapes.items() if name not in NO_PARAMETERS))


def _read_config(path: Path) -> dict[str, Any]:
    return read_record(path, "give a folder written by save_pretrained", _class_name=lambda name: name)
