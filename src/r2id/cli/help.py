"""Help texts from docstrings, without importing the described modules."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, get_type_hints

import tyro

import r2id


def explain(settings: type, more: dict[str, str] | None = None) -> None:
    """Give tyro the docstrings of a dataclass's fields, each as one line, with `more` text for some.

    tyro itself would keep the line breaks of the source, and say "(default: None)" where the text names the default.
    """
    types = get_type_hints(settings, include_extras=True)
    texts = {name: text for one in reversed(settings.__mro__[:-1]) for name, text in _field_texts(one)}
    for field in fields(settings):
        text = texts[field.name] + (more or {}).get(field.name, "")
        field.metadata = MappingProxyType({**field.metadata, "help": text})
        if field.default is None:
            settings.__annotations__[field.name] = Annotated[types[field.name], tyro.conf.arg(help_behavior_hint=_hint)]


def _hint(default: str) -> str:
    return "" if default == "None" else f"(default: {default})"


def _field_texts(settings: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, " ".join(ast.literal_eval(text.value).split())


def network_options(file: str, network: str) -> str:
    """Return the arguments of a network's constructor with defaults, a line for each entry of its docstring.

    Args:
        file: name of the network's file in `networks`, which is read and not imported.
        network: name of its class.
    """
    source = (Path(r2id.__file__).parent / "networks" / file).read_text(encoding="utf-8")
    definition = next(
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == network
    )
    constructor = next(
        node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    names = [argument.arg for argument in constructor.args.args[1:]]
    defaults = dict(zip(names, map(ast.literal_eval, constructor.args.defaults), strict=True))
    lines = []
    described = inspect.cleandoc(ast.get_docstring(definition) or "").partition("\nArgs:\n")[2]
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(described)):
        named, _, text = entry.partition(": ")
        if named != "training":
            settings = ", ".join(f"{name}={defaults[name]}" for name in named.split(", "))
            lines.append(f"{settings}: {' '.join(text.split())}")
    return "\n".join(lines)
