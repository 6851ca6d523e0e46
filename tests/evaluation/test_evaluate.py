"""A whole evaluation: what cannot be measured is said, and what has been measured is kept."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from r2id.conditioning import LabelConditioner
from r2id.errors import InputError
from r2id.evaluation.evaluate import evaluate_generation, evaluate_reconstruction, evaluate_t_scrape
from r2id.evaluation.report import Report
from r2id.pipeline import R2Pipeline
from r2id.training.data import load_images

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"


@contextmanager
def no_progress(total, title):
    yield int


@pytest.fixture(scope="module")
def pictures():
    return load_images(DIGITS, "test", image_size=(16, 16), limit=20)


@pytest.fixture
def pets(make_pipeline):
    tiny = make_pipeline()
    return R2Pipeline(tiny.diffuser, LabelConditioner(["cat", "dog"], dim=8), tiny.resampler)


def test_labels_without_a_classifier_are_skipped_with_a_sentence(pets, pictures, capsys):
    report = Report({}, None)
    evaluate_generation(pets, pictures, [(2, 2)], [(16, 16)], 10, 0, {}, report, no_progress)
    assert not report.sections
    assert "generation is not measured" in capsys.readouterr().out


def test_labels_the_model_does_not_know_have_no_t_scrape(pets, pictures):
    with pytest.raises(InputError, match="label '7'.*cat, dog"):
        evaluate_t_scrape(pets, pictures, [(2, 2)], 0, None, Report({}, None), no_progress)


def test_a_model_of_pixels_has_nothing_to_reconstruct(make_pipeline, pictures, capsys):
    report = Report({}, None)
    evaluate_reconstruction(make_pipeline(resampler=None), pictures, [(2, 2)], [(16, 16)], report, no_progress)
    assert not report.sections
    assert "nothing to reconstruct" in capsys.readouterr().out


def test_an_interrupted_evaluation_keeps_its_finished_rows(make_pipeline, pictures, tmp_path):
    @contextmanager
    def interrupted_at_the_second(total, title):
        def on_batch(count):
            if "4x4" in title:
                raise KeyboardInterrupt

        yield on_batch

    report = Report({"seed": 0}, tmp_path / "evaluation.json")
    with pytest.raises(KeyboardInterrupt):
        evaluate_reconstruction(
            make_pipeline(), pictures, [(2, 2), (4, 4)], [(16, 16), (8, 8)], report, interrupted_at_the_second
        )
    kept = json.loads((tmp_path / "evaluation.json").read_text())
    assert kept["settings"] == {"seed": 0}
    (rows,) = (rows for section, rows in kept.items() if section.startswith("reconstruction"))
    assert [row["latents"] for row in rows] == ["2x2"] * 6
