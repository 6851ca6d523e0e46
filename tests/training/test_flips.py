"""Mirrored pictures, which the network is told of, so that it generates others."""

import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from r2id import cli
from r2id.data.latents import load_latents
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.latents import latent_files
from r2id.geometry.canvas import plain
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
MODEL = ("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", "num_high=3")


def training(output: Path, **changes) -> DiffuserTraining:
    settings = {
        "data": str(DIGITS), "output": output, "model": MODEL, "resampler": "none", "image_size": (8, 8),
        "latent_sizes": ((8, 8),), "steps": 12, "batch_size": 16, "warmup_steps": 2, "sample_every": 0,
    }  # fmt: skip
    return DiffuserTraining(**settings | changes)


@pytest.fixture
def told(monkeypatch) -> list[torch.Tensor | None]:
    """What the network is told of each batch."""
    told, forward = [], R2ID.forward

    def noted(self, *given, augmentation=None):
        told.append(augmentation)
        return forward(self, *given, augmentation=augmentation)

    monkeypatch.setattr(R2ID, "forward", noted)
    return told


def test_half_of_the_images_are_mirrored_and_told(make_pipeline, told):
    pipeline = make_pipeline(resampler=None, augmentations=1)
    objective = DiffusionObjective(pipeline, 0.1, flips=True)
    images = torch.rand(400, 1, 2, 3)
    taken, flipped = objective._mirror(images, False)
    assert torch.equal(taken[flipped], images.flip(-1)[flipped]) and torch.equal(taken[~flipped], images[~flipped])
    assert 150 < flipped.sum() < 250
    objective(images, torch.zeros(400, dtype=torch.long), (2, 3))
    assert told[0].shape == (400, 1) and 150 < told[0].sum() < 250


def test_an_augmentation_changes_what_is_predicted_and_none_is_as_zero(make_diffuser):
    diffuser = make_diffuser(augmentations=1)
    torch.nn.init.normal_(diffuser.out_norm.modulation.weight)
    given = (torch.randn(2, 3, 4, 4), torch.rand(2), torch.randn(2, 2, 8))
    plain_ones = diffuser(*given)
    assert torch.equal(diffuser(*given, augmentation=torch.zeros(2, 1)), plain_ones)
    mirrored = diffuser(*given, augmentation=torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(mirrored[0], plain_ones[0], rtol=1e-4, atol=1e-5)
    assert (mirrored[1] - plain_ones[1]).abs().max() > 1e-3


def test_a_training_with_flips_gives_a_model_that_samples_without(tmp_path, told):
    folder = train_diffuser(training(tmp_path, flips=True))
    assert all(0 < one.sum() < 16 for one in told)
    pipeline = R2Pipeline.from_pretrained(folder)
    assert pipeline.diffuser.config.augmentations == 1 and pipeline.diffuser.augmentation.weight.any()
    pipeline(["3"], num_inference_steps=2, size=[])
    told.clear()
    plain_folder = train_diffuser(training(tmp_path / "plain"))
    assert told == [None] * 12 and R2ID.from_pretrained(plain_folder / "diffuser").config.augmentations == 0


def encode(*arguments: object) -> None:
    with patch.object(sys, "argv", ["r2id", "encode", *map(str, arguments)]):
        cli.main()


def test_latents_of_mirrored_pictures_are_stored_beside_the_others_and_told(make_resampler, tmp_path, told, capsys):
    make_resampler(sample_size=8).save_pretrained(tmp_path / "resampler")
    resampler = R2IR.from_pretrained(tmp_path / "resampler")
    common = ("--model", tmp_path / "resampler", "--data", DIGITS, "--image-size", "8x8", "--latent-size", "2x2")
    encode(*common, "--output", tmp_path / "latents" / "plain")
    encode(*common, "--output", tmp_path / "latents" / "mirrored", "--mirrored")
    sets = {one.mirrored: one for one in load_latents(latent_files(tmp_path / "latents"))}
    images = load_images(DIGITS, image_size=(8, 8)).batch(range(5)).flip(-1)
    with torch.no_grad():
        expected = resampler.encode(images, (2, 2))
    torch.testing.assert_close(plain(sets[True].batch(range(5))), plain(expected), rtol=1e-2, atol=1e-2)
    assert not torch.allclose(plain(sets[False].batch(range(5))), plain(expected), atol=0.05)
    with pytest.raises(SystemExit):
        encode(*common, "--output", tmp_path / "latents" / "mirrored", "--resume")
    assert "data is" in capsys.readouterr().err

    stored = {"data": str(tmp_path / "latents"), "resampler": str(tmp_path / "resampler"), "latent_sizes": ((2, 2),)}
    train_diffuser(training(tmp_path / "out", **stored))
    shares = [one.mean().item() for one in told]
    assert set(shares) == {0.0, 1.0} and 3 <= shares.count(1.0) <= 9
    with pytest.raises(InputError, match="flips is on and .* holds latents; encode mirrored ones with --mirrored"):
        train_diffuser(training(tmp_path / "out", flips=True, **stored))
    start = train_diffuser(training(tmp_path / "start", latent_sizes=((2, 2),), resampler=stored["resampler"]))
    with pytest.raises(InputError, match="start/pipeline was not told of mirrored pictures; leave them out"):
        train_diffuser(training(tmp_path / "out", init_from=str(start), model=(), **stored))
    shutil.rmtree(tmp_path / "latents" / "mirrored")
    told.clear()
    train_diffuser(training(tmp_path / "again", **stored))
    assert told == [None] * 12


def test_a_single_file_is_not_mirrored(tmp_path, capsys):
    (tmp_path / "one.png").touch()
    with pytest.raises(SystemExit):
        encode("--data", tmp_path / "one.png", "--output", tmp_path / "out", "--mirrored")
    assert "--mirrored is given and" in capsys.readouterr().err
