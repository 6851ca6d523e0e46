"""A training in one small file: what it keeps, how large it is, and that another machine goes on from it."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.training.checkpoints import PORTABLE, Checkpoints
from r2id.training.optimizers import Muon
from r2id.training.portable import portable_progress, read_portable, write_portable
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
MODEL = ("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", "num_high=3")
PROGRESS = {"step": 5, "seconds": 1.5, "settings": {"seed": 0}}


def training(output: Path, **changes) -> DiffuserTraining:
    settings = {
        "data": str(DIGITS), "output": output, "model": MODEL, "resampler": "none", "image_size": (8, 8),
        "latent_sizes": ((3, 3),), "steps": 40, "batch_size": 16, "warmup_steps": 2, "sample_every": 0,
        "checkpoint_every": 20, "portable": True,
    }  # fmt: skip
    return DiffuserTraining(**settings | changes)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return R2ID.from_pretrained(folder / "diffuser").state_dict()


def optimised(kind: str) -> tuple[list[nn.Parameter], list[torch.Tensor], torch.optim.Optimizer]:
    """Weights, their averages and an optimiser after some steps whose gradients differ by orders of magnitude."""
    weights = [nn.Parameter(torch.randn(shape)) for shape in ((7, 33), (5,), (3, 4, 6), (6, 1))]
    muon = Muon(weights[:1], weights[1:], lr=1e-3)
    optimizer = torch.optim.AdamW(weights, lr=1e-3) if kind == "adamw" else muon
    sizes = [10 ** (-4 * torch.rand(one.shape)) for one in weights]
    for _ in range(20):
        for weight, size in zip(weights, sizes, strict=True):
            weight.grad = size * torch.randn(weight.shape)
        optimizer.step()
    return weights, [one.detach() + 1e-3 * torch.randn(one.shape) for one in weights], optimizer


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_what_comes_back_is_close_to_what_was_kept(kind, tmp_path):
    weights, average, optimizer = optimised(kind)
    write_portable(tmp_path / "one", PROGRESS, weights, average, optimizer.state_dict()["state"])
    again, means, other = optimised(kind)
    read_portable(tmp_path / "one", again, means, other)
    assert portable_progress(tmp_path / "one") == PROGRESS
    for weight, mean, found, found_mean in zip(weights, average, again, means, strict=True):
        torch.testing.assert_close(found, weight, rtol=1e-3, atol=1e-6)
        assert (found_mean - mean).abs().max() < 0.1 * (mean - weight).abs().max()
    kept = optimizer.state_dict()["state"]
    for number, found in other.state_dict()["state"].items():
        assert found["step"] == kept[number]["step"] == 20 and found.keys() == kept[number].keys()
        if "momentum_buffer" in found:
            torch.testing.assert_close(found["momentum_buffer"], kept[number]["momentum_buffer"], rtol=0, atol=0.01)
            continue
        torch.testing.assert_close(found["exp_avg_sq"], kept[number]["exp_avg_sq"], rtol=0.06, atol=0)
        direction, expected = (one["exp_avg"] / one["exp_avg_sq"].sqrt() for one in (found, kept[number]))
        assert (direction - expected).abs().max() < 0.01 * expected.abs().max()


def test_a_network_of_12_million_weights_fits_in_60_megabytes(tmp_path):
    network = R2ID(dim=384, encoder_blocks=3, decoder_blocks=2, token_dim=384)
    weights = list(network.parameters())
    count = sum(one.numel() for one in weights)
    optimizer = torch.optim.AdamW(weights)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    write_portable(tmp_path / "one", PROGRESS, weights, weights, optimizer.state_dict()["state"])
    size = (tmp_path / "one").stat().st_size
    assert 12e6 < count < 12.5e6 and size < 4.6 * count < 60e6


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_another_machine_goes_on_from_the_file_alone(tmp_path, optimizer):
    whole = training(tmp_path / "whole", optimizer=optimizer)
    expected = state(train_diffuser(whole))
    carried = tmp_path / "carried"
    carried.mkdir()
    stopped = training(tmp_path / "first", optimizer=optimizer)
    stop_at_20(stopped)
    shutil.copy(stopped.output / PORTABLE, carried / PORTABLE)
    with pytest.raises(InputError, match="already holds a training of 20 steps"):
        train_diffuser(training(carried, optimizer=optimizer))
    resumed = state(train_diffuser(training(carried, optimizer=optimizer, resume=True)))
    moved = max((one - resumed[name]).abs().max() for name, one in expected.items())
    fresh = state(train_diffuser(training(tmp_path / "other", optimizer=optimizer, seed=1)))
    assert 0 < moved < 0.02 < max((one - fresh[name]).abs().max() for name, one in expected.items())


def stop_at_20(config: DiffuserTraining) -> None:
    """Train until the checkpoint after 20 steps."""
    save = Checkpoints.save

    def stopping(self, step, *arguments):
        save(self, step, *arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", stopping)
        train_diffuser(config)


def test_a_folder_of_the_same_step_comes_before_the_file(tmp_path):
    config = training(tmp_path, steps=20)
    expected = state(train_diffuser(config))
    resumed = state(train_diffuser(training(tmp_path, steps=20, resume=True)))
    assert all(torch.equal(one, resumed[name]) for name, one in expected.items())


def test_a_damaged_file_or_one_of_another_network_is_refused_in_a_sentence(tmp_path):
    stopped = training(tmp_path / "first")
    stop_at_20(stopped)
    file = stopped.output / PORTABLE
    shutil.rmtree(stopped.output / "checkpoints")
    with pytest.raises(InputError, match="model is .*dim=24.*; the training to resume has"):
        train_diffuser(training(stopped.output, model=(*MODEL[1:], "dim=24"), resume=True))
    weights, average, optimizer = optimised("adamw")
    with pytest.raises(InputError, match="is damaged or of another model"):
        read_portable(file, weights, average, optimizer)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{file} is damaged or of another model"):
        train_diffuser(training(stopped.output, resume=True))
