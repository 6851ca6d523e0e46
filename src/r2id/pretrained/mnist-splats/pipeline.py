from r2id import R2Pipeline  # noqa: F401
