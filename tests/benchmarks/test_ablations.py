"""The ablations: every variant is trained and measured once, and the page shows what has been measured."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from r2id.diffuser import R2ID

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests" / "fixtures" / "digits"


@pytest.fixture
def ablations():
    spec = importlib.util.spec_from_file_location("ablations", ROOT / "benchmarks" / "ablations" / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ablations"]


def test_each_variant_is_trained_once_and_shown(ablations, tmp_path, monkeypatch):
    small = ("dim=16", "num_heads=2", "num_high=3", "num_low=2")
    resampler = ("num_blocks=1", "latent_channels=4", "value_dim=4", "pixel_dim=8", "pixel_blocks=1")
    diffuser = ("encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8")
    common = {"batch_size": 8, "latent_sizes": ((4, 4),)}
    first, second = (
        ablations.resampler("local", *small, *resampler, **common),
        ablations.resampler("without noise", *small, *resampler, latent_noise=0.0, **common),
    )
    monkeypatch.setattr(ablations, "RESAMPLER_GRIDS", ((4, 4),))
    monkeypatch.setattr(ablations, "DIFFUSER_GRIDS", ((4, 4),))
    monkeypatch.setattr(ablations, "TEST_IMAGES", 10)
    question = ablations.Question("R2IR: a choice", (first, second), shown=True)
    monkeypatch.setattr(ablations, "QUESTIONS", (question,))
    arguments = ["--data", str(DIGITS), "--output", str(tmp_path / "runs"), "--document", str(tmp_path / "page.md")]
    arguments += ["--no-compile", "--resampler-steps", "2", "--diffuser-steps", "2", "--count", "20"]
    ablations.main([*arguments, "--seeds", "0", "1"])
    page = (tmp_path / "page.md").read_text()
    assert (
        "| | error at 4x4 | at 4x4, disturbed by 0.1 | seeds |" in page
        and "| local | " in page
        and "±" in page
        and "| 0, 1 |" in page
    )
    assert (tmp_path / "page" / "r2ir-a-choice-without-noise.png").is_file()

    trained = next((tmp_path / "runs").glob("resampler-*/seed-0/resampler"))
    smooth = ablations.diffuser("smooth", *small, *diffuser, change=ablations.with_smooth_noise, **common)
    response = ablations.diffuser("GRN", *small, *diffuser, change=ablations.with_response_norm_added, **common)
    monkeypatch.setattr(ablations, "QUESTIONS", (question, ablations.Question("R2ID: a choice", (smooth, response))))
    monkeypatch.setattr(ablations, "train_resampler", None)
    ablations.main([*arguments, "--resampler", str(trained)])
    both = (tmp_path / "page.md").read_text()
    assert page.split("## ")[1].strip() in both
    assert "| | recognised 4x4 | Fréchet 4x4 | diversity 4x4 | seeds |" in both


def test_every_question_changes_one_recipe(ablations):
    for question in ablations.QUESTIONS:
        assert len({variant.network for variant in question.variants}) == 1
        assert len({(str(variant.settings), variant.change) for variant in question.variants}) == len(question.variants)


def test_smooth_noise_has_unit_variance_and_alike_neighbours(ablations):
    noise = ablations.smooth_noise(500, 4, (12, 12), torch.Generator().manual_seed(0))
    assert noise.var(dim=(0, 1)).sub(1).abs().max() < 0.15
    assert (noise[..., 1:] * noise[..., :-1]).mean() > 0.4


def test_response_norm_looks_at_the_whole_image(ablations):
    arguments = {"channels": 4, "dim": 16, "num_heads": 2, "encoder_blocks": 1, "decoder_blocks": 1}
    plain = R2ID(**arguments)
    with ablations.with_response_norm_added():
        changed = R2ID(**arguments)
    added = set(changed.state_dict()) - set(plain.state_dict())
    assert added and all("feed" in name for name in added)
    with ablations.with_response_norm_instead():
        instead = R2ID(**arguments)
    assert isinstance(instead.out_norm.norm, ablations.ResponseNorm)
    assert not any(isinstance(part, torch.nn.LayerNorm) for part in instead.modules())
