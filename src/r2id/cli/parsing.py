"""Parsing of sizes, regions, labels and numbers on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

import tyro

from r2id.errors import InputError
from r2id.files.label_names import known_label
from r2id.geometry.sizes import Size


def parse_size(text: str) -> Size:
    """Parse "27x18" as (27, 18). Raises InputError unless both are whole numbers of at least 1."""
    # 18 digits exceed every format, and fit in 64 bits.
    sides = re.fullmatch("([0-9]{1,18})x([0-9]{1,18})", text.lower())
    if not sides:
        raise InputError(f"size {text!r} is not HxW, a height and a width in pixels such as 27x18")
    height, width = map(int, sides.groups())
    if height < 1 or width < 1:
        raise InputError(f"size {text!r} is empty; height and width must be at least 1")
    return height, width


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Parse "0,0,16,16" as (0, 0, 16, 16). Raises InputError unless there are four whole numbers."""
    parts = text.split(",")
    try:
        top, left, bottom, right = (int(part) for part in parts)
    except ValueError:
        raise InputError(
            f"region {text!r} is not top,left,bottom,right in pixels of the output, such as 0,0,16,16"
        ) from None
    return top, left, bottom, right


def parse_labels(text: str, known: Sequence[str] = ()) -> list[str]:
    """Parse "0-3,7,cat" as ["0", "1", "2", "3", "7", "cat"]: names separated by commas, and ranges of whole numbers.

    Names of `known` labels come first, even if they look like a range or contain commas; the longest match counts.
    They may be written as `known_label` reads them.
    """
    labels: list[str] = []
    parts = text.split(",")
    longest = 1 + max((name.count(",") for name in known), default=0)
    while parts:
        for count in range(min(longest, len(parts)), 0, -1):
            part = ",".join(parts[:count]).strip()
            if part in known:
                break
        del parts[:count]
        if part in known:
            labels.append(part)
            continue
        numbers = re.fullmatch("([0-9]+)-([0-9]+)", part)
        if numbers:
            first, last = numbers.groups()
            if max(len(first), len(last)) > 9 or not 0 <= int(last) - int(first) <= 100_000:
                raise InputError(f"label range {part!r} is not low-high, such as 0-9")
            labels += [str(number) for number in range(int(first), int(last) + 1)]
        elif part:
            labels.append(known_label(part, known) or part)
    if not labels:
        raise InputError(f"labels {text!r} names none; give names or ranges separated by commas, such as 0-9")
    return labels


class OptionError(Exception):
    """An option that cannot be read. It is no ValueError, which tyro would report in its own words."""


def _read_option(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except InputError as error:
        raise OptionError(str(error)) from error


RULES = tyro.constructors.ConstructorRegistry()


@RULES.primitive_rule
def _size_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    if get_origin(type_info.type) is not tuple or get_args(type_info.type) != (int, int):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="HxW",
        instance_from_str=lambda arguments: _read_option(parse_size, arguments[0]),
        is_instance=lambda value: isinstance(value, tuple) and len(value) == 2,
        str_from_instance=lambda size: [f"{size[0]}x{size[1]}"],
    )


@RULES.primitive_rule
def _number_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    if type_info.type not in (int, float):
        return None
    kind, name = type_info.type, {int: "a whole number", float: "a number"}[type_info.type]

    def read(arguments: list[str]) -> float:
        try:
            return kind(arguments[0])
        except ValueError:
            raise OptionError(f"{arguments[0]!r} is not {name}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, (kind, int)),
        str_from_instance=lambda number: [str(number)],
    )


def check_seed(seed: int) -> None:
    """Raise InputError unless torch accepts the seed and its successors."""
    if not 0 <= seed < 2**62:
        raise InputError(f"seed is {seed}; it must be from 0 to {2**62 - 1}")
