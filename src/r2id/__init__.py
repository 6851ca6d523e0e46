"""R2IR and R2ID: encode, decode and generate images at any resolution and aspect ratio."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2id.conditioning import LabelConditioner
    from r2id.diffuser import R2ID
    from r2id.errors import InputError
    from r2id.field import ImageField
    from r2id.latents import Latents
    from r2id.pipeline import R2Pipeline
    from r2id.resampler import R2IR

# Whoever uses this is not reported on. diffusers imports ONNX Runtime where that is installed, which would at once look
# for a server to tell of it; both read these names as they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["R2ID", "R2IR", "ImageField", "InputError", "LabelConditioner", "Latents", "R2Pipeline"]

_HOMES = {
    "R2IR": "r2id.resampler",
    "R2ID": "r2id.diffuser",
    "ImageField": "r2id.field",
    "InputError": "r2id.errors",
    "LabelConditioner": "r2id.conditioning",
    "Latents": "r2id.latents",
    "R2Pipeline": "r2id.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when a class that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'r2id' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
