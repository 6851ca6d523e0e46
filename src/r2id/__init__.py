"""R2IR and R2ID: encode, decode and generate images at any resolution and aspect ratio."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2id.conditioning import LabelConditioner
    from r2id.diffuser import R2ID
    from r2id.errors import InputError
    from r2id.field import ImageField
    from r2id.pipeline import R2Pipeline
    from r2id.resampler import R2IR

__version__ = "0.1.0"
__all__ = ["R2ID", "R2IR", "ImageField", "InputError", "LabelConditioner", "R2Pipeline"]

_HOMES = {
    "R2IR": "resampler",
    "R2ID": "diffuser",
    "ImageField": "field",
    "InputError": "errors",
    "LabelConditioner": "conditioning",
    "R2Pipeline": "pipeline",
}


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when a class that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'r2id' has no attribute {name!r}")
    return getattr(importlib.import_module(f"r2id.{_HOMES[name]}"), name)
