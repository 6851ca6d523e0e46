"""Splats as the ellipses that the page draws."""

from dataclasses import replace

import gradio
import pytest
import torch

from r2id.app.ellipses import ellipses, visible
from r2id.app.page import build
from r2id.app.studio import Studio, rendered
from r2id.files.splats import read_splats
from r2id.geometry.coordinates import canvas_extent
from r2id.geometry.splats import Splats


def some_splats(count=20, channels=3, canvas=(2, 3)):
    return Splats.of_ellipses(
        torch.rand(1, count, 2) - 0.5,
        0.1 * torch.randn(1, count, 2).exp(),
        3 * torch.rand(1, count),
        2 * torch.rand(1, count, channels) - 1,
        torch.rand(1, count) + 0.5,
        canvas,
    )


@pytest.fixture
def studio(splat_pipeline):
    return Studio(splat_pipeline)


def session_of(studio, **how):
    return list(studio.generate(["3", "8"], (4, 4), (32, 32), 3, 2.0, 0, **how))[-1]


def test_each_outline_is_one_standard_deviation_from_its_splat():
    """Points of the drawn ellipse have a Mahalanobis distance of 1, by the covariance that pictures are made from."""
    splats = some_splats()
    drawn = torch.tensor([one[:5] for one in ellipses(splats)], dtype=torch.float64)
    largest_first = splats.scales[0].prod(-1).argsort(descending=True)
    yy, xy, xx = (entry[0, largest_first, None].double() for entry in splats.covariances())
    x, y, first, second, degrees = drawn[:, :, None].unbind(1)
    turn, angle = torch.linspace(0, 6, 50).double(), degrees.deg2rad()
    # As SVG draws it: an ellipse along the axes, turned about its centre from x towards y.
    along, across = first * turn.cos(), second * turn.sin()
    x = x + along * angle.cos() - across * angle.sin() - splats.centres[0, largest_first, 1:].double()
    y = y + along * angle.sin() + across * angle.cos() - splats.centres[0, largest_first, :1].double()
    distance = (y**2 * xx - 2 * y * x * xy + x**2 * yy) / (yy * xx - xy**2)
    torch.testing.assert_close(distance, torch.ones_like(distance), rtol=0, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_the_splats(channels):
    splats = some_splats(channels=channels)
    largest_first = splats.scales[0].prod(-1).argsort(descending=True)
    for one, colour in zip(ellipses(splats), splats.colours[0, largest_first].expand(-1, 3), strict=True):
        levels = [int(one[5][at : at + 2], 16) for at in (1, 3, 5)]
        assert levels == pytest.approx(((colour + 1) * 127.5).tolist(), abs=0.51)


def test_the_visible_part_is_in_the_lengths_of_the_ellipses():
    assert visible((4, 6), (0, 0, 4, 6), (2 / 3, 1.0)) == pytest.approx([-0.5, -1 / 3, 1, 2 / 3])
    # The right half, of a picture that is stretched to a square too.
    assert visible((6, 6), (0, 3, 6, 6), (2 / 3, 1.0)) == pytest.approx([0, -1 / 3, 0.5, 2 / 3])


def test_splats_are_those_of_the_picked_picture_on_its_canvas(studio):
    session = replace(session_of(studio, proportions=[(1, 1), (1, 2)]), picked=3)
    wide = session.others[0]
    expected = studio.resampler.splats(wide.latents[1:], wide.canvas)
    splats = studio.splats(session)
    assert splats.extent == canvas_extent(wide.canvas) and torch.equal(splats.centres, expected.centres)
    whole, region = rendered(replace(session, view=(0.25, 0.5, 0.75, 1.0)))
    assert visible(whole, region, splats.extent) == pytest.approx(
        [0, -splats.extent[0] / 4, 0.5, splats.extent[0] / 2], abs=2e-3
    )


def test_downloads_hold_the_splats_of_the_picked_picture(studio):
    session = replace(session_of(studio), picked=1)
    paths = studio.files(session)
    names = ["r2id-8-32x32.png", "latents.safetensors", "r2id-8.svg", "r2id-8.ply", "r2id-8.npz"]
    assert [path.name for path in paths] == names
    expected = studio.splats(session)
    for path in paths[3:]:
        torch.testing.assert_close(read_splats(path).centres, expected.centres)
    assert "<svg" in paths[2].read_text(encoding="utf-8")


@pytest.mark.parametrize("has_splats", [True, False])
def test_only_a_model_of_splats_has_a_slider_of_them(splat_pipeline, word_pipeline, has_splats):
    studio = Studio(splat_pipeline if has_splats else word_pipeline)
    blocks = {
        block.elem_id: block for block in build({"Digits": studio}).blocks.values() if isinstance(block, gradio.HTML)
    }
    assert blocks["viewer"].props["has_splats"] is has_splats
