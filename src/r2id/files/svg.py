"""Vector pictures as pixels. This file imports no torch, so that processes that only render start at once."""

from __future__ import annotations

import importlib.util
import io

from PIL import Image

from r2id.errors import InputError


def check_renderer() -> None:
    """Raise InputError if resvg-py is not installed."""
    if importlib.util.find_spec("resvg_py") is None:
        raise InputError("vector pictures need resvg-py; install it by `pip install 'r2id[pictures]'`")


def render_svg(svg: str, side: int) -> Image.Image | None:
    """Return the picture RGBA of `side` × `side` pixels, or None if it cannot be rendered.

    Args:
        svg: the text of an SVG file without width and height. One of other proportions is centred.
    """
    import resvg_py

    sized = svg.replace("<svg ", f'<svg width="{side}" height="{side}" ', 1)
    try:
        drawn = resvg_py.svg_to_bytes(svg_string=sized, skip_system_fonts=True)
        with Image.open(io.BytesIO(bytes(drawn))) as picture:
            return picture.convert("RGBA")
    # It names no errors of its own.
    except Exception:
        return None
