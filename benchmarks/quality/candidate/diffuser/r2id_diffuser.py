from r2id.diffuser import R2ID  # noqa: F401
