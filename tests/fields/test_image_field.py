"""ImageField: one function of coordinates behind every size, region and tile."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid


@pytest.fixture(params=["local", "global"])
def resampler(request, make_resampler):
    return make_resampler(attention=request.param)


@pytest.fixture
def field(resampler):
    return resampler.field(torch.rand(2, 3, 5, 4) * 2 - 1, canvas=(1, 1))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def centres(size):
    return Grid.of_size(size).points().relative.view(*size, 2)


@pytest.mark.parametrize("size", [(16, 16), (33, 20), (5, 7), (1, 1), (3, 40)])
@pytest.mark.parametrize("pixels_at_once", [1, 50, 333])
def test_rendering_in_pieces_gives_the_whole(field, size, pixels_at_once):
    whole = field.render(size)
    assert whole.shape == (2, 1, *size) and whole.std() > 1e-3
    close(field.render(size, pixels_at_once=pixels_at_once), whole)


@pytest.mark.parametrize("size", [(32, 24), (6, 9)])
@pytest.mark.parametrize("region", [(0, 0, 6, 9), (2, 3, 5, 7), (5, 8, 6, 9)])
def test_a_region_is_the_crop_of_the_whole(field, size, region):
    top, left, bottom, right = region
    expected = field.render(size)[:, :, top:bottom, left:right]
    close(field.render(size, region), expected)
    close(field.render(size, region, pixels_at_once=5), expected)


def test_a_region_of_a_picture_far_too_large_to_hold_is_the_field_there(field):
    rows, columns = (torch.tensor([700_000, 700_001]), torch.tensor([123_456, 123_457, 123_458]))
    places = torch.cartesian_prod((rows + 0.5) / 1e6 - 0.5, (columns + 0.5) / 1e6 - 0.5)
    picture = field.render((1_000_000, 1_000_000), (700_000, 123_456, 700_002, 123_459))
    close(picture, field(places).unflatten(-1, (2, 3)))


@pytest.mark.parametrize("region", [(0, 0, 9, 8), (0, 0, 8, 9), (-1, 0, 4, 4), (4, 0, 4, 4), (0, 5, 4, 3)])
def test_a_region_outside_the_picture_is_refused_with_its_values(field, region):
    with pytest.raises(InputError, match=",".join(map(str, region)) + r".*<= 8"):
        field.render((8, 8), region)


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (2.5, 8)])
def test_a_size_below_one_or_broken_is_refused(field, size):
    with pytest.raises(InputError, match="size"):
        field.render(size)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (48, 16)])
def test_pixels_as_fine_as_training_are_the_field_at_their_centres(field, size):
    close(field(centres(size)), field.render(size))


def test_every_point_is_answered_in_the_shape_it_was_asked(field):
    places = torch.rand(3, 2, 5, 2) - 0.5
    colours = field(places)
    assert colours.shape == (2, 1, 3, 2, 5)
    close(colours[:, :, 2, 1, 4], field(places[2, 1, 4][None])[..., 0])


@pytest.mark.parametrize(
    ("size", "factors"), [((8, 8), (2, 2)), ((10, 16), (2, 1)), ((20, 3), (1, 6)), ((1, 1), (16, 16))]
)
def test_a_pixel_coarser_than_training_is_the_mean_over_its_area(field, size, factors):
    fine = field.render((size[0] * factors[0], size[1] * factors[1]))
    close(field.render(size), avg_pool2d(fine, factors))


def test_other_proportions_than_the_canvas_stretch_the_picture(resampler):
    latent = torch.rand(1, 3, 8, 8) * 2 - 1
    square = resampler.field(latent, canvas=(1, 1))
    stretched = square.render((64, 32))
    close(stretched, square(centres((64, 32))))
    close(stretched, resampler.decode(latent, (64, 32), canvas=(1, 1)))
    # Rows 0, 2, 4 … of 96 and columns of 96 lie on those of 32: the middle one of every three.
    close(square.render((32, 96))[..., 1::3], square.render((96, 32))[..., 1::3, :])
    own = resampler.decode(latent, (64, 32))
    assert (own - stretched).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("canvas", "size"), [((1, 2), (16, 32)), ((2, 1), (33, 17)), ((1, 2), (8, 16)), ((2, 1), (20, 10))]
)
def test_on_a_wide_or_tall_canvas_too_pixels_are_the_field_at_their_centres(resampler, canvas, size):
    field = resampler.field(torch.rand(1, 3, 4, 4) * 2 - 1, canvas=canvas)
    close(field(centres(size)), field.render(size))


def test_the_canvas_is_that_of_the_latents_by_default(resampler):
    latent = torch.rand(1, 3, 4, 8) * 2 - 1
    close(resampler.field(latent).render((16, 32)), resampler.decode(latent, (16, 32), canvas=(4, 8)))


def test_coordinates_may_be_float64(field):
    places = torch.rand(4, 2, dtype=torch.float64) - 0.5
    close(field(places), field(places.float()))


def test_no_coordinates_give_no_colours(field):
    assert field(torch.empty(0, 2)).shape == (2, 1, 0)


def test_rendering_passes_gradients_to_the_latent(resampler):
    latent = torch.zeros(1, 3, 4, 4, requires_grad=True)
    resampler.field(latent).render((8, 8), pixels_at_once=20).sum().backward()
    assert latent.grad.isfinite().all() and latent.grad.abs().max() > 0


@pytest.mark.parametrize("place", [(0.6, 0.0), (0.0, -0.51), (float("nan"), 0.0)])
def test_coordinates_outside_the_picture_are_named(make_resampler, place):
    field = make_resampler().field(torch.rand(1, 3, 2, 2))
    with pytest.raises(InputError, match="outside of the canvas; y must be within ±0.5"):
        field(torch.tensor([[0.0, 0.0], place]))


def test_a_canvas_that_holds_them_takes_coordinates_outside_the_picture(make_resampler):
    field = make_resampler().field(torch.rand(1, 3, 2, 2))
    edges = torch.tensor([[0.5, -0.5], [0.5, 1.0]])
    colours = field(edges, canvas=(1, 2))
    assert colours.isfinite().all() and torch.equal(colours[..., :1], field(edges[:1]))
    with pytest.raises(InputError, match="x within ±1"):
        field(torch.tensor([0.0, 1.1]), canvas=(1, 2))


@pytest.mark.parametrize("size", [(5, 7), (40, 33)])
def test_means_over_the_cells_of_a_grid_are_the_pixels_there(make_resampler, size):
    field = make_resampler().field(torch.randn(2, 3, 2, 3), (2, 3))
    torch.testing.assert_close(field.means(Grid.of_size(size, (2, 3))), field.render(size), rtol=1e-4, atol=1e-5)
