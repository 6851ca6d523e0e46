from r2id.pipeline import R2Pipeline  # noqa: F401
