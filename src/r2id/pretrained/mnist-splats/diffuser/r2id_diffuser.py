from r2id import R2ID  # noqa: F401
