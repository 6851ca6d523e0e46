from r2id.conditioning import LabelConditioner  # noqa: F401
