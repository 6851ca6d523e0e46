"""Compatibility: models saved with version 0.1 import R2IR from here."""

from r2id.networks.resampler import R2IR

__all__ = ["R2IR"]
