"""R2Pipeline: what a user asks for is what comes out, and what cannot be is said in one sentence."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image
from seeds import seeded
from torch.nn import functional

from r2id.diffusion.noise_field import field_noise
from r2id.diffusion.pipeline import R2Pipeline
from r2id.diffusion.schedule import alpha_bar_at, shift_scheduler
from r2id.errors import InputError
from r2id.geometry.density import density
from r2id.networks.batches import decode_some_at_once
from r2id.networks.resampler import R2IR

SCHEDULERS = (UniPCMultistepScheduler, DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler)
FEW = {"latent_size": (3, 2), "size": (8, 6), "num_inference_steps": 3, "output_type": "pt"}


class TestRandomness:
    def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(self, pipeline):
        first, again, other = (pipeline(["3", 7], generator=seeded(seed), **FEW).images for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert (first - other).abs().max() > 1e-3

    def test_with_a_generator_each_pictures_do_not_depend_on_their_batch(self, pipeline):
        together = pipeline([3, 7, 1], generator=[seeded(1), seeded(2), seeded(3)], **FEW)
        alone = pipeline([7], generator=[seeded(2)], **FEW)
        torch.testing.assert_close(together.latents[1:2], alone.latents, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together.images[1:2], alone.images, rtol=1e-3, atol=1e-4)

    def test_labels_change_the_pictures(self, pipeline):
        three, seven = (pipeline([label], generator=seeded(), **FEW).images for label in (3, 7))
        assert (three - seven).abs().max() > 1e-3

    def test_given_noise_takes_the_place_of_the_generator(self, pipeline):
        noise = field_noise(1, 3, (3, 2), seeded(5))
        given = pipeline([4], latents=noise, **FEW | {"latent_size": (9, 9)})
        assert given.latents.shape == (1, 3, 3, 2)
        assert torch.equal(given.images, pipeline([4], generator=seeded(5), **FEW).images)

    def test_a_sampler_that_adds_noise_obeys_the_generator_too(self, make_pipeline):
        config = make_pipeline().scheduler.config
        pipeline = make_pipeline(scheduler=DDPMScheduler.from_config(config))
        first, again = (pipeline([3], generator=seeded(1), **FEW).images for _ in range(2))
        assert torch.equal(first, again)


class TestSizes:
    def test_several_sizes_show_the_same_latents(self, pipeline):
        sizes = [(8, 6), (1, 1), (16, 16), (7, 20)]
        result = pipeline([2, 5], generator=seeded(), **FEW | {"size": sizes})
        assert result.latents.shape == (2, 3, 3, 2)
        for size, pictures in zip(sizes, result.images, strict=True):
            expected = pipeline.resampler.decode(result.latents, size, canvas=(8, 6))
            torch.testing.assert_close(pictures, expected, rtol=1e-4, atol=1e-5)

    def test_no_sizes_give_the_latents_alone(self, pipeline):
        result = pipeline([2], generator=seeded(), **FEW | {"size": []})
        assert result.images == [] and result.latents.shape == (1, 3, 3, 2)

    @pytest.mark.parametrize("latent_size", [(1, 1), (1, 5), (6, 4)])
    def test_latents_may_have_any_size(self, pipeline, latent_size):
        result = pipeline([2], generator=seeded(), **FEW | {"latent_size": latent_size})
        assert result.latents.shape == (1, 3, *latent_size) and result.images.shape == (1, 1, 8, 6)

    def test_a_canvas_decides_the_proportions(self, make_pipeline):
        pipeline = make_pipeline(canvas=(8, 8))
        default, same, other = (
            pipeline([2], generator=seeded(), canvas=canvas, **FEW).images for canvas in (None, (1, 1), (1, 2))
        )
        assert torch.equal(default, same) and (default - other).abs().max() > 1e-3

    def test_output_types_hold_the_same_pictures(self, pipeline):
        pictures = pipeline([2, 5], generator=seeded(), **FEW)
        arrays = pipeline([2, 5], generator=seeded(), **FEW | {"output_type": "np"}).images
        images = pipeline([2, 5], generator=seeded(), **FEW | {"output_type": "pil"}).images
        assert isinstance(arrays, np.ndarray) and arrays.shape == (2, 8, 6, 1)
        np.testing.assert_allclose(arrays[..., 0], (pictures.images[:, 0].numpy() + 1) / 2, atol=1e-6)
        assert all(isinstance(image, Image.Image) and image.size == (6, 8) for image in images)
        difference = np.asarray(images[1], dtype=float) - arrays[1, ..., 0] * 255
        assert np.abs(difference).max() <= 0.5 + 1e-3

    def test_colour_comes_out_as_rgb(self, make_pipeline, make_resampler):
        pipeline = make_pipeline(make_resampler(image_channels=3))
        image = pipeline([2], generator=seeded(), **FEW | {"output_type": "pil"}).images[0]
        assert image.mode == "RGB" and image.size == (6, 8)


class TestSamplers:
    @pytest.mark.parametrize("kind", SCHEDULERS)
    @pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
    def test_schedulers_of_a_variance_preserving_process_take_its_config(self, make_pipeline, kind, prediction_type):
        pipeline = make_pipeline(prediction_type=prediction_type)
        config = pipeline.scheduler.config
        assert config.prediction_type == prediction_type and config.beta_schedule == "squaredcos_cap_v2"
        pipeline.scheduler = kind.from_config(config)
        for steps in (1, 2, 9):
            result = pipeline([1, 2], generator=seeded(), **FEW | {"num_inference_steps": steps})
            assert result.images.isfinite().all() and result.images.std() > 1e-3

    @pytest.mark.parametrize(("prediction_type", "least"), [("v_prediction", 0.0), ("sample", 0.0), ("epsilon", 0.001)])
    def test_the_first_step_has_something_to_tell(self, make_pipeline, prediction_type, least):
        # Of the noise in pure noise, a share of the signal of 1e-9 would multiply every error by thousands.
        scheduler = make_pipeline(prediction_type=prediction_type).scheduler
        scheduler.set_timesteps(20)
        assert alpha_bar_at(scheduler, scheduler.timesteps[0]) >= least

    def test_a_flow_matching_scheduler_is_refused_by_name(self, make_pipeline):
        pipeline = make_pipeline(scheduler=FlowMatchEulerDiscreteScheduler())
        with pytest.raises(InputError, match="FlowMatchEulerDiscreteScheduler"):
            pipeline([1], **FEW)

    @pytest.mark.parametrize("scale", [1, 1.0, 3.0, 0.0])
    def test_guidance_pushes_the_conditional_prediction_away_from_the_other(self, make_pipeline, scale):
        pipeline = make_pipeline(noise_reference_size=2)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        noise = torch.randn(2, 3, 3, 2, generator=seeded(3))
        scheduler = shift_scheduler(pipeline.scheduler, density((3, 2), 2))
        scheduler.set_timesteps(4)
        sample = noise
        with torch.no_grad():
            tokens, nothing = (pipeline.conditioner(torch.tensor(indices)) for indices in ([4, 9], [10, 10]))
            for timestep in scheduler.timesteps:
                alpha_bar = scheduler.alphas_cumprod[timestep].repeat(2)
                conditional = pipeline.diffuser(sample, alpha_bar, tokens, (8, 6))
                unconditional = pipeline.diffuser(sample, alpha_bar, nothing, (8, 6))
                guided = unconditional + scale * (conditional - unconditional)
                sample = scheduler.step(conditional if scale == 1 else guided, timestep, sample).prev_sample
        expected = pipeline.resampler.destandardise(sample)
        result = pipeline(
            [4, 9], latents=noise, guidance_scale=scale, guidance_interval=(0, 1), **FEW | {"num_inference_steps": 4}
        )
        torch.testing.assert_close(result.latents, expected, rtol=1e-3, atol=1e-4)

    def test_guidance_outside_its_interval_is_left_out(self, make_pipeline):
        pipeline = make_pipeline()
        branches = []
        answer = pipeline.diffuser.guidance_branches

        def counted(sample, alpha_bar, tokens, canvas=None):
            branches.append(len(tokens))
            return answer(sample, alpha_bar, tokens, canvas)

        pipeline.diffuser.guidance_branches = counted
        few = FEW | {"num_inference_steps": 10}
        middle = pipeline([1], generator=seeded(), guidance_interval=(0.25, 0.75), **few).images
        assert branches == [1, 1, 1, 2, 2, 2, 2, 2, 1, 1]
        never = pipeline([1], generator=seeded(), guidance_interval=(0.01, 0.02), **few).images
        none, always = (
            pipeline([1], generator=seeded(), guidance_scale=scale, guidance_interval=(0, 1), **few).images
            for scale in (1.0, 4.0)
        )
        assert torch.equal(never, none)
        assert not torch.allclose(middle, none) and not torch.allclose(middle, always)

    @pytest.mark.parametrize(
        ("kind", "steps", "tolerance"),
        zip(SCHEDULERS, (10, 5, 10, 10), (1e-3, 1e-3, 0.05, 0.05), strict=True),
    )
    def test_a_perfect_denoiser_of_a_single_picture_lands_on_it(self, make_pipeline, kind, steps, tolerance):
        pipeline = make_pipeline()
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        data = torch.randn(1, 3, 3, 2)

        def perfect(sample, alpha_bar, branches, canvas=None):
            signal, spread = (part.sqrt()[:, None, None, None] for part in (alpha_bar, 1 - alpha_bar))
            noise = (sample - signal * data) / spread
            return tuple(signal * noise - spread * data for _ in branches)

        pipeline.diffuser.guidance_branches = perfect
        result = pipeline([1, 2], generator=seeded(), **FEW | {"num_inference_steps": steps})
        expected = pipeline.resampler.destandardise(data).expand(2, -1, -1, -1)
        torch.testing.assert_close(result.latents, expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("kind", SCHEDULERS)
    @pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
    def test_a_perfect_denoiser_of_a_gaussian_maps_noise_to_its_mean_and_spread(
        self, make_pipeline, kind, prediction_type
    ):
        pipeline = make_pipeline(prediction_type=prediction_type, noise_reference_size=8)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        pipeline.resampler.latent_std.fill_(1.0)
        pipeline.resampler.latent_mean.zero_()
        mean, deviation = 0.3, 0.1

        def perfect(sample, alpha_bar, branches, canvas=None):
            share = alpha_bar[:, None, None, None]
            gain = share.sqrt() * deviation**2 / (share * deviation**2 + 1 - share)
            clean = mean + gain * (sample - share.sqrt() * mean)
            noise = (sample - share.sqrt() * clean) / (1 - share).sqrt()
            velocity = share.sqrt() * noise - (1 - share).sqrt() * clean
            return tuple(velocity if prediction_type == "v_prediction" else noise for _ in branches)

        pipeline.diffuser.guidance_branches = perfect
        noise = torch.randn(1, 3, 8, 8)
        result = pipeline([1], latents=noise, **FEW | {"num_inference_steps": 200})
        torch.testing.assert_close(result.latents, mean + deviation * noise, rtol=0, atol=0.02)


class TestKeeping:
    @pytest.mark.parametrize("with_resampler", [True, False])
    def test_a_saved_pipeline_comes_back_whole(self, make_pipeline, tmp_path, with_resampler):
        pipeline = make_pipeline("tiny" if with_resampler else None)
        pipeline.save_pretrained(tmp_path)
        loaded = R2Pipeline.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert isinstance(loaded, R2Pipeline) and isinstance(loaded.resampler, R2IR) == with_resampler
        before, after = (one([3, 8], generator=seeded(), **FEW) for one in (pipeline, loaded))
        assert torch.equal(before.latents, after.latents) and torch.equal(before.images, after.images)

    def test_a_folder_may_be_given_as_text(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path / "kept")
        assert isinstance(R2Pipeline.from_pretrained(str(tmp_path / "kept")), R2Pipeline)

    @pytest.mark.parametrize("part", ["diffuser", "conditioner", "resampler"])
    def test_truncated_weights_are_refused_in_one_sentence(self, pipeline, tmp_path, part):
        pipeline.save_pretrained(tmp_path)
        weights = tmp_path / part / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        self.refused(tmp_path, match="damaged")

    def test_a_missing_part_is_refused_in_one_sentence(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path)
        (tmp_path / "diffuser" / "config.json").unlink()
        self.refused(tmp_path)

    def test_a_folder_without_a_pipeline_is_refused_in_one_sentence(self, pipeline, tmp_path):
        self.refused(tmp_path, match="model_index.json")
        pipeline.resampler.save_pretrained(tmp_path / "resampler")
        self.refused(tmp_path / "resampler", match="model_index.json")

    @pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model", "/no/such/folder", "no/such/folder"])
    def test_a_missing_name_is_refused_in_one_sentence(self, name):
        self.refused(name)

    @staticmethod
    def refused(name, match: str | None = None) -> None:
        with pytest.raises(InputError, match=match) as caught:
            R2Pipeline.from_pretrained(name)
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


class TestPixels:
    def test_without_a_resampler_the_diffuser_makes_the_picture(self, make_pipeline):
        pipeline = make_pipeline(None)
        result = pipeline([3], generator=seeded(), **FEW | {"latent_size": (8, 6)})
        assert result.latents.shape == result.images.shape == (1, 1, 8, 6)
        torch.testing.assert_close(result.images, result.latents.clamp(-1, 1), rtol=0, atol=1e-5)

    def test_other_sizes_are_the_same_picture_resized(self, make_pipeline):
        pipeline = make_pipeline(None)
        result = pipeline([3], generator=seeded(), **FEW | {"latent_size": (8, 6), "size": [(8, 6), (16, 12), (3, 9)]})
        assert [tuple(pictures.shape) for pictures in result.images] == [(1, 1, 8, 6), (1, 1, 16, 12), (1, 1, 3, 9)]
        halved = functional.avg_pool2d(result.images[1], 2)
        assert (halved - result.images[0]).square().mean() < 0.1 * result.images[0].var()


class TestCallback:
    def test_it_is_called_after_every_step(self, pipeline):
        calls = []

        def callback(caller, step, timestep, tensors):
            assert caller is pipeline
            calls.append((step, int(timestep), tensors["latents"].shape))
            return {}

        untouched = pipeline([3], generator=seeded(), **FEW)
        watched = pipeline([3], generator=seeded(), callback_on_step_end=callback, **FEW)
        assert [step for step, _, _ in calls] == [0, 1, 2]
        assert [time for _, time, _ in calls] == sorted((time for _, time, _ in calls), reverse=True)
        assert all(shape == (1, 3, 3, 2) for _, _, shape in calls)
        assert torch.equal(watched.images, untouched.images)

    def test_it_can_replace_the_latents(self, pipeline):
        result = pipeline(
            [3],
            generator=seeded(),
            callback_on_step_end=lambda caller, step, timestep, tensors: {"latents": tensors["latents"] * 0},
            **FEW,
        )
        expected = pipeline.resampler.destandardise(torch.zeros(1, 3, 3, 2))
        torch.testing.assert_close(result.latents, expected)


def test_pictures_in_bfloat16_differ_by_two_levels_of_eight_bits_at_most():
    pipeline = R2Pipeline.from_pretrained("mnist")
    latents = pipeline(list("0379"), size=[], num_inference_steps=4, generator=seeded()).latents
    exact = numpy_of(pipeline.decode(latents, (150, 150)))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = numpy_of(pipeline.decode(latents, (150, 150)))
    difference = np.abs(exact - rounded)
    assert difference.max() <= 2 and (difference > 0).mean() < 0.1


def numpy_of(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture, dtype=int) for picture in pictures])


def test_nobody_is_told_who_uses_it():
    """onnxruntime, where installed, looks for a server as diffusers imports it."""
    script = "import os, r2id; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    printed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert printed.stdout == "1 1\n", printed.stderr


def test_what_a_call_returns_may_go_into_a_training(make_pipeline):
    latents = make_pipeline()([1], generator=seeded(), **FEW).latents
    weight = torch.ones(3, requires_grad=True)
    (latents * weight[:, None, None]).sum().backward()
    torch.testing.assert_close(weight.grad, latents.sum(dim=(0, 2, 3)))


def test_pictures_are_decoded_as_they_are_taken(make_resampler, monkeypatch):
    """So that a data set of them need not fit in memory, and what is done is kept where one is interrupted."""
    resampler, taken = make_resampler(), []
    decode = resampler.decode
    monkeypatch.setattr(
        resampler, "decode", lambda some, *arguments: taken.append(len(some)) or decode(some, *arguments)
    )
    latents = torch.zeros(3, resampler.config.latent_channels, 2, 2)
    pictures = decode_some_at_once(resampler, latents, (256, 256), (2, 2))
    assert next(pictures).shape == (1, resampler.config.image_channels, 256, 256) and taken == [1]
    assert len(list(pictures)) == 2
