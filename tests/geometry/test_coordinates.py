"""Where samples lie, and that positions mean the same at every resolution."""

import math

import pytest
import torch

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid, Points, canvas_extent, pixel_centres
from r2id.geometry.fourier import FourierPositionEmbedding, fourier_features, frequencies
from r2id.geometry.sizes import check_size, resolution_limit


def close(actual, expected, **tolerance):
    torch.testing.assert_close(actual, torch.as_tensor(expected), **tolerance)


class TestPlaces:
    @pytest.mark.parametrize(
        ("count", "centres"),
        [(1, [0.0]), (2, [-0.25, 0.25]), (4, [-0.375, -0.125, 0.125, 0.375]), (5, [-0.4, -0.2, 0.0, 0.2, 0.4])],
    )
    def test_pixels_sit_at_their_centres_within_half_of_the_canvas(self, count, centres):
        close(pixel_centres(count), centres)

    def test_pixel_centres_stay_exact_on_very_large_images(self):
        last = pixel_centres(10_000_000)[-1]
        assert last.item() == pytest.approx(0.5 - 0.5e-7, abs=3e-8)

    @pytest.mark.parametrize(
        ("size", "canvas", "rows", "columns", "extent"),
        [
            ((2, 2), None, [-0.25, 0.25], [-0.25, 0.25], (1, 1)),
            ((2, 4), None, [-0.25, 0.25], [-0.375, -0.125, 0.125, 0.375], (0.5, 1)),
            ((4, 2), None, [-0.375, -0.125, 0.125, 0.375], [-0.25, 0.25], (1, 0.5)),
            ((2, 4), (2, 4), [-0.25, 0.25], [-0.375, -0.125, 0.125, 0.375], (0.5, 1)),
            ((2, 4), (1, 1), [-0.25, 0.25], [-0.375, -0.125, 0.125, 0.375], (1, 1)),
            ((1, 2), (4, 1), [0.0], [-0.25, 0.25], (1, 0.25)),
        ],
    )
    def test_dual_coordinates_of_grids(self, size, canvas, rows, columns, extent):
        grid = Grid.of_size(size, canvas)
        assert grid.size == size and grid.cell == (1 / size[0], 1 / size[1]) and grid.extent == extent
        close(grid.axes[0], rows)
        close(grid.axes[1], columns)
        points = grid.points()
        close(points.relative, [[y, x] for y in rows for x in columns])
        close(points.absolute(), [[y * extent[0], x * extent[1]] for y in rows for x in columns])

    def test_the_absolute_edges_of_a_wide_picture_are_those_of_the_square_around_it(self):
        absolute = Grid.of_size((2, 4)).points().absolute()
        close(absolute, [[y, x] for y in (-0.125, 0.125) for x in (-0.375, -0.125, 0.125, 0.375)])

    def test_only_the_proportions_of_a_canvas_matter(self):
        assert canvas_extent((20, 40)) == canvas_extent((0.5, 1.0)) == (0.5, 1.0)

    def test_a_crop_keeps_places_cells_and_canvas(self):
        grid = Grid.of_size((6, 10))
        crop = grid.crop(slice(1, 4), slice(7, 9))
        assert crop.size == (3, 2) and crop.cell == grid.cell and crop.extent == grid.extent
        close(crop.points().relative, grid.points().relative.view(6, 10, 2)[1:4, 7:9].reshape(-1, 2))

    def test_a_crop_by_indices_keeps_the_chosen_rows_and_columns(self):
        crop = Grid.of_size((4, 4)).crop(torch.tensor([0, 3]), torch.tensor([2]))
        close(crop.points().relative, [[-0.375, 0.125], [0.375, 0.125]])

    @pytest.mark.parametrize("size", [(0, 4), (4, -1), (2.5, 4), (4, 0.5), (4,), (1, 2, 3)])
    def test_sizes_that_are_not_two_whole_numbers_are_refused_by_name(self, size):
        with pytest.raises(InputError, match="latent size is .*at least 1"):
            check_size(size, "latent size")

    @pytest.mark.parametrize("size", [(0, 4), (4, -1), (2.5, 4), (4, 0.5), (), (0,), (2, 3, 0.5), "4", ("a",), 4])
    def test_grids_of_anything_but_whole_numbers_are_refused(self, size):
        with pytest.raises(InputError, match="size is .*at least 1"):
            Grid.of_size(size)

    def test_a_canvas_of_other_axes_than_the_grid_is_refused(self):
        with pytest.raises(InputError, match=r"canvas is \(1, 2\).*1 sides"):
            Grid.of_size((5,), (1, 2))

    def test_a_signal_of_one_axis_has_a_grid(self):
        grid = Grid.of_size((4,))
        assert grid.size == (4,) and grid.cell == (1 / 4,) and grid.extent == (1,)
        close(grid.axes[0], [-0.375, -0.125, 0.125, 0.375])
        close(grid.points().relative, [[-0.375], [-0.125], [0.125], [0.375]])
        close(grid.points().absolute(), grid.points().relative)
        close(grid.crop(slice(1, 3)).points().relative, [[-0.125], [0.125]])

    def test_a_volume_of_three_axes_has_a_grid(self):
        grid = Grid.of_size((1, 2, 4))
        assert grid.extent == (0.25, 0.5, 1)
        close(grid.points().relative.view(1, 2, 4, 3)[0, 1, 0], [0.0, 0.25, -0.375])

    def test_sizes_come_back_as_whole_numbers(self):
        assert check_size((3.0, 5)) == (3, 5) and all(isinstance(side, int) for side in check_size((3.0, 5)))


