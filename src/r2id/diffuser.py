"""Compatibility: models saved with version 0.1 import R2ID from here."""

from r2id.networks.diffuser import R2ID

__all__ = ["R2ID"]
