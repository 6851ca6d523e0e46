"""How good the bundled weights are: the tables say what is kept, and only of these weights."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from r2id.errors import InputError
from r2id.evaluation.evaluate import Plan
from r2id.pipeline import R2Pipeline
from r2id.training.data import load_images

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests" / "fixtures" / "digits"
PLAN = Plan(count=10, limit=3, t_scrape=0, latent_size=((2, 2), (3, 2)), size=((16, 16),), steps=2)


@pytest.fixture
def quality():
    spec = importlib.util.spec_from_file_location("quality", ROOT / "benchmarks" / "quality" / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["quality"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["quality"]


@pytest.fixture
def copied(quality, tmp_path):
    """The documents, to write to."""
    documents = [Path("README.md"), Path("docs/results.md"), quality.CARD]
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
    assert "| recognised as the label asked for | – | – | – | – |" in readme and readme.endswith("\n")
    rows = [row for row in (tmp_path / "docs/results.md").read_text().splitlines() if row.startswith("| recognised")]
    assert rows and all(" not measured " in row for row in rows)
    assert "type: accuracy" not in (tmp_path / copied[-1]).read_text()


def test_a_document_without_a_place_for_a_table_is_an_error(quality, copied, tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(InputError, match="README.md must have one place that begins with 'begin summary'"):
        quality.write_tables(0, tmp_path)


def test_what_is_measured_is_not_measured_again(quality, make_pipeline, tmp_path):
    digits = load_images(DIGITS, "test", image_size=(16, 16), limit=20)
    pipeline, other = make_pipeline(), R2Pipeline.from_pretrained("mnist")
    plan = PLAN.of(len(digits))
    assert not quality.is_measured(tmp_path, pipeline, plan)
    quality.measure(tmp_path, "tiny", pipeline, digits, replace(PLAN, count=0))
    assert not quality.is_measured(tmp_path, pipeline, plan), "of another number of digits"
    quality.measure(tmp_path, "tiny", pipeline, digits, replace(PLAN, count=0, limit=4))
    plan = replace(PLAN, count=0, limit=4).of(len(digits))
    assert quality.is_measured(tmp_path, pipeline, plan) and not quality.is_measured(tmp_path, other, plan)
    path = tmp_path / "evaluation.json"
    kept = json.loads(path.read_text())
    kept["reconstruction"] = [row for row in kept["reconstruction"] if row["latents"] != "3x2"]
    path.write_text(json.dumps(kept))
    assert not quality.is_measured(tmp_path, pipeline, plan), "interrupted"
    quality.measure(tmp_path, "tiny", pipeline, digits, replace(PLAN, count=0, limit=4))
    assert quality.is_measured(tmp_path, pipeline, plan)


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ([0.98, 0.99], "reached"),
        ([0.9799, 0.99], "**missed** at 4×4, reached elsewhere"),
        ([0.9, 0.9], "**missed**"),
        ([None, 0.9], "not measured"),
    ],
)
def test_a_verdict_is_of_figures_as_measured(quality, figures, verdict):
    claim = quality.Claim("", "", "", figures, "%1", lambda one: one >= 0.98, "", ("4×4", "8×8"))
    assert claim.verdict() == verdict


def test_other_weights_are_measured_into_a_folder_of_their_own(quality, make_pipeline, monkeypatch, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(quality, "SIZE", (16, 16))
    monkeypatch.setattr(quality, "MEASUREMENTS", {"few": replace(PLAN, count=0), "none": PLAN})
    monkeypatch.setattr(quality, "write_tables", None)
    arguments = ("--data", str(DIGITS), "--only", "few", "--model", str(tmp_path / "tiny"))
    quality.main([*arguments, "--results", str(tmp_path / "results")])
    assert [path.parent.name for path in (tmp_path / "results").glob("*/evaluation.json")] == ["few"]
    with pytest.raises(SystemExit):
        quality.main(arguments)
