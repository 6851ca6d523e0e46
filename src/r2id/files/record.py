"""Records of the settings that files were made with, as JSON beside them; later runs must have equal settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.geometry.sizes import size_text


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


def first_difference(
    settings: Mapping[str, Any], before: Mapping[str, Any], may_differ: Container[str] = ()
) -> str | None:
    """Return the name of the first setting that differs from a record, which may have more, or None.

    `may_differ` holds names of settings that are not compared.
    """
    for name, value in plain(settings).items():
        # The comparison as text makes nan equal to nan.
        same = before.get(name) == value or json.dumps(before.get(name)) == json.dumps(value)
        if name not in may_differ and not same:
            return name
    return None


def check_settings(
    settings: Mapping[str, Any], before: Mapping[str, Any], made: str, advice: str, may_differ: Container[str] = ()
) -> None:
    """Raise InputError for the first setting that differs from a record.

    Args:
        settings, before, may_differ: as for `first_difference`.
        made: the sentence up to the recorded value: "what out/ holds was made with".
        advice: the end of the sentence, which says what to do.
    """
    name = first_difference(settings, before, may_differ)
    if name is not None:
        raise InputError(f"{name} is {plain(settings[name])}; {made} {before.get(name)}; {advice}")


def trainings(record: Mapping[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the trainings of weights, from first to last: the turn of several, such as ", 1 of 2", and readable
    settings."""
    if not record:
        return []
    stages = [dict(record)]
    while before := stages[0].pop("started_from", None):
        stages.insert(0, dict(before))
    turns = [f", {turn} of {len(stages)}" if len(stages) > 1 else "" for turn in range(1, len(stages) + 1)]
    settings = [{name: _readable(value) for name, value in stage.items() if value is not None} for stage in stages]
    return list(zip(turns, settings, strict=True))


def _readable(value: Any) -> Any:
    """Return sizes as HxW, and lists joined by spaces."""
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and all(isinstance(side, int) for side in value):
            return size_text((value[0], value[1]))
        return " ".join(str(_readable(one)) for one in value)
    return value
