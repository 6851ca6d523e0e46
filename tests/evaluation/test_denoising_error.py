"""The denoising error, with denoisers whose errors are known."""

import csv
import math
from dataclasses import replace

import pytest
import torch

from r2id.data.dataset import ImageDataset
from r2id.diffusion.prediction import LEAST_SPREAD
from r2id.errors import InputError
from r2id.evaluation.denoising_error import TIMES, measure_denoising_error
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.plan import Plan


@pytest.fixture(scope="module")
def pictures():
    images = torch.randint(0, 256, (70, 1, 6, 6), generator=torch.Generator().manual_seed(0)).byte()
    return ImageDataset(images, torch.arange(70) % 10, tuple("0123456789"), None, "noise")


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_denoiser_that_always_answers_nothing(prediction_type, make_pipeline, pictures):
    pipeline = make_pipeline(resampler=None, prediction_type=prediction_type, noise_reference_size=None)
    torch.nn.init.zeros_(pipeline.diffuser.out.weight)
    torch.nn.init.zeros_(pipeline.diffuser.out.bias)
    rows = list(measure_denoising_error(pipeline, pictures, (6, 6), seed=0))
    assert [row["t"] for row in rows] == [*TIMES, *TIMES]
    power = pictures.batch(slice(None)).square().mean().item()
    for row in rows:
        alpha_bar = math.cos(math.pi / 2 * row["t"]) ** 2
        # ε̂ = 0, or from v = 0, ε̂ = √(1 − ᾱ)·x_t, whose error is −ᾱ·ε + √ᾱ·√(1 − ᾱ)·x.
        # From x̂ = 0, ε̂ = x_t/√(1 − ᾱ).
        spread = max(math.sqrt(1 - alpha_bar), LEAST_SPREAD)
        expected = {
            "epsilon": 1,
            "v_prediction": alpha_bar**2 + alpha_bar * (1 - alpha_bar) * power,
            "sample": alpha_bar * power / spread**2 + (math.sqrt(1 - alpha_bar) / spread - 1) ** 2,
        }
        assert row["error"] == pytest.approx(expected[prediction_type], rel=0.06, abs=0.06)


def test_it_is_written_as_csv_and_plot_and_a_few_times_are_printed(make_pipeline, pictures, tmp_path, capsys):
    plan = Plan(limit=0, count=0, latent_size=((2, 2), (3, 3)))
    report = evaluate(make_pipeline(), pictures, plan, output=tmp_path)
    with (tmp_path / "denoising-error.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * len(TIMES) == len(report.rows["denoising_error"])
    assert rows[0].keys() == {"latents", "label", "t", "error"}
    assert (tmp_path / "denoising-error.png").read_bytes().startswith(b"\x89PNG")
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert printed[0] == ["denoising", "error", "by", "timestep", "of", "70", "images"] and len(printed) == 2 + 2 * 5
    assert [line[1] for line in printed[2:7]] == ["0", "0.25", "0.5", "0.75", "1"]
    given, dropped = (rows[5 + start]["error"] for start in (0, len(TIMES)))
    assert printed[3] == ["2x2", "0.25", f"{float(given):.4g}", f"{float(dropped):.4g}"]


def test_what_an_image_shows_must_be_known(make_pipeline, text_pipeline, pictures):
    with pytest.raises(InputError, match=r"the data \(noise\) has no labels"):
        next(measure_denoising_error(make_pipeline(), replace(pictures, labels=None), (2, 2), 0))
    with pytest.raises(InputError, match=r"the data \(noise\) has no captions"):
        next(measure_denoising_error(text_pipeline, pictures, (2, 2), 0))
    with pytest.raises(InputError, match="label '10' is not known"):
        next(
            measure_denoising_error(
                make_pipeline(), replace(pictures, label_names=(*pictures.label_names, "10")), (2, 2), 0
            )
        )
