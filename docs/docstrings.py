"""Lets the reference read the sections of this project's docstrings, which follow each other without an empty line."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"(?<!\n)\n(?=(Args|Attributes|Raises|Returns):\n)")


class Sections(griffe.Extension):
    """Puts the empty line before every section."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