class TestJitter:
    def test_grid_jitter_is_gaussian_in_cells_of_each_axis_and_keeps_the_grid(self):
        grid = Grid.of_size((3000, 4000))
        moved = grid.jittered(0.5)
        assert moved.size == grid.size and moved.cell == grid.cell
        for before, after, cell in ((grid.axes[0], moved.axes[0], 1 / 3000), (grid.axes[1], moved.axes[1], 1 / 4000)):
            noise = (after - before) / cell
            assert noise.mean().abs() < 0.05
            assert noise.std().item() == pytest.approx(0.5, rel=0.05)

    def test_jitter_moves_the_samples_of_a_signal(self):
        grid = Grid.of_size((3000,))
        noise = (grid.jittered(0.5).axes[0] - grid.axes[0]) * 3000
        assert noise.std().item() == pytest.approx(0.5, rel=0.05)

    def test_point_jitter_moves_every_point_on_its_own(self):
        points = Points(torch.zeros(5000, 2), (0.1, 0.4), (1.0, 1.0))
        noise = points.jittered(0.25).relative
        close(noise.std(dim=0), [0.025, 0.1], rtol=0.05, atol=0)
        assert torch.corrcoef(noise.T)[0, 1].abs() < 0.05


class TestFourierFeatures:
    def test_frequencies_are_octaves_around_pi(self):
        close(frequencies(2, 1), [math.pi / 2, math.pi, 2 * math.pi])

    def test_features_are_sine_and_cosine_of_every_coordinate(self):
        features = fourier_features(torch.tensor([[0.25, -0.5]]), torch.tensor([math.pi, 2 * math.pi]))
        half = math.sqrt(0.5)
        close(features, [[half, 1, half, 0, -1, 0, 0, -1]], atol=1e-6, rtol=0)

    @pytest.mark.parametrize("jitter", [0.05, [0.02, 0.2]])
    def test_expected_jitter_is_the_average_over_sampled_jitter(self, jitter):
        coordinates = torch.tensor([[0.13, -0.41], [0.4, 0.02]])
        angular = frequencies(4, 2)
        noise = torch.randn(100_000, 2, 2) * torch.as_tensor(jitter)
        averaged = fourier_features(coordinates + noise, angular).mean(dim=0)
        close(fourier_features(coordinates, angular, torch.as_tensor(jitter)), averaged, atol=0.012, rtol=0)

    def test_neighbours_differ_by_half_a_wave_of_the_highest_frequency_at_the_resolution_limit(self):
        for num_high in (1, 4, 10):
            spacing = 1 / resolution_limit(num_high)
            assert frequencies(num_high, 2).max().item() * spacing == pytest.approx(math.pi)
        assert resolution_limit(10) == 512


