"""The pyramid in training: what it is before training, and that a step of training is what it says."""

import random
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

PICTURES = Path(__file__).parents[2] / "benchmarks" / "pictures"


@pytest.fixture
def pyramid(monkeypatch):
    monkeypatch.syspath_prepend(str(PICTURES))
    import pyramid

    yield pyramid
    for name in ("pyramid", "train"):
        sys.modules.pop(name, None)


@pytest.fixture
def small(pyramid):
    torch.manual_seed(0)
    return pyramid.Pyramid(64, (16, 48, 64, 80), (1, 1, 1, 1), (1, 1, 1, 1), 8, 16)


def test_untrained_it_keeps_the_coarsest_haar_coefficients(pyramid):
    network = pyramid.Pyramid()
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    latent = network.encode(picture, (2, 2))
    assert latent.shape == (1, 2, 2, 64)
    means = F.avg_pool2d(picture, 16).permute(0, 2, 3, 1)
    assert torch.allclose(latent[..., :3], means, atol=1e-5)
    # 48 of the 64 coefficients hold the means of squares of 4 × 4 pixels; the picture is these and no less.
    kept = network.summarise(latent)[0]
    assert torch.allclose(F.avg_pool2d(kept, 4), F.avg_pool2d(picture, 4), atol=1e-5)


def test_many_latents_keep_a_picture_whole(pyramid):
    network = pyramid.Pyramid()
    picture = F.interpolate(torch.rand(1, 3, 6, 6), size=32, mode="bicubic")
    again = network.decode(network.encode(picture, (8, 8)), (32, 32))
    assert (again - picture).square().mean() < 1e-4


def test_resize_is_pillows_antialiased_cubic(pyramid):
    picture = torch.rand(1, 3, 24, 37)
    expected = F.interpolate(picture, size=(10, 50), mode="bicubic", antialias=True)
    assert torch.allclose(pyramid.resize(picture, 10, 50), expected, atol=1e-4)


def test_a_region_is_read_as_in_the_whole(pyramid, small):
    torch.nn.init.normal_(small.colour.weight)
    summary = small.summarise(torch.randn(1, 3, 4, 64))
    rows, columns = pyramid.centres(3, 45), pyramid.centres(4, 61)
    whole = small.read(summary, rows, columns, 15.0)
    part = small.read(summary, rows[7:20], columns[11:40], 15.0)
    assert torch.allclose(part, whole[:, :, 7:20, 11:40], atol=1e-5)


def test_blending_is_continuous_and_keeps_a_constant(pyramid):
    lines = torch.zeros(1, 5, 1, 2, 1)
    lines[:, :, :, 0] = 3.0
    places = torch.linspace(0, 5, 101)
    assert torch.allclose(pyramid.blend(lines, 1, places), torch.full((1, 101, 1, 1), 3.0))
    rough = torch.randn(1, 5, 1, 2, 1)
    read = pyramid.blend(rough, 1, torch.linspace(0.5, 4.5, 4001)).flatten()
    assert read.diff().abs().max() < 0.02


def test_a_few_steps_lower_the_loss(pyramid, small):
    import train

    torch.manual_seed(0)
    ramps = torch.linspace(0, 255, 64).expand(4, 3, 64, 64)
    store = (ramps * torch.rand(4, 3, 64, 1)).to(torch.uint8)
    plan = train.Plan(batch=8, cells=3, patch=48)
    optimiser = torch.optim.AdamW(small.parameters(), 3e-3)
    losses = []
    for step in range(12):
        chance = random.Random(step % 2)
        torch.manual_seed(step % 2)
        some = [make(store, 3, 3, chance) for make in (train.enlarging, train.keeping, train.drawing)]
        loss, errors = train.loss_of(small, some, plan, False, chance)
        assert errors.shape == (3,)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])


def test_crops_come_in_all_eight_orientations(pyramid):
    import train

    store = torch.arange(12).reshape(1, 3, 2, 2).to(torch.uint8)
    made = train.crops(store, 8, 2)
    assert len({tuple(one.flatten().tolist()) for one in made}) == 8
