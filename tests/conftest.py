"""What all tests share: repeatable random numbers, no network, and models small enough to run in milliseconds."""

import os
from collections.abc import Callable

# Read when the hub's client is first imported: a missing name must fail at once, and the same way everywhere.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from torch import nn

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner, load_text_encoder
from r2id.diffusion.pipeline import R2Pipeline
from r2id.networks.diffuser import R2ID
from r2id.networks.layers import LocalMLPBlock
from r2id.networks.resampler import R2IR

# Tensors this small gain nothing from a second thread, and the order of sums stays the same.
torch.set_num_threads(1)

RESAMPLER = {
    "latent_channels": 3,
    "dim": 16,
    "num_heads": 2,
    "num_blocks": 1,
    "num_high": 4,
    "num_low": 2,
    "sample_size": 16,
    "latent_size": 2,
    "basis": 4,
    "value_dim": 4,
    "pixel_dim": 8,
    "pixel_blocks": 1,
}
DIFFUSER = {
    "channels": 3,
    "dim": 16,
    "num_heads": 2,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "token_dim": 8,
    "time_dim": 8,
    "num_high": 4,
    "num_low": 2,
}


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_pyramid() -> Callable[[], R2IR]:
    """Builds a small pyramid for RGB with every weight random, so that nothing cancels."""

    def make() -> R2IR:
        torch.manual_seed(0)
        pyramid = R2IR(
            image_channels=3, latent_channels=24, attention="pyramid", widths=(12, 16, 20, 24),
            encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1, 1), read_channels=4, read_dim=8,
        )  # fmt: skip
        with torch.no_grad():
            for parameter in pyramid.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return pyramid.eval()

    return make


@pytest.fixture(scope="session")
def make_resampler() -> Callable[..., R2IR]:
    """Builds a tiny untrained R2IR with random latent statistics; arguments replace the defaults."""

    def make(**arguments) -> R2IR:
        resampler = R2IR(**RESAMPLER | arguments).eval()
        resampler.latent_mean.uniform_(-0.2, 0.2)
        resampler.latent_std.uniform_(0.2, 0.4)
        return resampler

    return make


@pytest.fixture(scope="session")
def make_diffuser() -> Callable[..., R2ID]:
    """Builds a tiny untrained R2ID, in which what begins at zero is random."""

    def make(**arguments) -> R2ID:
        diffuser = R2ID(**DIFFUSER | arguments).eval()
        nn.init.normal_(diffuser.out.weight, std=0.3)
        if diffuser.neighbourhood:
            nn.init.normal_(diffuser.neighbourhood.weight)
        for module in diffuser.modules():
            if isinstance(module, LocalMLPBlock):
                nn.init.normal_(module.kernel)
        return diffuser

    return make


@pytest.fixture(scope="session")
def make_pipeline(make_resampler, make_diffuser) -> Callable[..., R2Pipeline]:
    """Builds a pipeline of tiny untrained models for the labels 0 to 9; `resampler=None` gives one of pixels."""

    def make(resampler: R2IR | None | str = "tiny", scheduler=None, **arguments) -> R2Pipeline:
        if resampler == "tiny":
            resampler = make_resampler()
        diffuser = make_diffuser(**arguments | ({} if resampler else {"channels": 1}))
        pipeline = R2Pipeline(diffuser, LabelConditioner(dim=8).eval(), resampler, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> dict[str, str]:
    """Folders of tiny untrained text encoders."""
    # Of what few tests need, and slow to import.
    from text_encoders import tiny_model, tiny_tokenizer

    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    for kind in ("clip", "t5", "bert"):
        tiny_model(kind).save_pretrained(root / kind)
        tiny_tokenizer().save_pretrained(root / kind)
    return {folder.name: str(folder) for folder in root.iterdir()}


@pytest.fixture(scope="session")
def text_pipeline(encoders, make_diffuser, make_resampler) -> R2Pipeline:
    """A pipeline of tiny untrained models for texts."""
    tokenizer, encoder = load_text_encoder(encoders["clip"])
    conditioner = TextConditioner(8, num_tokens=3, dim=8).eval()
    pipeline = R2Pipeline(make_diffuser(), conditioner, make_resampler(), text_encoder=encoder, tokenizer=tokenizer)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
