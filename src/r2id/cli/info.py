"""`r2id info`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from r2id.cli.models import is_network, load_pipeline
from r2id.errors import InputError

if TYPE_CHECKING:
    from r2id.files.models import Part


@dataclass(frozen=True)
class Info:
    """Show a model's parts and what it was trained on."""

    name: tyro.conf.Positional[str | None] = None
    """The model, in place of --model."""
    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""


def info(config: tyro.conf.OmitArgPrefixes[Info]) -> None:
    """Show a model's parts and what it was trained on."""
    from r2id.files.record import trainings
    from r2id.geometry.sizes import resolution_limit, size_text
    from r2id.networks.forms import settings_of_form

    model = config.name or config.model
    if config.name and config.model not in (config.name, Info.model):
        raise InputError(f"{config.name} and --model {config.model} are given; give one of them")
    parts, defaults = _read(model)
    print(f"model {model}")
    if "conditioner" in parts:
        print(f"labels {', '.join(parts['conditioner'].config.get('label_names', ())) or 'none: it shows texts'}")
    if defaults:
        sizes = {key: size_text(value) for key, value in defaults.items() if key.endswith("size")}
        given = {key: value for key, value in (defaults | sizes).items() if value is not None}
        _print_settings("generates by default", given, indent=0)
    for name, part in parts.items():
        # An R2IR that was saved earlier has settings of other forms, too.
        own = settings_of_form(part.config) if "attention" in part.config else part.config
        print(f"\n{name}: {own['_class_name']}, {part.parameters:,} parameters")
        if "num_high" in own:
            limit = resolution_limit(own["num_high"])
            print(f"  its highest position frequency tells {limit} samples per side apart")
            if own.get("jitter") == "expected":
                print(f"  of which training kept those that tell {own['sample_size']} apart")
        hidden = ("training", "label_names")
        settings = {key: value for key, value in own.items() if key not in hidden and not key.startswith("_")}
        # The rest of what is told of bundled parts are checksums and statistics.
        for key, name in (("latents_of", "model"), ("vectors_of", "name")):
            if settings.get(key):
                settings[key] = settings[key][name]
        _print_settings("settings", settings)
        for turn, record in trainings(part.config.get("training")):
            _print_settings(f"training{turn}", record)


def _read(model: str) -> tuple[dict[str, Part], dict[str, Any]]:
    """Return the networks of a pipeline, or one alone, by name, and generation defaults. Only a model of the hub is
    loaded."""
    from r2id.files.models import PART_OF_CLASS, model_folder, read_generation_defaults, read_part, read_parts

    if is_network(model):
        part = read_part(model_folder(model, "config.json"))
        return {PART_OF_CLASS.get(part.config["_class_name"], "conditioner"): part}, {}
    folder = model_folder(model, "model_index.json")
    if not (folder / "model_index.json").is_file():
        # Loading puts a model of the hub into its cache, and says what is wrong with a name.
        pipeline = load_pipeline(model, "cpu")
        folder = Path(pipeline.download(model, local_files_only=True))
    return read_parts(folder), read_generation_defaults(folder)


def _print_settings(title: str, settings: dict[str, Any], indent: int = 2) -> None:
    """Print settings in lines of readable length."""
    text = ", ".join(f"{key}={value}" for key, value in settings.items())
    first, others = " " * indent, " " * (indent + 2)
    print(textwrap.fill(f"{title}: {text}", 110, initial_indent=first, subsequent_indent=others))
