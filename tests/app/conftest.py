"""What the tests of the page share."""

import pytest
import torch

from browsing import browsers
from r2id.conditioning.word_vectors import WordVectors
from r2id.conditioning.words import WordConditioner
from r2id.diffusion.pipeline import R2Pipeline


@pytest.fixture(scope="session")
def word_pipeline(make_diffuser, make_pyramid) -> R2Pipeline:
    """A pipeline of tiny untrained models for prompts, in colour, that takes any proportions."""
    torch.manual_seed(0)
    words = ("red", "green", "blue", "heart", "rocket", "sky")
    vectors = WordVectors(words, torch.randn(len(words), 6).half())
    conditioner = WordConditioner.of(vectors, [], text_dim=8, num_blocks=1, num_tokens=3, dim=8, num_heads=2).eval()
    defaults = {"size": (64, 64), "latent_size": (4, 4), "num_inference_steps": 4}
    pipeline = R2Pipeline(make_diffuser(channels=24), conditioner, make_pyramid(), generation_defaults=defaults)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def splat_pipeline(make_pipeline, make_resampler) -> R2Pipeline:
    """A pipeline of tiny untrained models for the labels 0 to 9, whose latents are 2 colour splats each."""
    torch.manual_seed(0)
    pipeline = make_pipeline(make_resampler(attention="splats", image_channels=3, latent_channels=18), channels=18)
    defaults = {"size": (32, 32), "latent_size": (4, 4), "num_inference_steps": 3}
    pipeline.register_to_config(generation_defaults=defaults)
    return pipeline


@pytest.fixture
def visit(port, tmp_path):
    """Opens the page that a test file serves at its `port`."""
    with browsers(port, tmp_path, "generate") as open_page:
        yield open_page
