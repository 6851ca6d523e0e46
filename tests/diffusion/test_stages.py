"""Grids beyond those that were learnt are sampled from coarse to fine."""

import math
from dataclasses import asdict

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from seeds import seeded

from r2id import R2Pipeline
from r2id.diffusion.sampling import Trajectory
from r2id.diffusion.schedule import alpha_bar_of_step
from r2id.diffusion.stages import LEAST_SIGNAL, refined, stages_of, windows_of
from r2id.errors import InputError

FEW = {"num_inference_steps": 5, "output_type": "pt"}
SCHEDULERS = (
    UniPCMultistepScheduler, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)  # fmt: skip


@pytest.fixture
def pipeline(make_pipeline):
    return with_most_latents(make_pipeline(), 4)


def with_most_latents(pipeline: R2Pipeline, most: int) -> R2Pipeline:
    defaults = asdict(pipeline.generation_defaults) | {"most_latents": most}
    pipeline.register_to_config(generation_defaults=defaults)
    return pipeline


class TestGrids:
    @pytest.mark.parametrize(
        ("size", "most", "stages"),
        [
            ((16, 16), 16, [(16, 16)]),
            ((8, 17), 16, [(8, 17)]),
            ((7, 21), 16, [(5, 16), (7, 21)]),
            ((99, 99), None, [(99, 99)]),
            ((32, 32), 16, [(16, 16), (32, 32)]),
            ((24, 24), 16, [(16, 16), (24, 24)]),
            ((64, 64), 16, [(16, 16), (32, 32), (64, 64)]),
            ((36, 64), 16, [(9, 16), (18, 32), (36, 64)]),
            ((1, 16), 4, [(1, 4), (1, 8), (1, 16)]),
        ],
    )
    def test_each_has_at_most_twice_the_latents_along_a_side(self, size, most, stages):
        assert stages_of([size], most) == [[one] for one in stages]

    def test_canvases_of_one_picture_have_as_many_stages(self):
        stages = stages_of([(24, 24), (18, 32)], 16)
        assert stages == [[(12, 12), (9, 16)], [(24, 24), (18, 32)]]

    def test_windows_are_square_and_no_larger_than_what_was_learnt(self):
        assert windows_of([(16, 16)], 16) is None and windows_of([(99, 99)], None) is None
        (square, wide) = windows_of([(32, 32), (12, 90)], 16)
        assert square.size == (16, 16) and square.canvas == (16, 16) and square.grid == (32, 32)
        assert wide.size == (12, 16) and wide.grid == (12, 90)


