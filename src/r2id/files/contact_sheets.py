"""Contact sheets: many pictures in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 2
BETWEEN = (40, 44, 52)
TITLE_COLOUR = (200, 204, 212)
TITLE_HEIGHT = 16
PAGE_WIDTH = 1000


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return a sheet of pictures of one size in rows of at most `columns`, unscaled with a thin gap."""
    columns = min(columns, len(pictures))
    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    rows = -(-len(pictures) // columns)
    # diffusers' make_image_grid takes full rows only, and leaves no gap between pictures.
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), BETWEEN)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + index % columns * width, GAP + index // columns * height))
    return sheet


def overview(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str] = (), side: int = 96) -> Image.Image:
    """Return a sheet with a row per size, each picture resized to the same square; pixels of small ones stay visible.

    `titles` are written before the rows.
    """
    cells = []
    for pictures in rows:
        for picture in pictures:
            scale = side / max(picture.size)
            kept = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
            resized = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)), kept)
            cell = Image.new("RGB", (side, side), BETWEEN)
            cell.paste(resized, ((side - resized.width) // 2, (side - resized.height) // 2))
            cells.append(cell)
    sheet = contact_sheet(cells, columns=len(rows[0]))
    return _with_titles(sheet, titles, side + GAP) if titles else sheet


def _with_titles(sheet: Image.Image, titles: Sequence[str], row_height: int) -> Image.Image:
    font = ImageFont.load_default(TITLE_HEIGHT)
    margin = math.ceil(max(font.getlength(title) for title in titles)) + TITLE_HEIGHT
    titled = Image.new("RGB", (margin + sheet.width, sheet.height), BETWEEN)
    titled.paste(sheet, (margin, 0))
    draw = ImageDraw.Draw(titled)
    for row, title in enumerate(titles):
        place = (margin - TITLE_HEIGHT / 2, GAP / 2 + (row + 0.5) * row_height)
        draw.text(place, title, TITLE_COLOUR, font, anchor="rm")
    return titled


def enlarged(sheet: Image.Image) -> Image.Image:
    """Return the sheet with every pixel enlarged to a square, up to the page's width."""
    times = max(1, PAGE_WIDTH // sheet.width)
    return sheet.resize((times * sheet.width, times * sheet.height), Image.Resampling.NEAREST)
