"""Late imports of higher packages by name, for packages that may not import them; r2id/__init__.py fills the names."""

from __future__ import annotations

import importlib
from typing import Any

HOMES: dict[str, str] = {}
"""Modules by name of their task."""


def late(name: str) -> Any:
    """Import and return the module of a task."""
    return importlib.import_module(HOMES[name])
