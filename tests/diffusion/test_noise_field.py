"""Noise belongs to the picture: every grid samples one white field, and no grid averages it away."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from seeds import seeded

from r2id.diffusion.noise_field import _cell_averages, field_noise, finest_grid
from r2id.diffusion.schedule import alpha_bar_at, shift_scheduler
from r2id.geometry.density import density, shift_noise

SIZES = [(1, 1), (1, 7), (4, 4), (5, 5), (4, 10), (10, 6), (8, 8), (13, 3), (2, 21)]


class TestField:
    @pytest.mark.parametrize("size", SIZES)
    def test_its_samples_are_independent_and_standard_normal(self, size):
        samples = field_noise(400, 50, size, seeded()).flatten(2).flatten(0, 1).double()
        assert samples.shape == (20_000, size[0] * size[1])
        covariance = samples.mT @ samples / len(samples)
        assert (covariance - torch.eye(len(covariance))).abs().max() < 0.05
        assert samples.mean().abs() < 0.02
        assert ((samples**4).mean() - 3).abs() < 0.2

    @pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (16, 16)])
    def test_a_sample_is_half_the_sum_of_the_four_that_share_its_area(self, size):
        coarse = field_noise(2, 3, size, seeded())
        fine = field_noise(2, 3, (2 * size[0], 2 * size[1]), seeded())
        children = fine.unflatten(-1, (size[1], 2)).unflatten(-3, (size[0], 2))
        torch.testing.assert_close(children.sum(dim=(-1, -3)) / 2, coarse)

    @pytest.mark.parametrize("size", [(5, 5), (4, 10), (9, 7), (12, 12)])
    def test_the_mean_of_the_picture_hardly_depends_on_the_grid(self, size):
        # The mean of n samples of variance 1/n stands for the whole canvas.
        whole = field_noise(200, 4, (1, 1), seeded()).flatten()
        means = field_noise(200, 4, size, seeded()).mean(dim=(-1, -2)).flatten() * (size[0] * size[1]) ** 0.5
        assert torch.corrcoef(torch.stack([whole, means]))[0, 1] > 0.9

    def test_neighbouring_grids_resemble_each_other(self):
        four, five = (field_noise(200, 4, (side, side), seeded()) for side in (4, 5))
        corners = torch.stack([four[..., 0, 0].flatten(), five[..., 0, 0].flatten()])
        opposite = torch.stack([four[..., 0, 0].flatten(), five[..., 4, 4].flatten()])
        assert torch.corrcoef(corners)[0, 1] > 0.6
        assert torch.corrcoef(opposite)[0, 1].abs() < 0.1

    def test_a_generator_each_makes_samples_independent_of_their_batch(self):
        together = field_noise(2, 3, (5, 4), [seeded(1), seeded(2)])
        assert torch.equal(together[1:], field_noise(1, 3, (5, 4), [seeded(2)]))
        assert torch.equal(together, field_noise(2, 3, (5, 4), (seeded(1), seeded(2))))

    @pytest.mark.parametrize("size", [(3, 4000), (4000, 3), (1, 4000), (700, 700), (1000, 250)])
    def test_memory_is_linear_in_the_samples(self, size):
        finest = finest_grid(size)
        assert all(side >= wanted for side, wanted in zip(finest, size, strict=True))
        assert finest[0] * finest[1] < 16 * size[0] * size[1]

    @pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (700, 500)])
    def test_long_rows_are_standard_normal_and_independent_of_their_neighbours(self, size):
        samples = field_noise(2, 20, size, seeded())
        assert samples.mean().abs() < 0.02 and abs(samples.std() - 1) < 0.02
        for axis in (axis for axis in (-2, -1) if samples.shape[axis] > 1):
            beside = samples.narrow(axis, 1, size[axis] - 1) * samples.narrow(axis, 0, size[axis] - 1)
            assert beside.mean().abs() < 0.02

    def test_no_weights_grow_with_the_length_of_a_row(self, monkeypatch):
        """Their number is its square, and making them takes its cube: 1500 cells took 20 s."""
        sizes = []
        monkeypatch.setattr(
            "r2id.diffusion.noise_field._cell_averages",
            lambda count, fine: sizes.append((count, fine)) or _cell_averages(count, fine),
        )
        assert field_noise(1, 1, (2, 15_000), seeded()).shape == (1, 1, 2, 15_000)
        assert max(max(size) for size in sizes) <= 256

    @pytest.mark.parametrize(
        ("size", "numbers"),
        [
            ((5, 5), [-1.729808, 0.741367, 1.641175, 1.017438]),
            ((4, 10), [-1.526343, -1.003809, 2.366044, 1.526652]),
        ],
    )
    def test_its_numbers_stay(self, size, numbers):
        """Pictures of a seed, and every figure measured, depend on them."""
        field = field_noise(1, 1, size, seeded())[0, 0]
        torch.testing.assert_close(field.diagonal()[:4], torch.tensor(numbers), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("size", [(1,), (7,), (300,), (3, 4, 5), (2, 9, 1)])
    def test_signals_and_volumes_have_a_field(self, size):
        samples = field_noise(2_000, 10, size, seeded()).flatten(2).flatten(0, 1).double()
        assert samples.shape == (20_000, math.prod(size))
        covariance = samples.mT @ samples / len(samples)
        assert (covariance - torch.eye(len(covariance))).abs().max() < 0.05

    @pytest.mark.parametrize("size", [(1,), (8,), (2, 2, 2), (4, 4, 4)])
    def test_a_sample_is_the_sum_of_those_that_share_its_place_on_any_number_of_axes(self, size):
        coarse = field_noise(2, 3, size, seeded())
        fine = field_noise(2, 3, [2 * side for side in size], seeded())
        for axis in range(-len(size), 0):
            fine = fine.unflatten(axis, (-1, 2)).sum(axis)
        torch.testing.assert_close(fine / 2 ** (len(size) / 2), coarse)


class TestShift:
    def test_a_ratio_and_its_inverse_undo_each_other(self):
        alpha_bar = torch.linspace(0, 1, 11, dtype=torch.float64)
        torch.testing.assert_close(shift_noise(shift_noise(alpha_bar, 6.25), 1 / 6.25), alpha_bar)

    @pytest.mark.parametrize("size", [(4, 4), (8, 8), (4, 10), (3, 3)])
    def test_an_area_is_as_noisy_on_every_grid(self, size):
        alpha_bar = torch.tensor(0.3, dtype=torch.float64)
        shifted = shift_noise(alpha_bar, density(size, 4))
        # Noise-to-signal variance of the mean of a picture's samples, of which all have the same signal.
        samples = size[0] * size[1]
        torch.testing.assert_close((1 - shifted) / shifted / samples, (1 - alpha_bar) / alpha_bar / 16)

    def test_the_density_of_a_signal_or_a_volume_is_to_as_long_a_reference(self):
        assert density((12,), 4) == 3
        assert density((4, 8, 2), 4) == 1

    def test_without_a_reference_there_is_no_shift(self):
        assert density((9, 3), None) == 1

    @pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
    @pytest.mark.parametrize("ratio", [0.25, 4.0, 625.0])
    def test_a_shifted_scheduler_keeps_its_settings(self, kind, ratio):
        plain = kind(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing")
        shifted = shift_scheduler(plain, ratio)
        expected = shift_noise(plain.alphas_cumprod.double(), ratio)
        torch.testing.assert_close(shifted.alphas_cumprod.double(), expected, rtol=1e-3, atol=0)
        assert type(shifted) is kind and shifted.config.prediction_type == "v_prediction"
        shifted.set_timesteps(7)
        plain.set_timesteps(7)
        assert torch.equal(shifted.timesteps, plain.timesteps)

    def test_between_timesteps_the_signal_is_interpolated(self):
        scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
        table = scheduler.alphas_cumprod
        between = alpha_bar_at(scheduler, torch.tensor(499.25))
        torch.testing.assert_close(between, 0.75 * table[499] + 0.25 * table[500])
