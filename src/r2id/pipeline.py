"""Where models that were saved with version 0.1 look for R2Pipeline."""

from r2id.diffusion.pipeline import R2Pipeline

__all__ = ["R2Pipeline"]
