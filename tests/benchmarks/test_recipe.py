"""The ablations of the recipe: codecs, equal time by turns, and figures in one unit."""

import json
import sys
from pathlib import Path

import pytest
import torch

RECIPE = Path(__file__).parents[2] / "benchmarks" / "recipe"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    import compare

    yield compare
    for name in ("compare", "picture_codecs", "turns"):
        sys.modules.pop(name, None)


@pytest.fixture
def small(recipe, monkeypatch):
    """The script with pictures and networks small enough for a test."""
    monkeypatch.setattr(recipe, "SIDE", 16)
    tiny = {"dim": 16, "num_heads": 2, "encoder_blocks": 1, "decoder_blocks": 1, "token_dim": 192, "time_dim": 8}
    monkeypatch.setattr(recipe, "MODEL", recipe.MODEL | tiny)
    return recipe


def pictures(count: int, side: int = 16) -> torch.Tensor:
    waves = torch.sin(torch.arange(side) * torch.rand(count, 3, 1, 1) * 2)
    return (waves + waves.mT) / 2


def data_of(recipe, count: int = 24):
    labels = torch.arange(count) % 2
    return recipe.Pictures(pictures(count), pictures(8), labels, labels[:8], ("a", "b"), False)


def test_patches_keep_what_their_components_hold_and_have_unit_variance(recipe):
    some = pictures(40)
    for channels in (192, 16):
        codec = recipe.Patches(some, 8, channels)
        samples = codec.encode(some)
        assert samples.shape == (40, channels, 2, 2)
        assert samples.square().mean().item() == pytest.approx(1, abs=0.05)
        error = (codec.decode(samples) - some).square().mean()
        patches = torch.nn.functional.pixel_unshuffle(some, 8).movedim(1, -1).flatten(0, -2)
        lost = patches.var(0, correction=0).sum() - channels * codec.scale**2
        assert error.item() == pytest.approx(lost.item() / 192, rel=0.02, abs=1e-6)
        torch.testing.assert_close(codec.encode(codec.decode(samples) if channels == 192 else some), samples)


def test_all_choices_build_and_make_steps(small, tmp_path):
    data = data_of(small)
    for question, choices in small.QUESTIONS.items():
        for name, choice in choices.items():
            if choice.codec == "latents":
                choice = small.Choice("patches", 4, 12, 1.0, choice.model, choice.settings, choice.crop and 2)
            elif "attention" in choice.model and choice.side == 2:
                continue
            one = small.Training(choice, data, 1e-6, 4, 0, "cpu", tmp_path / f"{question}-{name}.pt".replace(" ", "-"))
            assert torch.tensor(one.turn(1)).isfinite(), name
            assert one.steps == 1 and one.spent >= one.seconds


def test_a_training_goes_on_where_it_stopped(small, tmp_path):
    def training(file: str, seconds: float):
        return small.Training(small._of(16, "sample"), data_of(small), seconds, 4, 0, "cpu", tmp_path / file)

    torch.manual_seed(0)
    first = training("one.pt", 1e-6)
    first.turn(1)
    again = training("one.pt", 1e-6)
    assert again.steps == 1 and again.spent == first.spent
    for one, other in zip(first.parameters, again.parameters, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "epsilon"])
def test_errors_of_every_prediction_are_of_the_clean_sample(small, tmp_path, monkeypatch, kind):
    one = small.Training(small._of(192, kind), data_of(small), 1e-6, 4, 0, "cpu", tmp_path / "one.pt")
    clean = one.codec.encode(one.data.test)

    def nearly_perfect(noisy, alpha_bar, tokens):
        signal, spread = small.signal_and_spread(alpha_bar)
        guess = clean[: len(noisy)] + 0.1
        noise = (noisy - signal * guess) / spread
        return {"sample": guess, "epsilon": noise, "v_prediction": signal * noise - spread * guess}[kind]

    monkeypatch.setattr(one.pipeline.diffuser, "forward", nearly_perfect)
    errors = one.errors()
    assert errors["samples"] == pytest.approx([0.01] * 5, rel=0.01)
    assert all(0 < error < 0.05 for error in errors["pixels"])


def test_a_run_writes_sheets_figures_and_a_table(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(small, "load_pictures", lambda folder, most: data_of(small))
    monkeypatch.setattr(small, "QUESTIONS", {"prediction": {"clean sample, 16 channels": small._of(16, "sample")}})
    monkeypatch.setattr(small, "PACKAGES", ())
    monkeypatch.setattr(small, "ColourFeatures", lambda: lambda pictures: pictures.flatten(1)[:, :70])
    arguments = [
        "--data",
        "waves=folder",
        "--seconds",
        "1e-6",
        "--batch",
        "4",
        "--count",
        "6",
        "--inference-steps",
        "2",
    ]
    folders = ["--output", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments, *folders, "--threads", "1"])
    small.main()
    rows = json.loads((tmp_path / "results" / "waves-prediction.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1] and all(row["distance"] > 0 for row in rows)
    assert len(list((tmp_path / "out" / "waves" / "prediction").glob("*.png"))) == 2
    assert "| clean sample, 16 channels | 1 |" in capsys.readouterr().out


def test_pictures_have_the_numbers_of_their_labels_in_both_splits(recipe, tmp_path):
    from PIL import Image

    for split, labels in (("train", "aabb"), ("test", "ba")):
        for number, label in enumerate(labels):
            file = tmp_path / split / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (90 * number, 0, 0)).save(file)
    data = recipe.load_pictures(tmp_path)
    assert data.train.shape == (4, 3, 64, 64) and data.names == ("a", "b") and not data.has_captions
    assert data.train_labels.tolist() == [0, 0, 1, 1] and data.test_labels.tolist() == [0, 1]
