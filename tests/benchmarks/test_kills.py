"""Trainings that are really killed: fewer of them than benchmarks/hardening/kills.py does."""

import json
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest

from r2id import cli

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "hardening"))

import kills  # noqa: E402


def test_a_training_killed_twice_ends_as_one_that_never_was(tmp_path, monkeypatch):
    start, finish = kills.start, kills.finish

    def start_or_run(network, output, *options, steps):
        """The training that is never killed runs in this process, to save the time of a start."""
        if options:
            return start(network, output, *options, steps=steps)
        command = kills.command(network, output, *options, steps=steps)
        with patch.object(sys, "argv", ["r2id", *command[3:]]):
            cli.main()

    monkeypatch.setattr(kills, "start", start_or_run)
    monkeypatch.setattr(kills, "finish", lambda process: process and finish(process))
    counts = kills.torture("resampler", kills=2, seed=0, folder=tmp_path, steps=40)
    assert counts["kills"] == 2 and counts["with a checkpoint"] and not counts["leftovers in the end"]


def test_other_weights_in_the_end_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "start", lambda network, output, *options, steps: None)
    monkeypatch.setattr(kills, "finish", lambda process: None)
    monkeypatch.setattr(kills, "kill", lambda *arguments: True)
    monkeypatch.setattr(kills, "weights", lambda output: {"weight": output.name.encode()})
    with pytest.raises(SystemExit, match="ended with other weights"):
        kills.torture("resampler", kills=1, seed=0, folder=tmp_path)


def test_what_happened_is_written(tmp_path, monkeypatch):
    happened = Counter({"kills": 1, "trainings": 1})
    monkeypatch.setattr(kills, "torture", lambda network, kills, seed, folder: happened)
    monkeypatch.setattr(kills, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["kills.py", "--kills", "2", "--seed", "7"])
    kills.main()
    written = json.loads((tmp_path / "results" / "kills.json").read_text())
    assert written["kills that were resumed to the same weights"] == 2 and written["seed"] == 7
    assert written["of networks"] == {"resampler": happened, "diffuser": happened}
