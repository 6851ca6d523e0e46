"""`r2id export` and `card`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from r2id.cli.models import is_network, load_pipeline, load_resampler
from r2id.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write R2ID and R2IR's decoder as ONNX, for sampling without torch."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""
    output: Path
    """Folder to write to: OUTPUT/diffuser.onnx, OUTPUT/decoder.onnx and OUTPUT/model.json."""


def export(config: tyro.conf.OmitArgPrefixes[Export]) -> None:
    """Write R2ID and R2IR's decoder as ONNX, for sampling without torch."""
    from r2id.publishing.onnx import export_onnx

    pipeline = load_pipeline(config.model, "cpu")
    for name, difference in export_onnx(pipeline, config.output).items():
        print(f"{config.output / name}: in ONNX Runtime as in torch, to {difference:.1e}")


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a model card: what is known of a model, for people and for the Hugging Face hub."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""
    output: Path | None = None
    """File to write, by default README.md in the model's folder. A hand-written card is never overwritten."""
    name: str | None = None
    """Name of the model in the card's loading example, such as its future hub id; by default MODEL."""
    license: str | None = None
    """Licence of the weights, by the hub's identifier, such as apache-2.0."""
    data_license: str | None = None
    """Licence of the training data, in words."""
    evaluation: Path | None = None
    """The evaluation.json of `evaluate` for these weights; the card shows figures at the trained size."""


def card(config: tyro.conf.OmitArgPrefixes[Card]) -> None:
    """Write a model card: what is known of a model, for people and for the Hugging Face hub."""
    from r2id.files.atomic import write_whole
    from r2id.files.cards import CARD, may_replace, read_card
    from r2id.publishing.card import model_card

    if config.output is None and not Path(config.model).is_dir():
        raise InputError(f"model {config.model} is not a folder that a card could go to; give --output")
    path = config.output or Path(config.model) / CARD
    if not may_replace(read_card(path)):
        raise InputError(f"{path} is there already, and somebody's own; move it away or give another --output")
    load = load_resampler if is_network(config.model) else load_pipeline
    model = load(config.model, "cpu")
    made = model_card(model, config.name or config.model, config.license, config.data_license, config.evaluation)
    write_whole(path, made.save)
    print(f"{path}: the card of {config.name or config.model}")
