from r2id import WordConditioner  # noqa: F401
