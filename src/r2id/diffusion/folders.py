"""Folders of pipelines in the layout of diffusers: fetched from the hub, with code that names the classes.

diffusers runs code beside weights if the user trusts it. `add_code` writes files that only import the classes of this
package. `importable` lets this package load such folders without running that code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner
from r2id.conditioning.words import WordConditioner
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR

PARTS = (R2ID, R2IR, LabelConditioner, TextConditioner, WordConditioner)
"""Classes of this package that are parts of pipelines."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")


def fetch(name: str, config: dict[str, Any], variant: str | None, **where: Any) -> str:
    """Download a pipeline's parts from the hub, without pickles and other variants, and return their folder.

    Args:
        name: hub id.
        config: the pipeline's config, which names its parts.
        variant: such as "fp16"; a part without weights of this variant comes with its plain ones.
        where: revision, token, cache and other arguments of `huggingface_hub.snapshot_download`.
    """
    parts = [part for part, value in config.items() if isinstance(value, list) and value[0]]

    def get(pattern: str, wanted: Iterable[str], left_out: Sequence[str]) -> str:
        files = ["model_index.json", *(f"{part}/{pattern}" for part in wanted)]
        return snapshot_download(name, allow_patterns=files, ignore_patterns=[*PICKLES, *left_out], **where)

    if not variant:
        return get("*", parts, ["*.*.safetensors"])
    folder, weights = Path(get("*", parts, ["*.safetensors"])), f"*.{variant}*.safetensors"
    get(weights, parts, [])
    return get("*.safetensors", (part for part in parts if not any((folder / part).glob(weights))), ["*.*.safetensors"])


def add_code(folder: Path, pipeline: Any) -> None:
    """Write files that import the pipeline's classes beside its weights, where diffusers looks for custom code."""
    index = folder / "model_index.json"
    config = json.loads(index.read_text())
    config["_class_name"] = ["pipeline", type(pipeline).__name__]
    _write_import(folder / "pipeline.py", type(pipeline))
    for part, value in config.items():
        kind = type(getattr(pipeline, part)) if isinstance(value, list) and part != "_class_name" else None
        if kind and kind in PARTS:
            value[0] = f"r2id_{part}"
            _write_import(folder / part / f"{value[0]}.py", kind)
    index.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _write_import(path: Path, kind: type) -> None:
    # The package itself exports all names, so its modules may move.
    module = "r2id" if kind.__module__.startswith("r2id.") else kind.__module__
    path.write_text(f"from {module} import {kind.__name__}  # noqa: F401\n")


def importable(config: dict[str, Any], class_name: str) -> dict[str, Any]:
    """Return the config of a saved pipeline with the present modules of its classes, in place of files of `add_code` or
    former modules."""
    homes = {kind.__name__: kind.__module__ for kind in PARTS}
    parts = {
        part: [homes[value[1]], value[1]]
        for part, value in config.items()
        if isinstance(value, list) and str(value[0]).startswith("r2id") and value[1] in homes
    }
    return config | parts | {"_class_name": class_name}
