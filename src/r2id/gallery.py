"""Pictures for people: contact sheets, and the gallery that `r2id demo` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    pass

GAP = 2
GREY = 40


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """The pictures, all of one size, in rows of `columns`, pixel for pixel with a thin gap."""
    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), (GREY,) * 3)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + index % columns * width, GAP + index // columns * height))
    return sheet
