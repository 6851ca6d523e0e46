"""Scales of a pyramid's channels for a diffuser: by what each changes in the picture."""

from pathlib import Path

import torch

from r2id.data.loading import load_images
from r2id.geometry.canvas import plain
from r2id.networks.resampler import R2IR
from r2id.training.latent_statistics import adapt_to, change_in_pictures

EMOJI = Path(__file__).parents[1] / "fixtures" / "emoji"


def test_channels_have_variance_by_what_they_change_in_the_picture(make_pyramid):
    data = load_images(EMOJI, image_size=(32, 32), channels=3)
    pyramid = make_pyramid()
    latents = plain(torch.cat([pyramid.encode(data.batch([index]), (4, 4)) for index in range(len(data))]))
    spread = latents.std((0, 2, 3), correction=1)
    change = change_in_pictures(pyramid, latents[:8], spread)
    for power in (0.0, 0.5, 1.0):
        adapt_to(pyramid, [data], [(4, 4)], power)
        scaled = pyramid.standardise(latents)
        variance = scaled.var((0, 2, 3))
        torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(24), rtol=0, atol=1e-4)
        torch.testing.assert_close(variance.mean(), torch.tensor(1.0), rtol=1e-3, atol=0)
        torch.testing.assert_close(variance / variance[0], (change / change[0]) ** (2 * power), rtol=1e-2, atol=1e-4)
        torch.testing.assert_close(pyramid.destandardise(scaled), latents, rtol=1e-3, atol=1e-4)


def test_the_change_in_pictures_is_that_of_noise_in_one_channel(make_pyramid):
    pyramid, latents = make_pyramid(), torch.randn(2, 24, 3, 3)
    spread = torch.linspace(0.5, 2, 24)
    noise = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    moved = latents.clone()
    moved[:, 5] += spread[5] * noise
    difference = pyramid.decode(moved, (24, 24)) - pyramid.decode(latents, (24, 24))
    found = change_in_pictures(pyramid, latents, spread)[5]
    torch.testing.assert_close(found, difference.square().mean().sqrt(), rtol=1e-3, atol=1e-6)


def test_statistics_are_no_part_of_the_checksum_and_are_taken_over(make_pyramid):
    one, other = make_pyramid(), make_pyramid()
    one.latent_mean.uniform_()
    one.latent_std.uniform_(0.5, 2)
    other.take_statistics(one)
    latent = torch.randn(1, 24, 2, 2)
    assert isinstance(other, R2IR) and one.checksum() == other.checksum()
    torch.testing.assert_close(other.standardise(latent), one.standardise(latent))
