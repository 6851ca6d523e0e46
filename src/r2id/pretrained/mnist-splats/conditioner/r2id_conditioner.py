from r2id import LabelConditioner  # noqa: F401
