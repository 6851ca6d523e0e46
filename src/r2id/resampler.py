"""Where models that were saved with version 0.1 look for R2IR."""

from r2id.networks.resampler import R2IR

__all__ = ["R2IR"]
