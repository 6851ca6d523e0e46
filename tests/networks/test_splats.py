"""R2IR of splats: its latents are Gaussians, in place of a decoder with weights."""

import pytest
import torch

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid
from r2id.networks import resampler as resampler_file
from r2id.networks.refinement import refine
from r2id.networks.resampler import R2IR

SMALL = {
    "attention": "splats", "latent_channels": 14, "num_blocks": 1, "dim": 16, "num_heads": 2, "num_high": 4,
    "num_low": 2, "sample_size": 16, "latent_size": 4, "basis": 4, "value_dim": 4,
}  # fmt: skip


@pytest.fixture
def resampler() -> R2IR:
    torch.manual_seed(0)
    return R2IR(**SMALL).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 1, 16, 16) * 2 - 1


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image_size", [(16, 16), (9, 20), (1, 1)])
@pytest.mark.parametrize("size", [(4, 4), (3, 7), (1, 1)])
def test_pictures_of_any_size_go_to_grids_of_any_size_and_back(resampler, image_size, size):
    latent = resampler.encode(torch.rand(2, 1, *image_size), size)
    assert latent.shape == (2, 14, *size) and latent.abs().max() <= 1
    assert resampler.decode(latent, (11, 6)).shape == (2, 1, 11, 6)


def test_large_pictures_are_read_in_chunks(resampler, images, monkeypatch):
    whole = resampler.encode(images, (4, 4))
    monkeypatch.setattr(resampler_file, "CHUNK_PIXELS", 100)
    with torch.no_grad():
        close(resampler.encode(images, (4, 4)), whole)


def test_the_numbers_of_a_token_say_where_its_splats_are():
    resampler = R2IR(**SMALL)
    latent = torch.zeros(1, 14, 2, 3)
    # The second splat of the token at row 1, column 2: half a cell down, a cell to the left, large and light.
    latent[0, 7:, 1, 2] = torch.tensor([0.5, -1.0, 0.4, 0.0, 0.0, 1.0, 0.8])
    splats = resampler.splats(latent)
    assert splats.extent == (2 / 3, 1)
    side = 1 / 3
    close(splats.centres[0, 0], torch.tensor([-side / 2, -side]))
    close(splats.centres[0, -1], torch.tensor([side / 2 + side / 2, 0.0]))
    close(splats.scales[0, -1], torch.tensor([0.35 * side] * 2) * torch.tensor(0.4 * 1.5).exp())
    close(splats.weights[0, -2:], torch.tensor([0.0, 3.0]).exp())
    close(splats.colours[0, -2:, 0], torch.tensor([0.0, 0.8]))


def test_the_splats_of_a_token_start_apart(resampler, images):
    centres = resampler.splats(resampler.encode(images, (4, 4))).centres.unflatten(1, (16, 2))
    assert (centres[:, :, 0] - centres[:, :, 1]).norm(dim=-1).min() > 0.03


def test_training_renders_the_pixels_asked_for(resampler, images):
    grid, pixels = Grid.of_size((4, 4)), Grid.of_size((16, 16))
    some = pixels.crop(torch.tensor([1, 5, 9]), torch.tensor([0, 15]))
    whole = resampler.decode(resampler.encode(images, (4, 4)), (16, 16))
    close(resampler(images, grid), whole)
    close(resampler(images, (4, 4), some), whole[:, :, [1, 5, 9]][..., [0, 15]])
    assert (resampler(images, grid, latent_noise=torch.full((2, 14, 4, 4), 0.1)) - whole).abs().max() > 0.01


def test_every_weight_learns(resampler, images):
    (resampler(images, (4, 4)) - images).square().mean().backward()
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in resampler.parameters())


def test_refinement_comes_closer_to_each_picture(resampler, images):
    smooth = torch.nn.functional.interpolate(images[..., :4, :4], (16, 16), mode="bicubic")
    with torch.inference_mode():
        latent = resampler.encode(smooth, (4, 4))
        done = []
        refined = refine(resampler, latent, smooth, steps=60, progress=done.append)
        alone = refine(resampler, latent[1:], smooth[1:], steps=60)
        errors = [(resampler.decode(one, (16, 16)) - smooth).square().mean((1, 2, 3)) for one in (latent, refined)]
    assert (errors[1] < 0.2 * errors[0]).all() and refined.abs().max() <= 1
    assert done == list(range(1, 61))
    torch.testing.assert_close(alone, refined[1:], rtol=0, atol=0.02)
    close(refine(resampler, latent, smooth, steps=0), latent)


def test_it_is_saved_and_loaded(resampler, images, tmp_path):
    resampler.latent_std.fill_(2)
    resampler.save_pretrained(tmp_path)
    loaded = R2IR.from_pretrained(tmp_path)
    latent = loaded.encode(images, (4, 4))
    assert torch.equal(latent, resampler.encode(images, (4, 4)))
    assert loaded.checksum() == resampler.checksum()
    close(loaded.destandardise(loaded.standardise(latent)), latent)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"latent_channels": 15}, "latent_channels is 15; a splat has 7, of which it must be a multiple"),
        ({"image_channels": 3}, "latent_channels is 14; a splat has 9, of which it must be a multiple"),
        ({"jitter": "sampled"}, "jitter is 'sampled'; with splats it must be 'expected' or 'none'"),
        ({"attention": "gaussians"}, "attention is 'gaussians'; it must be 'local', 'global', 'pyramid' or 'splats'"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        R2IR(**SMALL | arguments)


def test_bad_calls_are_refused_in_a_sentence(resampler, images):
    latent = resampler.encode(images, (4, 4))
    with pytest.raises(InputError, match="a latent of shape"):
        resampler.decode(latent[:, :7], (16, 16))
    with pytest.raises(InputError, match="an image of shape"):
        refine(resampler, latent, images.expand(-1, 3, -1, -1))
    with pytest.raises(InputError, match="steps is -1; it must be at least 0"):
        refine(resampler, latent, images, steps=-1)
    with pytest.raises(InputError, match="the centres of splats hold nan"):
        resampler.field(latent * float("nan"))
    with pytest.raises(InputError, match="no latent size is given, which attention 'splats' needs"):
        resampler.encode(images)