class TestPositionProjection:
    @pytest.mark.parametrize("expected", [False, True])
    @pytest.mark.parametrize(("size", "canvas"), [((3, 5), None), ((4, 4), (2, 1)), ((1, 1), None)])
    def test_a_grid_has_the_positions_of_its_points(self, expected, size, canvas):
        position = FourierPositionEmbedding(12, 5, 3, reference=8, expected=expected)
        grid = Grid.of_size(size, canvas)
        close(position(grid).flatten(0, 1), position(grid.points()), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("expected", [False, True])
    @pytest.mark.parametrize("size", [(6,), (2, 3, 4)])
    def test_grids_of_other_ranks_have_the_positions_of_their_points(self, expected, size):
        position = FourierPositionEmbedding(12, 5, 3, reference=8, expected=expected, num_axes=len(size))
        grid = Grid.of_size(size)
        assert position(grid).shape == (*size, 12)
        close(position(grid).flatten(0, -2), position(grid.points()), atol=1e-5, rtol=1e-5)

    def test_positions_on_one_axis_are_its_features(self):
        position = FourierPositionEmbedding(12, 5, 3, reference=8, expected=False, num_axes=1)
        grid = Grid.of_size((6,))
        features = fourier_features(grid.axes[0][:, None].repeat(1, 2), frequencies(5, 3))
        close(position(grid), position.linear(features), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("size", [(6,), (2, 3, 4)])
    def test_samples_of_another_rank_than_the_embedding_are_no_positions(self, size):
        position = FourierPositionEmbedding(12, 5, 3, reference=8, expected=False)
        with pytest.raises((ValueError, RuntimeError)):
            position(Grid.of_size(size))

    def test_proportions_show_in_the_positions(self):
        position = FourierPositionEmbedding(12, 5, 3, reference=8, expected=False)
        assert not torch.allclose(
            position(Grid.of_size((4, 4), (1, 2))), position(Grid.of_size((4, 4), (1, 1))), atol=1e-2
        )

    @pytest.mark.parametrize("size", [(4, 4), (2, 4), (3, 2)])
    def test_expected_positions_are_the_average_over_jittered_samples(self, size):
        plain = FourierPositionEmbedding(6, 4, 2, reference=4, expected=False)
        averaged = FourierPositionEmbedding(6, 4, 2, reference=4, expected=True)
        averaged.load_state_dict(plain.state_dict())
        points = Grid.of_size(size).points()
        count = len(points.relative)
        many = Points(points.relative.repeat(20_000, 1), points.cell, points.extent).jittered()
        monte_carlo = plain(many).unflatten(0, (20_000, count)).mean(dim=0)
        close(averaged(points), monte_carlo, atol=0.02, rtol=0)

    def test_a_grid_finer_than_the_reference_has_the_reference_positions_on_either_axis(self):
        position = FourierPositionEmbedding(12, 6, 3, reference=8, expected=True)
        reference = position(Grid.of_size((8, 8)))
        # Every third pixel of 24, from the second, is a pixel of 8.
        for size, kept in (((24, 24), (3, 3)), ((24, 8), (3, 1)), ((8, 24), (1, 3))):
            fine = position(Grid.of_size(size, (1, 1)))
            close(fine[kept[0] // 2 :: kept[0], kept[1] // 2 :: kept[1]], reference, atol=1e-5, rtol=1e-5)

    def test_a_grid_coarser_than_the_reference_is_told_apart_less_on_that_axis_only(self):
        position = FourierPositionEmbedding(12, 6, 3, reference=12, expected=True)
        reference = position(Grid.of_size((12, 12)))
        coarse_rows = position(Grid.of_size((4, 12), (1, 1)))
        assert not torch.allclose(coarse_rows, reference[1::3], atol=1e-2)
        close(coarse_rows.diff(dim=1), reference[1::3].diff(dim=1), atol=1e-5, rtol=1e-5)

    def test_without_expected_jitter_every_resolution_has_the_plain_features(self):
        position = FourierPositionEmbedding(12, 6, 3, reference=12, expected=False)
        close(position(Grid.of_size((4, 4))), position(Grid.of_size((12, 12)))[1::3, 1::3], atol=1e-5, rtol=1e-5)
