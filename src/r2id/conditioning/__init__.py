"""What a picture should show, as tokens that R2ID attends to: a label or a text; imports errors and networks."""

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner

__all__ = ["LabelConditioner", "TextConditioner"]
