"""Canvases: several sampled as one picture, each in its own proportions."""

from unittest.mock import patch

import pytest
import torch
from seeds import seeded

from r2id.diffusion.noise_field import field_noise
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.classifier import as_judged, load_classifier

FEW = {"num_inference_steps": 3, "output_type": "pt"}
SIZES = [(12, 12), (8, 14), (14, 8)]


class TestJoint:
    def test_every_size_is_a_canvas_with_as_many_latents_in_its_proportions(self, pipeline):
        result = pipeline([3, 7], (4, 4), SIZES, joint=True, generator=seeded(), **FEW)
        assert [tuple(latents.shape) for latents in result.latents] == [(2, 3, 4, 4), (2, 3, 3, 5), (2, 3, 5, 3)]
        assert [latents.canvas for latents in result.latents] == SIZES
        assert [tuple(images.shape) for images in result.images] == [(2, 1, *size) for size in SIZES]
        for images, latents, size in zip(result.images, result.latents, SIZES, strict=True):
            torch.testing.assert_close(images, pipeline.decode(latents, size, output_type="pt"))

    def test_a_single_canvas_is_sampled_as_alone_to_the_bit(self, pipeline):
        joint = pipeline([3, 7], (4, 4), [(12, 12)], joint=True, generator=seeded(), **FEW)
        alone = pipeline([3, 7], (4, 4), (12, 12), generator=seeded(), **FEW)
        assert torch.equal(joint.images[0], alone.images)

    def test_the_same_canvas_twice_shows_the_same_picture(self, pipeline):
        first, second = pipeline([3], (4, 4), [(12, 12)] * 2, joint=True, generator=seeded(), **FEW).latents
        assert torch.equal(first, second)
        alone = pipeline([3], (4, 4), (12, 12), generator=seeded(), **FEW).latents
        torch.testing.assert_close(first, alone, rtol=1e-3, atol=1e-4)

    def test_all_start_from_one_field_of_noise_also_without_a_generator(self, pipeline):
        for generator in (None, [seeded(1), seeded(2)]):
            torch.manual_seed(0)
            with patch.object(pipeline.diffuser, "joint_branches", wraps=pipeline.diffuser.joint_branches) as predict:
                pipeline([3, 7], (4, 4), [(12, 12), (24, 24), (8, 14)], joint=True, generator=generator, **FEW)
            starts = predict.call_args_list[0].args[0]
            torch.manual_seed(0)
            same = field_noise(2, 3, (4, 4), generator and [seeded(1), seeded(2)])
            assert torch.equal(starts[0], same) and torch.equal(starts[1], same)

    def test_digits_are_read_right_in_proportions_never_trained_on(self):
        pipeline = R2Pipeline.from_pretrained("mnist")
        pipeline.set_progress_bar_config(disable=True)
        generators = [seeded(seed) for seed in range(10)]
        sizes = [(64, 64), (36, 64), (64, 36)]
        how = {"num_inference_steps": 10, "generator": generators, "output_type": "pt"}
        images = pipeline(list(range(10)), None, sizes, joint=True, **how).images
        classifier = load_classifier()
        with torch.no_grad():
            read = [classifier(as_judged(one)).argmax(1) for one in images]
        assert all((one == torch.arange(10)).sum() >= 8 for one in read)

    def test_callbacks_see_and_may_replace_the_latents_of_every_canvas(self, pipeline):
        shapes = []

        def callback(caller, step, timestep, tensors):
            shapes.append([tuple(one.shape[-2:]) for one in tensors["latents"]])
            return {"latents": [one * 0 for one in tensors["latents"]]}

        result = pipeline([3], (4, 4), SIZES, joint=True, callback_on_step_end=callback, **FEW)
        assert shapes == [[(4, 4), (3, 5), (5, 3)]] * 3
        for latents in result.latents:
            assert torch.equal(latents.std((0, 2, 3)), torch.zeros(3))

    def test_a_model_of_pixels_samples_jointly_too(self, make_pipeline):
        images = make_pipeline(None)([3], (6, 6), SIZES, joint=True, generator=seeded(), **FEW).images
        assert [tuple(one.shape) for one in images] == [(1, 1, *size) for size in SIZES]

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"size": (8, 8)}, "joint is on and size is no list"),
            ({"size": None}, "joint is on and size is no list"),
            ({"size": []}, "joint is on and size is no list"),
            ({"latents": torch.zeros(1, 3, 2, 2)}, "joint is on and latents is given"),
            ({"canvas": (1, 1)}, "joint is on and canvas is given"),
            ({"size": [(8, 8), (0, 8)]}, r"\(0, 8\)"),
            ({"size": [(8, 8), (10**7, 10**6)]}, "GiB"),
        ],
    )
    def test_what_cannot_be_joint_is_said_in_one_sentence(self, pipeline, changed, sentence):
        with pytest.raises(InputError, match=sentence) as caught:
            pipeline([3], **{"size": SIZES, "joint": True} | FEW | changed)
        assert "\n" not in str(caught.value)
