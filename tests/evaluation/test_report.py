"""A report is readable while it grows, and its file is whole after every row."""

import json

from r2id.evaluation.report import Report


def test_rows_are_printed_under_their_heading_and_kept(tmp_path, capsys):
    report = Report({"seed": 3}, tmp_path / "made" / "figures.json")
    report.add("errors", {"latents": "4x4", "MSE": 0.00123456})
    assert json.loads((tmp_path / "made" / "figures.json").read_text()) == {
        "settings": {"seed": 3},
        "errors": [{"latents": "4x4", "MSE": 0.00123456}],
    }
    report.add("errors", {"latents": "14x14", "MSE": 0.5})
    report.add("others", {"Fréchet": 1.0})
    assert len(json.loads((tmp_path / "made" / "figures.json").read_text())["errors"]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.split() for line in lines] == [
        ["errors"], ["latents", "MSE"], ["4x4", "0.001235"], ["14x14", "0.5"], ["others"], ["Fréchet"], ["1"],
    ]  # fmt: skip
    # Columns line up.
    assert lines[2].index("0.001235") + len("0.001235") == lines[3].index("0.5") + len("0.5")


def test_without_a_file_rows_are_only_printed(tmp_path, capsys):
    Report({}, None).add("errors", {"MSE": 0.25})
    assert "0.25" in capsys.readouterr().out


def test_the_file_is_json_even_where_a_figure_is_infinite(tmp_path, capsys):
    def refused(constant):
        raise AssertionError(constant)

    Report({}, tmp_path / "figures.json").add("errors", {"MSE": 0.0, "PSNR": float("inf")})
    kept = json.loads((tmp_path / "figures.json").read_text(), parse_constant=refused)
    assert kept["errors"] == [{"MSE": 0.0, "PSNR": None}]
    assert "inf" in capsys.readouterr().out
