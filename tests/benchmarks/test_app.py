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


def test_a_click_means_what_the_page_computes_and_not_a_script_of_the_browser():
    config = {
        "components": [{"id": 5, "props": {"elem_id": "generate"}}, {"id": 6, "props": {}}],
        "dependencies": [
            {"id": 0, "targets": [[5, "click"]], "backend_fn": True},
            {"id": 1, "targets": [[5, "click"]], "backend_fn": False},
            {"id": 2, "targets": [[6, "click"]], "backend_fn": True},
        ],
    }
    assert app.functions(config) == {"generate": 0}
