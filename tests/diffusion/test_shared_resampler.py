"""A pipeline saved without its R2IR takes the bundled one that its diffuser names, with its own statistics."""

import pytest
import torch

from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR


def pipeline_on(described) -> R2Pipeline:
    diffuser = R2ID(64, 16, 2, 1, 1, token_dim=8, time_dim=8, sample_size=2, canvas=(1, 1), latents_of=described)
    return R2Pipeline(diffuser, LabelConditioner(("a", "b"), 2, 8))


@pytest.fixture(scope="module")
def described():
    pictures = R2IR.from_pretrained("pictures")
    pictures.latent_mean.fill_(0.25)
    pictures.latent_std.fill_(2.0)
    return pictures.described("pictures")


def test_it_is_saved_without_and_loaded_with_it(described, tmp_path):
    pipeline = pipeline_on(described)
    latent = torch.randn(1, 64, 2, 2)
    torch.testing.assert_close(pipeline.resampler.destandardise(latent), 2 * latent + 0.25)
    made = pipeline(["a"], (2, 2), num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt")
    pipeline.resampler = None
    pipeline.save_pretrained(tmp_path)
    assert not (tmp_path / "resampler").exists()
    loaded = R2Pipeline.from_pretrained(tmp_path)
    again = loaded(["a"], (2, 2), num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt")
    torch.testing.assert_close(again.images, made.images)


def test_other_weights_of_that_name_are_refused(described):
    with pytest.raises(InputError, match="the weights pictures are not those that this model learnt the latents of"):
        pipeline_on(described | {"checksum": 1})
