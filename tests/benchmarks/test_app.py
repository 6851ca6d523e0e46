"""The visitors that benchmarks/hardening/app.py sends to the page."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "hardening"))

import app  # noqa: E402


def test_visitors_of_few_requests_ask_for_many_kinds(monkeypatch):
    monkeypatch.setattr(app, "Visitor", lambda address: None)
    monkeypatch.setattr(app, "request", lambda visitor, kind, chance: "")
    kinds = [[kind for kind, _, _ in app.visit("", number, 1)] for number in range(40)]
    assert all(len(each) == 2 and each[0] == "generate" for each in kinds)
    assert len({each[1] for each in kinds}) > 5
