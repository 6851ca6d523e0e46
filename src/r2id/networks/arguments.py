"""Arguments of a network, checked by the types that its constructor declares."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from r2id.errors import InputError

MAY_BE_ZERO = frozenset(
    {"num_blocks", "encoder_blocks", "decoder_blocks", "pixel_blocks", "num_high", "num_low", "augmentations"}
)
"""Counts of what a network can do without; any other number has to be above 0."""


def check_arguments(network: type, arguments: Mapping[str, Any]) -> None:
    """Raise InputError for an argument that the constructor of a network does not have, or a value not of its type."""
    known = inspect.signature(network).parameters
    kinds = get_type_hints(network.__init__)  # type: ignore[misc]
    for name, value in arguments.items():
        if name not in known:
            raise InputError(f"the model has no argument {name!r}; choose from {', '.join(known)}")
        least, default = int(name not in MAY_BE_ZERO), known[name].default
        if not _is(kinds[name], value, least, default):
            accepted = _text(kinds[name], least, default)
            raise InputError(f"the model cannot be built with {name}={value!r}; it must be {accepted}")


def _is(kind: Any, value: Any, least: int, default: Any) -> bool:
    """Return whether a value is of a type; whole numbers are at least `least`, others above 0."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(part, value, least, default) for part in parts)
    if origin is Literal:
        return value in parts
    if kind is int:
        return type(value) is int and value >= least
    if kind is float:
        return type(value) in (int, float) and 0 < value < math.inf
    if origin in (tuple, Sequence):
        lengths_fit = isinstance(value, (list, tuple)) and len(value) == _length(kind, default)
        return lengths_fit and all(_is(parts[0], one, least, default) for one in value)
    return isinstance(value, origin or kind)


def _text(kind: Any, least: int, default: Any) -> str:
    """Say which values `_is` accepts."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_text(part, least, default) for part in parts)
    if origin is Literal:
        return f"{', '.join(map(repr, parts[:-1]))} or {parts[-1]!r}"
    if origin in (tuple, Sequence):
        return f"{_length(kind, default)} numbers, each {_text(parts[0], least, default)}"
    names = {
        int: f"a whole number of at least {least}",
        float: "a number above 0",
        bool: "True or False",
        dict: "a dict",
    }
    return "None" if kind is NoneType else names[origin or kind]


def _length(kind: Any, default: Any) -> int:
    """Return how many values a pair, or a sequence with one for each lattice, has."""
    return len(get_args(kind)) if get_origin(kind) is tuple else len(default)
