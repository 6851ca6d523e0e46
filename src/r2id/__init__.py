"""R2IR and R2ID: encode, decode and generate images at any resolution and aspect ratio."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2id.batch.resampling import upscale
    from r2id.conditioning.labels import LabelConditioner
    from r2id.conditioning.text import TextConditioner
    from r2id.conditioning.words import WordConditioner
    from r2id.diffusion.pipeline import R2Pipeline
    from r2id.errors import InputError
    from r2id.fields.image_field import ImageField
    from r2id.fields.splats import SplatField
    from r2id.files.latents import Latents
    from r2id.geometry.splats import Splats
    from r2id.networks.diffuser import R2ID
    from r2id.networks.refinement import refine
    from r2id.networks.resampler import R2IR

# No telemetry. diffusers imports ONNX Runtime where it is installed, which would contact a server at once. Both read
# these names on import.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Waiting OpenMP threads would spin on cores that another torch process needs. OpenMP reads this when torch is loaded.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = [
    "R2ID",
    "R2IR",
    "ImageField",
    "InputError",
    "LabelConditioner",
    "Latents",
    "R2Pipeline",
    "SplatField",
    "Splats",
    "TextConditioner",
    "WordConditioner",
    "refine",
    "upscale",
]

_HOMES = {
    "R2IR": "r2id.networks.resampler",
    "R2ID": "r2id.networks.diffuser",
    "ImageField": "r2id.fields.image_field",
    "InputError": "r2id.errors",
    "LabelConditioner": "r2id.conditioning.labels",
    "Latents": "r2id.files.latents",
    "R2Pipeline": "r2id.diffusion.pipeline",
    "SplatField": "r2id.fields.splats",
    "Splats": "r2id.geometry.splats",
    "TextConditioner": "r2id.conditioning.text",
    "WordConditioner": "r2id.conditioning.words",
    "refine": "r2id.networks.refinement",
    "upscale": "r2id.batch.resampling",
}


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when a name that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'r2id' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
