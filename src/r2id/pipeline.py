"""Compatibility: models saved with version 0.1 import R2Pipeline from here."""

from r2id.diffusion.pipeline import R2Pipeline

__all__ = ["R2Pipeline"]
