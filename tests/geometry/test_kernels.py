"""Reading along one axis: as other libraries read, wherever the axis is cut."""

import pytest
import torch
from torch.nn import functional

from r2id.geometry.kernels import area_reading, cubic_reading, line_reading, read_separably


def centres(side: int, count: int) -> torch.Tensor:
    return (torch.arange(side, dtype=torch.float64) + 0.5) * (count / side)


@pytest.mark.parametrize("side", [10, 50])
def test_cubic_reading_is_the_usual_antialiased_bicubic(side):
    picture = torch.rand(1, 3, 24, 37)
    read = read_separably(
        picture, cubic_reading(centres(10, 24), 24, 2.4), cubic_reading(centres(side, 37), 37, 37 / side)
    )
    expected = functional.interpolate(picture, size=(10, side), mode="bicubic", antialias=True)
    # At the edges the one repeats the last sample, and the other leaves out what is beyond.
    inner = (..., slice(2, -2), slice(3, -3))
    assert torch.allclose(read[inner], expected[inner], atol=1e-4)


def test_area_reading_is_the_mean_over_an_area():
    picture = torch.rand(1, 3, 12, 12)
    third, most = (area_reading(centres(side, 12), 12, 12 / side) for side in (4, 5))
    assert torch.allclose(read_separably(picture, third, third), functional.avg_pool2d(picture, 3), atol=1e-6)
    fine = picture.repeat_interleave(5, 2).repeat_interleave(5, 3)
    assert torch.allclose(read_separably(picture, most, most), functional.avg_pool2d(fine, 12), atol=1e-6)


def test_line_reading_is_continuous_and_keeps_a_constant():
    reading = line_reading(torch.linspace(0, 5, 101), 5)
    assert torch.allclose(reading.weights[..., 0].sum(1), torch.ones(101))
    reading = line_reading(torch.linspace(0.5, 4.5, 4001), 5)
    lines = torch.randn(reading.weights.shape[1:], generator=torch.Generator().manual_seed(0))
    read = (reading.weights * lines).sum((1, 2))
    assert read.diff().abs().max() < 0.02
