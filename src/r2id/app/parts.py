"""Parts that the tabs of the page share: errors that visitors see, components of HTML, pictures as addresses."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import gradio
from PIL import Image

from r2id.errors import InputError


def said(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler, or generator, so that its InputError is shown to the visitor."""
    if inspect.isgeneratorfunction(handler):

        @wraps(handler)
        def generator(*arguments: Any) -> Iterator[Any]:
            try:
                yield from handler(*arguments)
            except InputError as error:
                raise gradio.Error(str(error), print_exception=False) from error

        return generator

    @wraps(handler)
    def function(*arguments: Any) -> Any:
        try:
            return handler(*arguments)
        except InputError as error:
            raise gradio.Error(str(error), print_exception=False) from error

    return function


def component(name: str, elem_id: str | None = None) -> dict[str, Any]:
    """Return arguments of gradio's HTML for a component whose template, style and script lie beside this file.

    Its id on the page is `elem_id`, by default the name.
    """
    parts = {"html_template": "html", "css_template": "css", "js_on_load": "js"}
    folder = Path(__file__).parent
    files = {part: folder / f"{name}.{suffix}" for part, suffix in parts.items()}
    read = {part: file.read_text(encoding="utf-8") for part, file in files.items() if file.exists()}
    return {**read, "elem_id": elem_id or name}


def in_strip(pictures: Iterable[Image.Image], names: Iterable[str]) -> list[dict[str, str]]:
    """Return the value of a strip of pictures, each with its name."""
    return [{"address": data_address(picture), "name": name} for picture, name in zip(pictures, names, strict=True)]


def data_address(picture: Image.Image) -> str:
    """Return a picture as a data URL, which leaves nothing on disk."""
    file = io.BytesIO()
    picture.save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
