"""Fixtures of the tests of training."""

import signal

import pytest
from small_trainings import diffuser_training, resampler_training

from r2id.training.objectives import DiffusionObjective, ReconstructionObjective
from r2id.training.setup import train_diffuser, train_resampler


@pytest.fixture(params=["resampler", "diffuser"])
def kind(request):
    """A training: its function, its settings, its objective, and the weights that it leaves."""
    if request.param == "resampler":
        return train_resampler, resampler_training, ReconstructionObjective, ""
    return train_diffuser, diffuser_training, DiffusionObjective, "diffuser"


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, even if the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
