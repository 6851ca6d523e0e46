"""The ablations: every variant is trained and measured once, and the page shows what has been measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from r2id.files.images import read_image
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import autocast

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests" / "fixtures" / "digits"


def test_each_variant_is_trained_once_and_shown(ablations, tmp_path, monkeypatch):
    small = ("dim=16", "num_heads=2", "num_high=3", "num_low=2")
    resampler = ("num_blocks=1", "latent_channels=4", "value_dim=4", "pixel_dim=8", "pixel_blocks=1")
    diffuser = ("encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8")
    common = {"batch_size": 8, "latent_sizes": ((4, 4),)}
    first, second = (
        ablations.variants.resampler("local", *small, *resampler, **common),
        ablations.variants.resampler("without noise", *small, *resampler, latent_noise=0.0, **common),
    )
    monkeypatch.setattr(ablations, "RESAMPLER_GRIDS", ((4, 4),))
    monkeypatch.setattr(ablations, "DIFFUSER_GRIDS", ((4, 4),))
    monkeypatch.setattr(ablations, "TEST_IMAGES", 10)
    question = ablations.variants.Question("R2IR: a choice", (first, second), shown=True)
    monkeypatch.setattr(ablations.variants, "QUESTIONS", (question,))
    arguments = ["--data", str(DIGITS), "--output", str(tmp_path / "runs"), "--document", str(tmp_path / "page.md")]
    arguments += ["--results", str(tmp_path / "results")]
    arguments += ["--no-compile", "--resampler-steps", "2", "--diffuser-steps", "2", "--count", "20"]
    ablations.main([*arguments, "--seeds", "0", "1"])
    page = (tmp_path / "page.md").read_text()
    assert (
        "| | error at 4x4 | at 4x4, disturbed by 0.1 | seeds |" in page
        and "| local | " in page
        and "±" in page
        and "| 0, 1 |" in page
    )
    for name in ("test-images", "local", "without-noise"):
        assert read_image(tmp_path / "page" / f"r2ir-a-choice-{name}.png", channels=3).shape[-1] > 6 * 256

    trained = next((tmp_path / "runs").glob("resampler-*-seed-0/resampler"))
    smooth = ablations.variants.diffuser(
        "smooth", *small, *diffuser, change=ablations.variants.with_smooth_noise, **common
    )
    response = ablations.variants.diffuser(
        "GRN", *small, *diffuser, change=ablations.variants.with_response_norm_added, **common
    )
    monkeypatch.setattr(
        ablations.variants, "QUESTIONS", (question, ablations.variants.Question("R2ID: a choice", (smooth, response)))
    )
    monkeypatch.setattr(ablations, "train_resampler", None)
    ablations.main([*arguments, "--resampler", str(trained)])
    both = (tmp_path / "page.md").read_text()
    assert page.split("## ")[1].strip() in both
    assert "| | accuracy 4x4 | Fréchet 4x4 | intra-class distance ratio 4x4 | seeds |" in both

    # The figures are enough for the page, once what was trained is gone.
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.setattr(ablations, "train_diffuser", None)
    ablations.main([*arguments, "--resampler", str(trained)])
    assert (tmp_path / "page.md").read_text() == both


def test_changed_options_make_anew_what_depends_on_them(ablations, tmp_path, monkeypatch):
    trained, measured = [], []

    def train(config):
        trained.append(config.output.name)
        (config.output / ("pipeline" if hasattr(config, "resampler") else "resampler")).mkdir(parents=True)

    def measure_resampler(network, data, folder):
        measured.append(data)
        return {"error": 0.5}

    def measure_diffuser(network, options):
        measured.append(options.count)
        return {"error": 0.5}

    for name, stand_in in {
        "train_resampler": train, "train_diffuser": train, "weights_of": str, "images_of": str,
        "test_images": lambda variant, options: options.data,
        "measure_resampler": measure_resampler, "measure_diffuser": measure_diffuser,
        "R2IR": SimpleNamespace(from_pretrained=str), "R2Pipeline": SimpleNamespace(from_pretrained=str),
    }.items():  # fmt: skip
        monkeypatch.setattr(ablations, name, stand_in)
    resampler, diffuser = ablations.variants.resampler("local"), ablations.variants.diffuser("velocity")
    questions = [
        ablations.variants.Question("R2IR", (resampler, resampler)),
        ablations.variants.Question("R2ID", (diffuser, diffuser)),
    ]
    monkeypatch.setattr(ablations.variants, "QUESTIONS", questions)

    def made(**changed):
        options = {"data": "digits", "output": tmp_path / "runs", "document": tmp_path / "page.md"}
        options |= {"results": tmp_path / "results"} | changed
        before = len(trained), len(measured)
        ablations.main([word for name, value in options.items() for word in (f"--{name}", str(value))])
        return len(trained) - before[0], len(measured) - before[1]

    assert made() == (2, 2) and made() == (0, 0)
    assert "## R2ID" in (tmp_path / "page.md").read_text()
    assert made(count=7) == (0, 1) and measured[-1] == 7
    # R2IR depends neither on the number of digits nor on another R2IR.
    assert made(resampler="another") == (1, 1)
    assert made(data="others") == (2, 2)
    monkeypatch.setattr(ablations, "TEST_IMAGES", 9)
    assert made() == (0, 2) and made() == (0, 0)
    monkeypatch.setattr(ablations.variants, "RESAMPLER", replace(ablations.variants.RESAMPLER, batch_size=33))
    assert made() == (1, 1)


def test_figures_measured_otherwise_are_not_on_the_page(ablations, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "name_of", lambda *_: "kept")
    variant = ablations.variants.resampler("local")
    options = SimpleNamespace(count=1, results=tmp_path)
    (tmp_path / "kept.json").write_text(json.dumps({"error at 4x4": 0.5}))
    assert ablations.figures_of(variant, 0, options) is None
    (tmp_path / "kept.json").write_text(
        json.dumps({"how": ablations.measured_how(variant, options), "figures": {"error at 4x4": 0.5}})
    )
    assert ablations.figures_of(variant, 0, options) == {"error at 4x4": 0.5}


def test_the_page_says_how_many_figures_were_taken_over(ablations, tmp_path):
    (tmp_path / "measured.json").write_text("{}")
    assert ablations.taken_over(tmp_path) == ""
    (tmp_path / "old.json").write_text(json.dumps({"taken from": "an older page"}))
    assert "figures of 1 of 2 trainings were taken over" in ablations.taken_over(tmp_path)


def test_a_variant_is_measured_at_the_size_that_it_is_trained_on(ablations, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "TEST_IMAGES", 6)
    variant = ablations.variants.of_small_images("small", "dim=16", "num_heads=2", "value_dim=4", "pixel_dim=8")
    data = ablations.test_images(variant, SimpleNamespace(data=str(DIGITS)))
    assert data.images.shape == (6, 1, 16, 16)
    network = R2IR(dim=16, num_heads=2, num_blocks=1, value_dim=4, pixel_dim=8, sample_size=16).eval()
    errors = ablations.measure_resampler(network, data, tmp_path)
    with torch.inference_mode(), autocast("bf16", "cpu"):
        images = data.batch(slice(None))
        expected = (network.decode(network.encode(images, (8, 8)), (16, 16)) - images).square().mean().item()
    assert errors["error at 8x8"] == pytest.approx(expected, rel=0.02)


def test_every_question_changes_one_recipe(ablations):
    for question in ablations.variants.QUESTIONS:
        assert len({variant.network for variant in question.variants}) == 1
        assert len({(str(variant.settings), variant.change) for variant in question.variants}) == len(question.variants)


def test_smooth_noise_has_unit_variance_and_alike_neighbours(ablations):
    noise = ablations.variants.smooth_noise(500, 4, (12, 12), torch.Generator().manual_seed(0))
    assert noise.var(dim=(0, 1)).sub(1).abs().max() < 0.15
    assert (noise[..., 1:] * noise[..., :-1]).mean() > 0.4


def test_response_norm_looks_at_the_whole_image(ablations):
    arguments = {"channels": 4, "dim": 16, "num_heads": 2, "encoder_blocks": 1, "decoder_blocks": 1}
    plain = R2ID(**arguments)
    with ablations.variants.with_response_norm_added():
        changed = R2ID(**arguments)
    added = set(changed.state_dict()) - set(plain.state_dict())
    assert added and all("feed" in name for name in added)
    with ablations.variants.with_response_norm_instead():
        instead = R2ID(**arguments)
        samples, time = torch.randn(2, 9, 16), torch.randn(1, 128)
        norm = instead.out_norm
        torch.nn.init.ones_(norm.norm.gain)
        torch.testing.assert_close(norm(samples, time), norm(samples, time.expand(2, -1)))
        assert (norm(samples, time)[:, :5] - norm(samples[:, :5], time)).abs().max() > 1e-3
    assert isinstance(instead.out_norm.norm, ablations.variants.ResponseNorm)
    assert not any(isinstance(part, torch.nn.LayerNorm) for part in instead.modules())


def test_cells_have_three_figures_and_a_spread_as_fine(ablations):
    assert (
        ablations._cell([0.12]) == "0.120" and ablations._cell([25.43]) == "25.4" and ablations._cell([0.0]) == "0.00"
    )
    assert ablations._cell([0.0105985, 0.0106015]) == "0.0106 ± 0.0000"
    assert ablations._cell([0.8, 0.9]) == "0.850 ± 0.050"
