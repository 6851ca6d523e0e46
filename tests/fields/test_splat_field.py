"""SplatField: a normalised sum of Gaussians, against a loop over pixels and splats; and what splats may not be."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from r2id.errors import InputError
from r2id.fields import splats as splat_field
from r2id.fields.splats import BACKGROUND_WEIGHT, REACH, SplatField
from r2id.geometry.coordinates import Grid
from r2id.geometry.splats import Splats


def some_splats(count=12, channels=3, batch=2, scale=0.1, canvas=(2, 3), dtype=torch.float64) -> Splats:
    def uniform(least, most, *shape):
        return least + (most - least) * torch.rand(batch, count, *shape, dtype=dtype)

    return Splats.of_ellipses(
        uniform(-0.45, 0.45, 2),
        scale * uniform(0.4, 2, 2),
        uniform(-3, 3),
        uniform(-1, 1, channels),
        uniform(0.2, 3),
        canvas,
        background=0.25,
    )


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slow_colour(splats: Splats, picture: int, y: float, x: float, height: float = 0, width: float = 0) -> torch.Tensor:
    """The colour at a place in absolute coordinates, or the quotient of means over an area, by the formulas alone."""
    above = BACKGROUND_WEIGHT * double([splats.background] * splats.colours.shape[-1])
    below = BACKGROUND_WEIGHT
    for number in range(splats.centres.shape[1]):
        one, other = splats.scales[picture, number].tolist()
        angle = splats.rotations[picture, number].item()
        # In (y, x): an axis at an angle from x towards y.
        axes = double([[math.sin(angle), math.cos(angle)], [math.cos(angle), -math.sin(angle)]])
        covariance = axes.T @ double([one**2, other**2]).diag() @ axes
        wide = covariance + double([height**2 / 12, width**2 / 12]).diag()
        offset = double([y, x]) - splats.centres[picture, number]
        square = offset @ torch.linalg.inv(wide) @ offset
        kernel = max(0, math.exp(-square / 2) - math.exp(-(REACH**2) / 2))
        weight = splats.weights[picture, number] * (torch.det(covariance) / torch.det(wide)).sqrt() * kernel
        above, below = above + weight * splats.colours[picture, number], below + weight
    return above / below


def test_pixels_are_those_of_a_loop_over_splats():
    splats, size = some_splats(), (5, 7)
    picture = SplatField(splats, sample_size=1).render(size)
    rows, columns = Grid.of_size(size).axes
    height, width = (side / count for side, count in zip(splats.extent, size, strict=True))
    for number in range(2):
        for i, y in enumerate(rows.tolist()):
            for j, x in enumerate(columns.tolist()):
                y_absolute, x_absolute = y * splats.extent[0], x * splats.extent[1]
                expected = slow_colour(splats, number, y_absolute, x_absolute, height, width)
                torch.testing.assert_close(picture[number, :, i, j], expected, rtol=1e-9, atol=1e-9)


def test_points_are_those_of_a_loop_over_splats():
    splats = some_splats(scale=0.05)
    places = (torch.rand(3, 5, 2) - 0.5).double()
    colours = SplatField(splats)(places)
    assert colours.shape == (2, 3, 3, 5)
    for i in range(3):
        for j in range(5):
            y, x = (places[i, j] * double(splats.extent)).tolist()
            torch.testing.assert_close(colours[1, :, i, j], slow_colour(splats, 1, y, x), rtol=1e-9, atol=1e-9)


def test_small_pixels_are_the_points_at_their_centres():
    field, size = SplatField(some_splats(scale=0.2)), (600, 900)
    region = (200, 350, 220, 380)
    centres = Grid.of_size(size).crop(slice(200, 220), slice(350, 380)).points().relative.view(20, 30, 2)
    torch.testing.assert_close(field.render(size, region), field(centres.double()), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(33, 20), (40, 50)])
@pytest.mark.parametrize("region", [(0, 0, 33, 20), (7, 3, 12, 19), (32, 19, 33, 20)])
def test_a_region_is_the_crop_of_the_whole(size, region, monkeypatch):
    monkeypatch.setattr(splat_field, "FEW_PAIRS", 100)
    monkeypatch.setattr(splat_field, "TILE", 9)
    field = SplatField(some_splats())
    top, left, bottom, right = region
    expected = field.render(size)[:, :, top:bottom, left:right]
    torch.testing.assert_close(field.render(size, region), expected, rtol=1e-9, atol=1e-9)


def test_culling_and_pieces_change_nothing(monkeypatch):
    field, places = SplatField(some_splats(count=40, scale=0.04)), (torch.rand(300, 2) - 0.5).double()
    pieces = field.render((50, 70)), field(places)
    everything = splats_that_reach_nothing_less(monkeypatch, field, places)
    for some, every in zip(pieces, everything, strict=True):
        torch.testing.assert_close(some, every, rtol=1e-9, atol=1e-9)


def splats_that_reach_nothing_less(monkeypatch, field, places):
    monkeypatch.setattr(splat_field, "_in_reach", lambda splats, low, high: splats)
    monkeypatch.setattr(splat_field, "FEW_PAIRS", 1 << 40)
    return field.render((50, 70)), field(places)


def test_memory_is_bounded_by_pairs(monkeypatch):
    seen = []
    mix = SplatField._mix

    def counted(self, splats, y, x):
        seen.append(splats.shape[0] * splats.shape[1] * (y + x).numel())
        return mix(self, splats, y, x)

    monkeypatch.setattr(SplatField, "_mix", counted)
    for name in ("PAIRS", "FEW_PAIRS"):
        monkeypatch.setattr(splat_field, name, 1000)
    field = SplatField(some_splats(count=50, scale=0.5), sample_size=1)
    field.render((20, 30))
    field((torch.rand(200, 2) - 0.5).double())
    assert len(seen) > 40 and max(seen) <= 1000


def test_the_order_of_splats_plays_no_role():
    splats = some_splats()
    shuffled = splats.each(torch.randperm(12))
    torch.testing.assert_close(
        SplatField(shuffled).render((20, 30)), SplatField(splats).render((20, 30)), rtol=1e-10, atol=1e-10
    )


def test_a_picture_of_a_batch_is_the_picture_alone():
    splats = some_splats(scale=0.05)
    names = ("centres", "shapes", "colours", "log_weights")
    second = replace(splats, **{name: getattr(splats, name)[1:] for name in names})
    torch.testing.assert_close(SplatField(second).render((40, 60)), SplatField(splats).render((40, 60))[1:])


def test_gradients_are_those_of_small_changes(monkeypatch):
    monkeypatch.setattr(splat_field, "FEW_PAIRS", 20)
    monkeypatch.setattr(splat_field, "TILE", 2)
    splats = some_splats(count=3, batch=1, scale=0.2)
    names = ("centres", "shapes", "colours", "log_weights")
    values = [getattr(splats, name).clone().requires_grad_() for name in names]

    def picture(*values):
        return SplatField(Splats(*values, extent=splats.extent, background=0.25), sample_size=1).render((3, 4))

    assert torch.autograd.gradcheck(picture, values)


def test_a_round_splat_has_gradients():
    shapes = torch.tensor([[[-2.0, 0.0, 0.0]]], requires_grad=True)
    splats = Splats(torch.zeros(1, 1, 2), shapes, torch.ones(1, 1, 1), torch.zeros(1, 1))
    SplatField(splats).render((9, 9)).sum().backward()
    assert shapes.grad.isfinite().all() and shapes.grad[0, 0, 0] > 0


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_downscaling_is_averaging_over_areas(factor):
    """Splats of a 48-pixel picture's detail, some as thin as half a pixel of it."""
    splats = some_splats(count=150, batch=1, scale=0.025, dtype=torch.float32)
    field = SplatField(splats, sample_size=48)
    fine = avg_pool2d(field.render((256, 384)), 8 * factor)
    small = field.render((fine.shape[-2], fine.shape[-1]))
    points = field(Grid.of_size(fine.shape[-2:]).points().relative).view_as(small)
    psnr, of_points = (10 * torch.log10(4 / (one - fine).square().mean()) for one in (small, points))
    assert psnr > 30 and psnr > of_points + 6


