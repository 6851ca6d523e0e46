"""Where models that were saved with version 0.1 look for R2ID."""

from r2id.networks.diffuser import R2ID

__all__ = ["R2ID"]
