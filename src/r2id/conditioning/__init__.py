"""A label or a text as conditioning tokens for R2ID; imports errors, files and networks."""

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner
from r2id.conditioning.words import WordConditioner

__all__ = ["LabelConditioner", "TextConditioner", "WordConditioner"]
