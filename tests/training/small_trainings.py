"""Trainings of tiny networks on a few digits, and the files they leave."""

import signal
from pathlib import Path

import torch
from safetensors.torch import load_file

from r2id.training.settings import DiffuserTraining, ResamplerTraining

FIXTURES = Path(__file__).parent.parent / "fixtures"
DIGITS = FIXTURES / "digits"

SMALL = {
    "image_size": (8, 8),
    "latent_sizes": ((2, 2), (3, 3)),
    "steps": 7,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "checkpoint_every": 3,
    "sample_every": 0,
}
POSITIONS = ("num_high=3", "num_low=2")
RESAMPLER = (
    "dim=16", "num_heads=2", "num_blocks=1", "latent_channels=4", "basis=4", "value_dim=4", "pixel_dim=8",
    "pixel_blocks=1", *POSITIONS,
)  # fmt: skip
DIFFUSER = (
    "dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", *POSITIONS,
)  # fmt: skip


def resampler_training(output: Path, **changes) -> ResamplerTraining:
    settings = {"data": str(DIGITS), "output": output, "model": RESAMPLER, "latent_noise": 0.1, "pixel_share": 0.5}
    return ResamplerTraining(**settings | SMALL | changes)


def diffuser_training(output: Path, **changes) -> DiffuserTraining:
    settings = {"data": str(DIGITS), "output": output, "model": DIFFUSER, "resampler": "none"}
    return DiffuserTraining(**settings | SMALL | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def signal_at(monkeypatch, objective: type, call: int, *numbers: int) -> None:
    """Sends this process signals, such as Ctrl-C, in the midst of the step of the objective's given call (from 0)."""
    forward = objective.forward
    calls = iter(range(10**6))

    def interrupted(self, *arguments):
        loss = forward(self, *arguments)
        if next(calls) == call:
            for number in numbers:
                signal.raise_signal(number)
        return loss

    monkeypatch.setattr(objective, "forward", interrupted)