def test_a_picture_of_a_single_pixel_is_its_mean():
    field = SplatField(some_splats(count=60, batch=1, scale=0.05), sample_size=60)
    mean = field.render((200, 300)).mean((2, 3))
    torch.testing.assert_close(field.render((1, 1))[..., 0, 0], mean, rtol=0, atol=0.02)


def test_where_no_splat_reaches_is_the_background():
    splats = some_splats(count=1, batch=1, scale=0.01)
    splats = replace(splats, centres=torch.zeros_like(splats.centres))
    assert (SplatField(splats).render((8, 12))[:, :, 0, 0] == 0.25).all()


def test_colours_of_a_splat_reach_the_background_alone_at_its_edge():
    splats = Splats.of_ellipses(*one_splat())
    inside, outside = 0.1 * (REACH - 1e-3), 0.1 * (REACH + 1e-3)
    colours = SplatField(splats)(torch.tensor([[0.0, inside], [0.0, outside], [inside, 0.0], [0.0, 0.0]]))
    assert colours[0, 0, 0] > -1 and colours[0, 0, 1] == -1 and colours[0, 0, 2] > -1
    torch.testing.assert_close(colours[0, 0, 3], torch.tensor(1.0), rtol=0, atol=1e-3)


def test_scales_and_rotations_come_back():
    scales, rotation = torch.tensor([[[0.3, 0.1], [0.05, 0.2]]]), torch.tensor([[0.7, 0.2]])
    splats = Splats.of_ellipses(torch.zeros(1, 2, 2), scales, rotation, torch.zeros(1, 2, 1), torch.ones(1, 2))
    torch.testing.assert_close(splats.scales, torch.tensor([[[0.3, 0.1], [0.2, 0.05]]]))
    torch.testing.assert_close(splats.rotations, torch.tensor([[0.7, 0.2 - math.pi / 2]]))


