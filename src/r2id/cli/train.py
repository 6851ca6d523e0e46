"""`r2id train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from r2id.cli.models import hide_loading_bars
from r2id.training.presets import DIFFUSER_PRESETS, PRESET_NOTES, RESAMPLER_PRESETS
from r2id.training.settings import DiffuserTraining, PictureTraining, ResamplerTraining


def _choice_of(presets: Mapping[str, Any]) -> Any:
    """Return a type with a subcommand for each preset, whose options start from its settings."""
    return tyro.extras.subcommand_type_from_defaults(
        presets, {name: PRESET_NOTES[name] for name, preset in presets.items()}, prefix_names=False
    )


FLAT = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)

ResamplerPreset = Annotated[
    ResamplerTraining | PictureTraining,
    tyro.conf.arg(constructor=_choice_of(RESAMPLER_PRESETS)),
    FLAT[0],
    FLAT[1],
]

DiffuserPreset = Annotated[DiffuserTraining, tyro.conf.arg(constructor=_choice_of(DIFFUSER_PRESETS)), FLAT[0], FLAT[1]]


def train_resampler(config: ResamplerPreset) -> None:
    """Train R2IR to encode and decode images, from a preset."""
    from r2id.runtime.devices import allow_tensor_float32
    from r2id.training.setup import train_resampler as run

    allow_tensor_float32()
    announce(f"the trained resampler is in {run(config)}")


def train_diffuser(config: DiffuserPreset) -> None:
    """Train R2ID to generate the latents of a trained R2IR, or pixels, from a preset."""
    from r2id.runtime.devices import allow_tensor_float32
    from r2id.training.setup import train_diffuser as run

    allow_tensor_float32()
    hide_loading_bars()
    announce(f"the trained pipeline is in {run(config)}")


def announce(text: str) -> None:
    """Print a line once for all processes."""
    from r2id.runtime.processes import Share

    if Share.of_this_process().index == 0:
        print(text)