class TestStart:
    @pytest.mark.parametrize("kind", SCHEDULERS)
    def test_every_scheduler_goes_on_from_a_picture_with_the_noise_of_its_step(self, make_pipeline, kind):
        """A denoiser that knows the picture leads to it, from noise that is as strong as the step says."""
        scheduler = kind.from_config(make_pipeline().scheduler.config)
        picture, noise = torch.full((2, 3, 32, 32), 2.0), torch.randn(2, 3, 32, 32, generator=seeded())
        path = Trajectory(noise, scheduler, 1.0, 20, seeded(), "cpu", picture)
        first, alpha_bar = path.noisy(path.steps.start)
        assert LEAST_SIGNAL <= alpha_bar.item() < LEAST_SIGNAL + 0.15
        assert first.mean().item() == pytest.approx(2 * alpha_bar.sqrt().item(), abs=0.05)
        assert first.std().item() == pytest.approx((1 - alpha_bar).sqrt().item(), abs=0.05)
        for step in path.steps:
            path.advance(step, picture, "sample")
        torch.testing.assert_close(path.sample, picture, rtol=0, atol=0.1)

    def test_few_steps_leave_the_last_one(self, make_pipeline):
        noise, start = torch.randn(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
        path = Trajectory(noise, make_pipeline().scheduler, 1.0, 1, None, "cpu", start)
        assert list(path.steps) == [0]

    def test_without_a_picture_all_steps_are_taken_from_noise(self, make_pipeline):
        noise = torch.randn(1, 3, 4, 4)
        path = Trajectory(noise, make_pipeline().scheduler, 1.0, 7, None, "cpu")
        assert list(path.steps) == list(range(7)) and torch.equal(path.sample, noise)
        assert alpha_bar_of_step(path.scheduler, 0) < 0.1


class TestRefined:
    def test_samples_of_a_finer_grid_show_the_picture(self):
        pipeline = R2Pipeline.from_pretrained("mnist")
        pipeline.set_progress_bar_config(disable=True)
        coarse = pipeline(["3"], (4, 4), (32, 32), generator=seeded(), num_inference_steps=5, output_type="pt")
        samples = pipeline.resampler.standardise(coarse.latents.as_subclass(torch.Tensor))
        finer = refined(pipeline.resampler, samples, (8, 8), (32, 32))
        assert finer.shape == (1, samples.shape[1], 8, 8)
        shown = pipeline.decode(pipeline.resampler.destandardise(finer), (32, 32), output_type="pt")
        assert (shown - coarse.images).square().mean() < 0.02

    def test_pixels_are_resized(self):
        pixels = torch.rand(1, 1, 4, 6, generator=seeded())
        assert refined(None, pixels, (8, 12), (8, 12)).shape == (1, 1, 8, 12)


class TestSampling:
    def test_a_larger_grid_shows_the_picture_of_the_grid_that_was_learnt(self, make_pipeline):
        """The network is a perfect denoiser of one picture at every size, but of none on grids that it has not
        learnt."""
        pipeline = with_most_latents(make_pipeline(resampler=None, channels=1), 4)
        seen = []

        def perfect(sample, alpha_bar, branches, canvas=None):
            assert math.prod(sample.shape[-2:]) <= 16
            seen.append(tuple(sample.shape))
            return [torch.full_like(sample, 0.5) for _ in branches]

        pipeline.diffuser.guidance_branches = perfect
        pipeline.diffuser.register_to_config(prediction_type="sample")
        made = pipeline([3], (8, 8), (8, 8), generator=seeded(), guidance_scale=1.0, **FEW)
        assert made.latents.shape == (1, 1, 8, 8)
        torch.testing.assert_close(made.images, torch.full((1, 1, 8, 8), 0.5), rtol=0, atol=0.05)
        assert seen[0] == (1, 1, 4, 4) and seen[-1] == (9, 1, 4, 4)

    def test_grids_that_were_learnt_are_sampled_as_without(self, make_pipeline, pipeline):
        how = {"latent_size": (4, 4), "size": (8, 8), **FEW}
        torch.manual_seed(0)
        plain, with_most = (one([3], generator=seeded(), **how).latents for one in (make_pipeline(), pipeline))
        assert torch.equal(plain, with_most)

    def test_canvases_of_one_picture_are_refined_one_by_one(self, pipeline):
        made = pipeline([3], (8, 8), [(8, 8), (6, 11)], joint=True, generator=seeded(), **FEW)
        assert [tuple(one.shape[-2:]) for one in made.latents] == [(8, 8), (6, 11)]
        assert [tuple(one.shape[-2:]) for one in made.images] == [(8, 8), (6, 11)]

    def test_callbacks_see_every_step_once_and_may_stop_at_any(self, pipeline):
        seen = []

        def callback(caller, step, timestep, tensors):
            seen.append((step, tuple(tensors["latents"].shape[-2:])))
            caller._interrupt = len(seen) == stop
            return {}

        stop = 0
        pipeline([3], (8, 8), [], generator=seeded(), callback_on_step_end=callback, **FEW)
        assert [step for step, _ in seen] == list(range(len(seen))) and len(seen) == pipeline.num_timesteps > 5
        assert [size for _, size in seen] == [(4, 4)] * 5 + [(8, 8)] * (len(seen) - 5)
        seen, stop = [], 2
        stopped = pipeline([3], (8, 8), (8, 8), generator=seeded(), callback_on_step_end=callback, **FEW)
        assert len(seen) == 2 and stopped.images.shape[-2:] == (8, 8)

    def test_known_pixels_stay_on_a_larger_grid(self, pipeline):
        picture = torch.rand(1, 1, 16, 16, generator=seeded()) * 2 - 1
        mask = torch.zeros(16, 16)
        mask[:, 8:] = 1
        made = pipeline.inpaint(picture, mask, [3], latent_size=(8, 8), generator=seeded(), **FEW)
        assert made.latents.shape[-2:] == (8, 8)
        assert torch.equal(made.images[..., :8], picture[..., :8])

    def test_given_noise_is_sampled_at_once(self, pipeline):
        noise = torch.randn(1, 3, 8, 8, generator=seeded())
        seen = []

        def callback(caller, step, timestep, tensors):
            seen.append(tensors["latents"].shape[-2:])
            return {}

        pipeline([3], latents=noise, callback_on_step_end=callback, **FEW)
        assert seen == [(8, 8)] * 5


@pytest.mark.parametrize("most", [0, -1, 2.5, "16"])
def test_a_wrong_default_is_said_in_one_sentence(make_pipeline, most):
    with pytest.raises(InputError, match="most_latents is .*; it must be a whole number of at least 1"):
        with_most_latents(make_pipeline(), most).generation_defaults  # noqa: B018
