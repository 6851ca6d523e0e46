"""Records of the settings that files were made with, as JSON beside them; later runs must have equal settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.atomic import write_whole


def plain(value: Any) -> Any:
    """Return the value as JSON types: paths as text, tuples as lists."""
    return json.loads(json.dumps(value, default=str))


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
    write_whole(path, lambda path: path.write_text(text, encoding="utf-8"))


def read_record(path: Path, advice: str, **kinds: Callable[[Any], Any]) -> dict[str, Any]:
    """Read a record. Its entries in `kinds` must exist, and are converted.

    Raises InputError, which ends with `advice`, if the file is missing or damaged.
    """
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        return record | {name: kind(record[name]) for name, kind in kinds.items()}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {advice}") from error


def check_settings(
    settings: Mapping[str, Any], before: Mapping[str, Any], made: str, advice: str, may_differ: Container[str] = ()
) -> None:
    """Raise InputError for the first setting that differs from a record.

    Args:
        settings: the new settings.
        before: the settings of the record, which may have more.
        made: the sentence up to the recorded value: "what out/ holds was made with".
        advice: the end of the sentence, which says what to do.
        may_differ: names of settings that are not compared.
    """
    for name, value in plain(settings).items():
        # The comparison as text makes nan equal to nan.
        same = before.get(name) == value or json.dumps(before.get(name)) == json.dumps(value)
        if name not in may_differ and not same:
            raise InputError(f"{name} is {value}; {made} {before.get(name)}; {advice}")
