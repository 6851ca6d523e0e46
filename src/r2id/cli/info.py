"""`r2id info`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import tyro

from r2id.cli.models import (
    ModelChoice,
    is_resampler,
    load_pipeline,
    load_resampler,
)


@dataclass(frozen=True)
class Info:
    """Show a model's parts and what it was trained on."""

    model: str = "mnist"
    """Bundled weights, a folder, or a Hugging Face hub id."""


def info(config: tyro.conf.OmitArgPrefixes[Info]) -> None:
    """Show a model's parts and what it was trained on."""
    from r2id.geometry.fourier import resolution_limit
    from r2id.publishing.card import trainings

    choice = ModelChoice(model=config.model, device="cpu")
    parts: dict[str, Any] = {}
    print(f"model {config.model}")
    if is_resampler(config.model):
        parts["resampler"] = load_resampler(choice)
    else:
        pipeline = load_pipeline(choice)
        parts |= {"resampler": pipeline.resampler} if pipeline.resampler else {}
        parts |= {"diffuser": pipeline.diffuser, "conditioner": pipeline.conditioner}
        print(f"labels {', '.join(pipeline.conditioner.label_names) or 'none: it shows texts'}")
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        print(f"\n{name}: {type(part).__name__}, {count:,} parameters")
        if "num_high" in part.config:
            limit = resolution_limit(part.config.num_high)
            print(f"  its highest position frequency tells {limit} samples per side apart")
            if part.config.jitter == "expected":
                print(f"  of which training kept those that tell {part.config.sample_size} apart")
        hidden = ("training", "label_names")
        settings = {key: value for key, value in part.config.items() if key not in hidden and not key.startswith("_")}
        _print_settings("settings", settings)
        for turn, record in trainings(part.config.get("training")):
            _print_settings(f"training{turn}", record)


def _print_settings(title: str, settings: dict[str, Any]) -> None:
    """Print settings in lines of readable length."""
    text = ", ".join(f"{key}={value}" for key, value in settings.items())
    print(textwrap.fill(f"{title}: {text}", 110, initial_indent="  ", subsequent_indent="    "))
