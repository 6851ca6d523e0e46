"""A report is readable while it grows, and its file is whole after every addition."""

import json

import pytest

from r2id.errors import InputError
from r2id.evaluation.report import Report, figure_text, read_evaluation, title

SETTINGS = {"weights": 1, "data": "noise", "limit": 9, "consistency": 5, "count": 3, "denoising_error": 2}


def test_rows_are_printed_under_their_heading_and_kept(tmp_path, capsys):
    report = Report({"limit": 3, "count": 7}, tmp_path / "made" / "figures.json")
    report.add("reconstruction", [{"latents": "4x4", "MSE": 0.00123456}])
    assert json.loads((tmp_path / "made" / "figures.json").read_text()) == {
        "settings": {"limit": 3, "count": 7},
        "reconstruction": [{"latents": "4x4", "MSE": 0.00123456}],
    }
    report.add("reconstruction", [{"latents": "14x14", "MSE": 0.5}])
    report.add("generation", [{"Fréchet": 1.0}, {"Fréchet": 2.0}], shown=[{"Fréchet": 1.0}])
    kept = json.loads((tmp_path / "made" / "figures.json").read_text())
    assert len(kept["reconstruction"]) == 2 and len(kept["generation"]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.split() for line in lines] == [
        ["reconstruction", "of", "3", "images,", "in", "[-1,", "1]"],
        ["latents", "MSE"], ["4x4", "0.001235"], ["14x14", "0.5"],
        ["7", "generated", "pictures"], ["Fréchet"], ["1"],
    ]  # fmt: skip
    # Columns line up.
    assert lines[2].index("0.001235") + len("0.001235") == lines[3].index("0.5") + len("0.5")


def test_without_a_file_rows_are_only_printed(tmp_path, capsys):
    Report({"limit": 1}, None).add("reconstruction", [{"MSE": 0.25}])
    assert "0.25" in capsys.readouterr().out


def test_figures_by_class_are_kept_and_the_best_and_worst_printed(tmp_path, capsys):
    by_class = {f"class {number}": number / 10 for number in range(11)}
    report = Report({"count": 7}, tmp_path / "figures.json")
    report.add("generation", [{"latents": "4x4", "accuracy": 0.5, "accuracy by class": by_class}])
    assert json.loads((tmp_path / "figures.json").read_text())["generation"][0]["accuracy by class"] == by_class
    *_, heading, row, extremes = capsys.readouterr().out.splitlines()
    assert heading.split() == ["latents", "accuracy"] and row.split() == ["4x4", "0.5"]
    best = ", ".join(f"class {number} {figure_text(number / 10)}" for number in (10, 9, 8, 7))
    worst = ", ".join(f"class {number} {figure_text(number / 10)}" for number in (3, 2, 1, 0))
    assert extremes == f"    accuracy by class: {best}, 3 others, {worst}"
    few = {"rose": 0.25, "iris": 0.5}
    report.add("generation", [{"latents": "4x4", "accuracy": 0.5, "accuracy by class": few}])
    assert capsys.readouterr().out.splitlines()[-1] == "    accuracy by class: iris 0.5, rose 0.25"


def test_the_file_is_json_even_where_a_figure_is_infinite_or_none(tmp_path, capsys):
    def refused(constant):
        raise AssertionError(constant)

    rows = [{"MSE": float("nan"), "PSNR": float("inf")}]
    Report({"limit": 1}, tmp_path / "figures.json").add("reconstruction", rows)
    kept = json.loads((tmp_path / "figures.json").read_text(), parse_constant=refused)
    assert kept["reconstruction"] == [{"MSE": None, "PSNR": None}]
    assert capsys.readouterr().out.split()[-2:] == ["–", "inf"] and figure_text(None) == "–"


def test_a_file_is_read_as_it_was_written(tmp_path):
    report = Report(SETTINGS, tmp_path / "figures.json")
    for section in ("reconstruction", "consistency", "generation", "denoising_error"):
        report.add(section, [{"latents": "4x4", "MSE": 0.5}])
    assert read_evaluation(tmp_path / "figures.json") == (SETTINGS, report.rows)
    assert title("denoising_error", SETTINGS) == "denoising error by timestep of 2 images"


BAD_FILES = {
    "gone": None,
    "cut": "{",
    "a list": "[]",
    "without settings": "{}",
    "without weights": json.dumps({"settings": {}}),
    "of an earlier version": json.dumps({"settings": SETTINGS, "100 generated pictures": [{"latents": "4x4"}]}),
    "without rows": json.dumps({"settings": SETTINGS, "generation": []}),
    "without numbers": json.dumps({"settings": {"weights": 1, "data": ""}, "generation": [{"latents": "4x4"}]}),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=list(BAD_FILES))
def test_other_files_are_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "figures.json").write_text(content)
    with pytest.raises(InputError, match="figures.json cannot be read as figures .*; give an evaluation.json"):
        read_evaluation(tmp_path / "figures.json")
