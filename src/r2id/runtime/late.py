"""What a package asks of one above it, which it may not import: r2id/__init__.py says where that is."""

from __future__ import annotations

import importlib
from typing import Any

HOMES: dict[str, str] = {}
"""The module that does a thing, by the name of the thing."""


def late(name: str) -> Any:
    """The module that does this, imported when it is first needed."""
    return importlib.import_module(HOMES[name])
