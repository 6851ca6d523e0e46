"""The example that trains on a folder runs from pictures to samples."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "train_your_own.py"


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_it_trains_both_networks_and_samples_at_two_sizes(monkeypatch, tmp_path):
    tiny = ("--image-size", "16", "--latent-size", "2", "--latent-channels", "3", "--dim", "12", "--batch-size", "2")
    folder = str(ROOT / "tests" / "fixtures" / "emoji")
    run(monkeypatch, folder, "--output", str(tmp_path), "--steps", "2", "2", *tiny)
    assert Image.open(tmp_path / "reconstructions.png").size == (6 * 16, 2 * 16)
    assert Image.open(tmp_path / "generated-16x16.png").size == (8 * 16, 16)
    assert Image.open(tmp_path / "generated-32x32.png").size == (8 * 32, 32)
    trained = (tmp_path / "resampler" / "resampler" / "config.json").stat().st_mtime_ns
    run(monkeypatch, folder, "--output", str(tmp_path), "--steps", "2", "3", *tiny, "--resume")
    assert (tmp_path / "resampler" / "resampler" / "config.json").stat().st_mtime_ns == trained


def test_its_length_is_that_of_an_example():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 120


def test_help_names_what_it_does(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--help")
    assert "sample at two sizes" in capsys.readouterr().out
