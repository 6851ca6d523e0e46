"""Records of what files were made with: JSON beside them, which the settings of whoever adds to them must equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.atomic import write_whole


def plain(value: Any) -> Any:
    """The same value in what JSON has: folders as text, tuples as lists."""
    return json.loads(json.dumps(value, default=str))


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
    write_whole(path, lambda path: path.write_text(text, encoding="utf-8"))


def read_record(path: Path, advice: str, **kinds: Callable[[Any], Any]) -> dict[str, Any]:
    """What a record holds; its entries of `kinds` must be there, and are converted.

    Raises InputError, which ends with `advice`, where the file is missing or damaged.
    """
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        return record | {name: kind(record[name]) for name, kind in kinds.items()}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {advice}") from error


def check_settings(
    settings: Mapping[str, Any], before: Mapping[str, Any], made: str, advice: str, may_differ: Container[str] = ()
) -> None:
    """Raises InputError for the first setting that is not as it was before.

    Args:
        settings: what is asked for.
        before: the settings of a record, which may have more than those asked for.
        made: what has the settings of before, up to the value: "what out/ holds was made with".
        advice: what to do, the end of the sentence.
        may_differ: names of settings that are not compared.
    """
    for name, value in plain(settings).items():
        # As text too: one nan is like another.
        same = before.get(name) == value or json.dumps(before.get(name)) == json.dumps(value)
        if name not in may_differ and not same:
            raise InputError(f"{name} is {value}; {made} {before.get(name)}; {advice}")
