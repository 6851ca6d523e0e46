"""How good the bundled weights are: the tables say what is kept, and only of these weights."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy
import pytest

from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.plan import Plan

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests" / "fixtures" / "digits"
PLAN = Plan(count=10, limit=3, denoising_error=0, latent_size=((2, 2), (3, 2)), size=((16, 16),), num_inference_steps=2)


@pytest.fixture
def copied(quality, tmp_path):
    """The documents, to write to."""
    documents = [Path("README.md"), Path("docs/results.md"), quality.measurements.CARD]
    for path in documents:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return documents


def test_the_documents_say_what_was_measured_with_the_bundled_weights(quality, copied, tmp_path):
    quality.write_tables(R2Pipeline.from_pretrained("mnist").checksum(), tmp_path)
    for path in copied:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), "run benchmarks/quality/run.py --only"


def test_figures_of_other_weights_are_not_shown(quality, copied, tmp_path):
    quality.write_tables(0, tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "| classifier accuracy | – | – | – | – |" in readme and readme.endswith("\n")
    rows = [
        row
        for row in (tmp_path / "docs/results.md").read_text().splitlines()
        if row.startswith("| classifier accuracy")
    ]
    assert rows and all(" not measured " in row for row in rows)
    assert "type: accuracy" not in (tmp_path / copied[-1]).read_text()


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("<!-- begin summary, written by a script -->", "<!-- begin summary -->"),
        ("<!-- end summary -->", ""),
        ("<!-- end summary -->", "<!-- end summary -->\n<!-- end summary -->"),
    ],
)
def test_a_document_without_one_place_for_a_table_is_an_error_and_none_is_written(
    quality, copied, tmp_path, text, other
):
    card = tmp_path / copied[-1]
    content = card.read_text().replace("benchmarks/quality/run.py -->", "a script -->")
    assert text in content
    card.write_text(content.replace(text, other))
    before = [(tmp_path / path).read_text() for path in copied]
    with pytest.raises(InputError, match="README.md must have one line 'begin summary, written by' and one"):
        quality.write_tables(0, tmp_path)
    assert before == [(tmp_path / path).read_text() for path in copied]


def test_a_table_holds_the_figures_of_its_measurement(quality, copied, monkeypatch, tmp_path):
    """Of R2IR, not of a baseline; of the latents and the size that the table names; of the plan of today only."""
    plans = quality.measurements.MEASUREMENTS
    rows = {
        "reconstruction": [
            {"latents": "4x4", "pictures": "32x32", "MSE": 0.5, "method": "Lanczos"},
            {"latents": "4x4", "pictures": "32x32", "MSE": 0.0123, "method": "R2IR"},
            {"latents": "4x4", "pictures": "64x64", "MSE": 0.5, "method": "R2IR"},
        ]
    }
    generated = {
        "generation": [
            {"latents": "real", "pictures": "32x32", "accuracy": 0.9},
            {"latents": "8x8", "pictures": "32x32", "accuracy": 0.12345, "Fréchet": 7.0},
        ]
    }
    monkeypatch.setattr(quality.measurements, "HERE", tmp_path)
    for name, kept, change in (
        ("reconstruction", rows, {}),
        ("10000-8x8", generated, {}),
        ("10000-4x4", generated, {"seed": 5}),
    ):
        settings = (
            json.loads(json.dumps(asdict(plans[name].of(10_000, quality.measurements.bundled_defaults()))))
            | {"weights": 1, "data": ""}
            | change
        )
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "evaluation.json").write_text(json.dumps({"settings": settings} | kept))
    figures = quality.measurements.Figures(1)
    assert figures.of("reconstruction", "MSE", [(4, 4), (8, 8)]) == [0.0123, None]
    assert figures.of_many("accuracy") == [None, 0.12345, None, None]
    assert quality.measurements.Figures(2).of_many("accuracy") == [None] * 4
    quality.write_tables(1, tmp_path)
    readme, card = (tmp_path / "README.md").read_text(), (tmp_path / copied[-1]).read_text()
    assert "| classifier accuracy | – | 12.3 % | – | – |" in readme and "| 0.0123 | – | – | – |" in readme
    assert "    - type: accuracy\n      name: accuracy, latents 8x8, pictures 32x32\n      value: 0.123\n" in card
    assert (
        "| 12.35 %, –, – | **missed** at 8×8, not measured everywhere ²" in (tmp_path / "docs/results.md").read_text()
    )


def test_what_is_measured_is_not_measured_again(quality, make_pipeline, tmp_path, capsys):
    digits = load_images(DIGITS, "test", image_size=(16, 16), limit=20)
    pipeline = make_pipeline()
    three, four = (replace(PLAN, count=0, limit=limit) for limit in (3, 4))

    def is_measured(plan, weights=None):
        return quality.is_measured(
            tmp_path,
            plan.of(len(digits), pipeline.generation_defaults),
            pipeline.checksum() if weights is None else weights,
        )

    assert not is_measured(three)
    quality.measure(tmp_path, "tiny", pipeline, digits, three)
    assert is_measured(three) and not is_measured(four) and not is_measured(three, weights=0)
    assert "otherwise" not in capsys.readouterr().out
    quality.measure(tmp_path, "tiny", pipeline, digits, four)
    assert is_measured(four) and "was measured otherwise; measured anew" in capsys.readouterr().out
    path = tmp_path / "evaluation.json"
    for section in ("reconstruction", "consistency"):
        kept = json.loads(path.read_text())
        kept[section] = [row for row in kept[section] if row["latents"] != "3x2"]
        path.write_text(json.dumps(kept))
        assert not is_measured(four), "interrupted"
        quality.measure(tmp_path, "tiny", pipeline, digits, four)
        assert is_measured(four) and "rows are in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ([0.98, 0.99], "reached"),
        ([0.9799, 0.99], "**missed** at 4×4, reached elsewhere"),
        ([0.9, 0.9], "**missed**"),
        ([None, None], "not measured"),
        ([None, 0.99], "not measured everywhere"),
        ([None, 0.9], "**missed** at 8×8, not measured everywhere"),
        ([float(numpy.float32(0.98)), 0.98], "reached"),
        ([float(numpy.float32(0.993)) - 0.013, 0.98], "reached"),
    ],
)
def test_a_verdict_is_of_figures_as_measured(quality, figures, verdict):
    claim = quality.result_tables.Claim("", "", "", figures, ".1%", lambda one: one >= 0.98, "", ("4×4", "8×8"))
    assert claim.verdict() == verdict


def test_shares_span_from_the_least_to_the_most(quality):
    assert quality.result_tables.span([0.998, None, 0.982, 0.99]) == "98.2 to 99.8 %"
    assert quality.result_tables.span([1.0, 0.9999]) == "100.0 %" and quality.result_tables.span([None]) == "–"


def test_other_weights_are_measured_into_a_folder_of_their_own(quality, make_pipeline, monkeypatch, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(quality.measurements, "SIZE", (16, 16))
    monkeypatch.setattr(quality.measurements, "MEASUREMENTS", {"few": replace(PLAN, count=0), "none": PLAN})
    monkeypatch.setattr(quality, "write_tables", None)
    arguments = ("--data", str(DIGITS), "--only", "few", "--model", str(tmp_path / "tiny"))
    quality.main([*arguments, "--results", str(tmp_path / "results"), "--guidance-scale", "3"])
    kept = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "results").glob("*/evaluation.json")}
    assert {name: figures["settings"]["guidance_scale"] for name, figures in kept.items()} == {"few": 3}
    for wrong in (arguments, ["--guidance-scale", "3"]):
        with pytest.raises(SystemExit):
            quality.main(wrong)
