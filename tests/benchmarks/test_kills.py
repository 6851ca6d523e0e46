"""Trainings that are really killed: fewer of them than benchmarks/hardening/kills.py does."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "hardening"))

import kills  # noqa: E402


def test_a_training_killed_twice_ends_as_one_that_never_was(tmp_path):
    counts = kills.torture("resampler", kills=2, seed=0, folder=tmp_path, steps=40)
    assert counts["kills"] == 2 and counts["with a checkpoint"] and not counts["leftovers in the end"]


def test_other_weights_in_the_end_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "start", lambda network, output, *options, steps: None)
    monkeypatch.setattr(kills, "finish", lambda process: None)
    monkeypatch.setattr(kills, "kill", lambda *arguments: True)
    monkeypatch.setattr(kills, "weights", lambda output: {"weight": output.name.encode()})
    with pytest.raises(SystemExit, match="ended with other weights"):
        kills.torture("resampler", kills=1, seed=0, folder=tmp_path)
