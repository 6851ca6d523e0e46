"""Progress tells how long the rest will take, in a terminal and in a log."""

import re
import sys

import pytest

from r2id.runtime.progress import progress


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log"])
def test_what_was_there_before_says_nothing_of_how_long_the_rest_takes(capsys, monkeypatch, terminal):
    clock = iter(range(1000, 10_000, 10))
    now = next(clock)
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    monkeypatch.setattr("r2id.runtime.progress.LINE_EVERY", 10)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress(100, "generating", done=80) as advance:
        for _ in range(5):
            now = next(clock)
            advance(2)
    # 10 pictures took 50 seconds, and 10 are missing.
    shown = capsys.readouterr().err
    assert re.search(r"generating:  90%.* 90/100 \[00:50<00:(49|50),", shown), shown


@pytest.mark.parametrize(("pauses", "shown"), [([10, 1], ["15/21", "21/21"]), ([1, 10], ["21/21"]), ([1, 1], [])])
def test_a_log_that_tells_of_a_part_tells_of_the_end(capsys, monkeypatch, pauses, shown):
    now = 0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("r2id.runtime.progress.LINE_EVERY", 10)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress(21, "gallery") as advance:
        for pause, count in zip(pauses, (15, 6), strict=True):
            now += pause
            advance(count)
    assert re.findall(r"\d+/\d+", capsys.readouterr().err) == shown
