"""`r2id evaluate`: figures that are printed and kept, and every bad input."""

import json

import pytest
from PIL import Image
from running import FIXTURES, run, unwrapped

from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.pipeline import R2Pipeline


def test_evaluate_writes_the_figures_it_prints(capsys, monkeypatch, tmp_path):
    status, out, error = run(
        capsys, monkeypatch, "evaluate", "--data", FIXTURES / "digits", "--limit", "20", "--count", "20",
        "--denoising-error", "20", "--num-inference-steps", "8", "--latent-size", "8x8", "--size", "32x32",
        "--size", "27x18", "--output", tmp_path,
    )  # fmt: skip
    assert status == 0, error
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(figures) == ["settings", "reconstruction", "consistency", "generation", "denoising_error"]
    settings, reconstruction, consistency, generation, scrape = figures.values()
    assert settings["count"] == 20 and settings["latent_size"] == [[8, 8]]
    assert reconstruction[0]["method"] == "R2IR" and reconstruction[0]["MSE"] < 0.01
    assert f"{reconstruction[0]['MSE']:.4g}" in out
    assert consistency[0]["2x against 1x"] < 0.002
    real, real_wide, square, wide = generation
    assert real["accuracy"] > 0.97 and real_wide["pictures"] == "27x18" and square["accuracy"] >= 0.9
    assert abs(square["accuracy"] - wide["accuracy"]) <= 0.05
    clean, noise = scrape[1]["error"], scrape[19]["error"]
    assert clean > 10 * noise
    assert (tmp_path / "denoising-error.csv").is_file() and (tmp_path / "denoising-error.png").is_file()


def test_a_quick_evaluation_is_of_a_hundred_images_at_most(capsys, monkeypatch, tmp_path):
    status, _, error = run(
        capsys, monkeypatch, "evaluate", "--data", FIXTURES / "digits", "--quick", "--count", "0",
        "--denoising-error", "0", "--size", "32x32", "--output", tmp_path,
    )  # fmt: skip
    assert status == 0, error
    settings, reconstruction, _ = json.loads((tmp_path / "evaluation.json").read_text()).values()
    assert settings["limit"] == 100 and settings["consistency"] == 25 and settings["latent_size"] == [[8, 8]]
    assert {row["latents"] for row in reconstruction} == {"8x8"}


def test_an_interrupted_evaluation_says_where_its_rows_are_and_goes_on(capsys, monkeypatch, tmp_path):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    arguments = ("evaluate", "--data", FIXTURES / "digits", "--limit", "3", "--count", "0", "--denoising-error", "0")
    arguments += ("--latent-size", "4x4", "--size", "16x16", "--output", tmp_path / "figures")
    with monkeypatch.context() as patched:
        patched.setattr("r2id.evaluation.evaluate.measure_consistency", interrupted)
        status, _, error = run(capsys, monkeypatch, *arguments)
    assert status == 130 and "rows are in" in unwrapped(error) and "Traceback" not in error
    assert json.loads((tmp_path / "figures" / "evaluation.json").read_text()).keys() == {"settings", "reconstruction"}
    status, out, _ = run(capsys, monkeypatch, *arguments, "--resume")
    assert status == 0 and "3 rows are in" in out and "PSNR" not in out and "4x against 1x" in out
    status, _, error = run(capsys, monkeypatch, *arguments, "--resume", "--seed", "1")
    assert status == 2 and "seed is 1" in error and "measured with 0" in error


@pytest.mark.parametrize(("names", "unknown"), [(["cat", "dog"], "0"), (["0", "1", "2"], "3")])
def test_a_model_of_other_labels_is_measured_by_what_it_reconstructs(names, unknown, capsys, monkeypatch, tmp_path):
    pipeline = R2Pipeline.from_pretrained("mnist")
    few = LabelConditioner(names, dim=pipeline.conditioner.config.dim)
    R2Pipeline(pipeline.diffuser, few, pipeline.resampler).save_pretrained(tmp_path / "few")
    arguments = ("--model", tmp_path / "few", "--data", FIXTURES / "digits", "--limit", "2", "--latent-size", "4x4")
    status, out, error = run(capsys, monkeypatch, "evaluate", *arguments, "--size", "16x16")
    assert status == 0 and "reconstruction of 2 images" in out and "generated" not in out
    assert error.strip().count("\n") == 0
    assert f"generation and denoising error cannot be measured: label '{unknown}' is not known" in error
    assert ", ".join(names) in error


def test_pictures_without_labels_are_measured_by_how_they_are_reconstructed(capsys, monkeypatch, tmp_path):
    pictures = tmp_path / "data" / "test"
    pictures.mkdir(parents=True)
    for index in range(2):
        Image.new("L", (32, 32), 100 * index).save(pictures / f"{index}.png")
    arguments = ("--data", tmp_path / "data", "--latent-size", "4x4", "--size", "16x16")
    status, out, error = run(capsys, monkeypatch, "evaluate", *arguments)
    assert status == 0 and "reconstruction of 2 images" in out and "no labels" in error


BAD_EVALUATIONS = [
    (("--split", "validation"), ["validation", "test"]),
    (("--data", "no-such-data"), ["no-such-data"]),
    (("--latent-size", "0x4"), ["'0x4'", "at least 1"]),
    (("--count", "-1"), ["count is -1", "at least 0"]),
    (("--count", "0", "--limit", "0", "--denoising-error", "0"), ["all 0", "at least one"]),
    (("--size", "90000x90000"), ["90000x90000", "GiB"]),
    (("--latent-size", "100000x100000", "--count", "0"), ["100000x100000", "GiB"]),
    (("--guidance-scale", "nan"), ["nan", "finite"]),
    (("--guidance-interval", "0.8", "0.3"), ["(0.8, 0.3)", "lower first"]),
    (("--resume",), ["--resume", "--output"]),
    (("--output", "/dev/null/figures", "--limit", "1"), ["/dev/null/figures", "cannot be read or written"]),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD_EVALUATIONS, ids=[" ".join(bad[0]) for bad in BAD_EVALUATIONS])
def test_evaluate_refuses_bad_input_by_name(arguments, expected, capsys, monkeypatch, tmp_path):
    data = () if "--data" in arguments else ("--data", FIXTURES / "digits")
    status, _, error = run(capsys, monkeypatch, "evaluate", *data, *arguments)
    assert status == 2
    assert "Traceback" not in error
    for part in expected:
        assert part in unwrapped(error)
