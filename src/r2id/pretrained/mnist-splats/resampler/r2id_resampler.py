from r2id import R2IR  # noqa: F401
