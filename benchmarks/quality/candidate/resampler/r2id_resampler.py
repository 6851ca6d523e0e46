from r2id.resampler import R2IR  # noqa: F401