def one_splat(**changes):
    values = {
        "centres": torch.zeros(1, 1, 2),
        "scales": torch.full((1, 1, 2), 0.1),
        "rotations": torch.zeros(1, 1),
        "colours": torch.ones(1, 1, 1),
        "weights": torch.ones(1, 1),
    }
    return (values | changes).values()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scales": torch.tensor([[[0.1, 0.0]]])}, "a splat has the scale 0; it must be from 1e-06 to 1000"),
        ({"scales": torch.tensor([[[0.1, math.inf]]])}, "a splat has the scale inf; it must be from 1e-06 to 1000"),
        ({"scales": torch.tensor([[[0.1, -1.0]]])}, "a splat has the scale -1; it must be"),
        ({"scales": torch.tensor([[[math.nan, 0.1]]])}, "a splat has the scale nan; it must be"),
        ({"weights": torch.zeros(1, 1)}, "a splat has the weight 0; it must be"),
        ({"centres": torch.full((1, 1, 2), math.nan)}, "the centres of splats hold nan; every number must be finite"),
        ({"rotations": torch.full((1, 1), math.inf)}, "the shapes of splats hold nan; every number must be finite"),
        ({"colours": torch.full((1, 1, 1), 1.5)}, "a splat has the colour 1.5; it must be from -1 to 1"),
        ({"colours": torch.zeros(1, 1, 2)}, "splats have 2 channels; give 1 for grey or 3 for RGB"),
        ({"background": 2.0}, "the background of splats is 2.0; it must be from -1 to 1"),
    ],
)
def test_bad_splats_are_refused_with_their_value(changes, sentence):
    canvas = {"canvas": (1, 1)} if "background" in changes else {}
    with pytest.raises(InputError, match=sentence):
        Splats.of_ellipses(*one_splat(**canvas, **changes))


def test_no_splats_at_all_are_refused():
    none = Splats(torch.zeros(1, 0, 2), torch.zeros(1, 0, 3), torch.zeros(1, 0, 1), torch.zeros(1, 0))
    with pytest.raises(InputError, match="there are no splats"):
        SplatField(none)


def test_numbers_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match=r"the colours of splats have shape \(1, 2, 1\); it must be \(1, 1, 1\)"):
        Splats.of_ellipses(*one_splat(colours=torch.zeros(1, 2, 1)))


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (2.5, 8)])
def test_a_size_below_one_or_broken_is_refused(size):
    with pytest.raises(InputError, match="size"):
        SplatField(some_splats()).render(size)


def test_places_off_the_canvas_are_refused_unless_it_is_larger():
    field = SplatField(some_splats())
    with pytest.raises(InputError, match="outside of the canvas"):
        field(torch.tensor([[0.0, 0.7]]))
    assert field(torch.tensor([[0.0, 0.7]]), canvas=(1, 2)).shape == (2, 3, 1)
