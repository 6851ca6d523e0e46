"""Given pictures continue: their own pixels stay, and the rest goes on from them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler
from PIL import Image
from seeds import seeded

from r2id.conditioning.labels import LabelConditioner
from r2id.data.loading import load_images
from r2id.diffusion.inpainting import KnownPicture, filled, known_cells
from r2id.diffusion.pipeline import R2Pipeline
from r2id.diffusion.prediction import perfect_prediction, predicted_sample
from r2id.diffusion.schedule import cosine_alpha_bar
from r2id.diffusion.windows import Windows
from r2id.errors import InputError
from r2id.evaluation.canvases import seam_ratio
from r2id.evaluation.classifier import load_classifier

FIXTURES = Path(__file__).parents[1] / "fixtures" / "digits"
FEW = {"num_inference_steps": 3}


def noise_image(height: int, width: int, channels: int = 1) -> Image.Image:
    levels = torch.randint(0, 256, (height, width, channels), dtype=torch.uint8, generator=seeded()).numpy()
    return Image.fromarray(levels[..., 0] if channels == 1 else levels)


def right_half(height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(height, width)
    mask[:, width // 2 :] = 1
    return mask


class TestKnownPixels:
    @pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
    def test_they_stay_exactly_and_the_others_follow_the_seed(self, make_pipeline, prediction_type):
        pipeline = make_pipeline(prediction_type=prediction_type)
        image, mask = noise_image(13, 18), right_half(13, 18)
        first, again, other = (
            np.asarray(pipeline.inpaint(image, mask, [3], generator=seeded(seed), **FEW).images[0])
            for seed in (1, 1, 2)
        )
        assert np.array_equal(first[:, :9], np.asarray(image)[:, :9])
        assert np.array_equal(first, again) and not np.array_equal(first[:, 9:], other[:, 9:])

    def test_a_picture_keeps_its_place_on_a_larger_canvas(self, pipeline):
        image = noise_image(8, 6)
        result = pipeline.outpaint(image, [3, 4], left=5, top=2, right=1, generator=seeded(), **FEW)
        assert result.latents.canvas == (10, 12) and len(result.images) == 2
        for picture in result.images:
            assert picture.size == (12, 10)
            assert picture.crop((5, 2, 11, 10)).tobytes() == image.tobytes()

    def test_rgb_of_a_pyramid(self, make_pyramid, make_diffuser):
        pipeline = R2Pipeline(make_diffuser(channels=24), LabelConditioner(dim=8).eval(), make_pyramid())
        pipeline.set_progress_bar_config(disable=True)
        image = noise_image(32, 32, 3)
        picture = pipeline.outpaint(image, [3], right=16, latent_size=(2, 3), generator=seeded(), **FEW).images[0]
        assert picture.size == (48, 32) and picture.crop((0, 0, 32, 32)).tobytes() == image.tobytes()

    def test_a_pyramid_gets_cells_as_small_as_photographs_need(self, make_pyramid, make_diffuser):
        diffuser = make_diffuser(channels=24, canvas=None)
        pipeline = R2Pipeline(diffuser, LabelConditioner(dim=8).eval(), make_pyramid())
        usual = pipeline.defaults_on((128, 128)).latent_size
        assert pipeline.latents_beside((128, 128), (128, 128)) == (16, 16) > usual
        assert pipeline.latents_beside((96, 160), (96, 160)) == (12, 20)
        assert pipeline.latents_beside((16, 16), (16, 16)) == usual
        assert pipeline.latents_beside((640, 480), (640, 480)) == (80, 60)
        assert pipeline.latents_beside((3072, 3072), (3072, 3072)) == (96, 96)

    def test_a_model_of_pixels(self, make_pipeline):
        pipeline = make_pipeline(None)
        image = noise_image(8, 8)
        picture = pipeline.inpaint(image, right_half(8, 8), [3], latent_size=(8, 8), **FEW).images[0]
        assert picture.crop((0, 0, 4, 8)).tobytes() == image.crop((0, 0, 4, 8)).tobytes()

    def test_images_and_masks_may_be_of_pillow_or_tensors(self, pipeline):
        image, mask = noise_image(8, 12), right_half(8, 12)
        values = torch.from_numpy(np.asarray(image).copy())[None, None] / 127.5 - 1
        white = Image.fromarray((mask.numpy() * 255).astype(np.uint8))
        one = pipeline.inpaint(image, white, [3], generator=seeded(), output_type="pt", **FEW).images
        other = pipeline.inpaint(values, mask, [3], generator=seeded(), output_type="pt", **FEW).images
        assert torch.equal(one, other) and torch.equal(one[..., :6], values[..., :6])

    def test_no_label_is_none_and_needs_no_guidance(self, pipeline):
        image, mask = noise_image(8, 12), right_half(8, 12)
        none = pipeline.inpaint(image, mask, generator=seeded(), output_type="pt", **FEW).images
        same = pipeline.inpaint(image, mask, [None], guidance_scale=1, generator=seeded(), output_type="pt", **FEW)
        assert torch.equal(none, same.images)


class TestKnownLatents:
    @pytest.mark.parametrize(
        "kind", [UniPCMultistepScheduler, DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]
    )
    def test_every_scheduler_leads_them_to_the_picture(self, make_pipeline, kind):
        pipeline = make_pipeline(None)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        picture, mask = torch.rand(1, 1, 6, 8) * 2 - 1, right_half(6, 8)
        known = KnownPicture(None, picture, 1 - mask[None, None], (6, 8), (6, 8))
        how = {"latent_size": (6, 8), "canvas": (6, 8), "known": known, "output_type": "latent"}
        latents = pipeline([3, 4], generator=seeded(), num_inference_steps=10, **how).images
        torch.testing.assert_close(latents[..., :4], picture[..., :4].expand(2, -1, -1, -1), rtol=0, atol=0.02)
        assert (latents[..., 4:] - picture[..., 4:]).abs().max() > 0.1

    def test_a_cell_is_known_where_all_its_pixels_are(self):
        known = torch.ones(1, 1, 8, 6)
        known[..., 3, 5] = 0
        expected = torch.ones(4, 3)
        expected[1, 2] = 0
        assert torch.equal(known_cells(known, (4, 3))[0, 0], expected)
        assert known_cells(known, (16, 12)).sum() == 16 * 12 - 4


class TestColour:
    """A model of grey pictures continues grey ones, in whatever mode."""

    def test_a_grey_picture_in_rgb_is_taken(self, pipeline):
        grey = noise_image(8, 8)
        made = [
            pipeline.outpaint(one, [3], left=4, generator=seeded(), **FEW).images[0]
            for one in (grey, grey.convert("RGB"), grey.convert("RGBA"))
        ]
        assert made[0].mode == "L" and made[0].tobytes() == made[1].tobytes() == made[2].tobytes()

    def test_the_few_levels_of_colour_of_a_grey_jpeg_are_none(self, pipeline):
        levels = np.asarray(noise_image(8, 8, 3)) // 32 + 100
        assert pipeline.outpaint(Image.fromarray(levels), [3], left=4, **FEW).images[0].size == (12, 8)

    @pytest.mark.parametrize("method", ["inpaint", "outpaint"])
    def test_colour_is_refused_as_it_would_be_lost(self, pipeline, method):
        how = {"mask": right_half(8, 8)} if method == "inpaint" else {"left": 4}
        with pytest.raises(InputError, match="the image has colour, which the grey pictures of this model lose"):
            getattr(pipeline, method)(noise_image(8, 8, 3), **how, **FEW)


class TestExactDenoiser:
    """Rows of a Gaussian process, whose denoiser and whose conditional mean have a closed form."""

    @pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
    def test_what_is_sampled_goes_on_from_what_is_known(self, kind):
        count, half, steps = 16, 8, 20
        places = torch.arange(count) / 4
        covariance = torch.exp(-(places[:, None] - places).square() / 2) + 0.01 * torch.eye(count)
        rows = (torch.randn(500, count) @ torch.linalg.cholesky(covariance).mT)[:, None, None]
        known = torch.ones(1, 1, 1, count)
        known[..., half:] = 0
        picture = KnownPicture(None, rows, known, (1, count), (1, count))

        def network(samples, alpha_bars):
            alpha_bar = alpha_bars[0]
            noisy_covariance = alpha_bar * covariance + (1 - alpha_bar) * torch.eye(count)
            denoised = alpha_bar.sqrt() * samples[0] @ torch.linalg.solve(noisy_covariance, covariance)
            return [perfect_prediction(denoised, samples[0], alpha_bar, kind)]

        sample, levels = torch.randn(rows.shape), cosine_alpha_bar(torch.linspace(0.99, 0, steps + 1), (1, 1), None)
        for step, (now, then) in enumerate(pairwise(levels.split(1))):
            prediction = picture.predict(network, sample, now, kind, step / steps)
            clean = predicted_sample(prediction, sample, now, kind)
            noise = perfect_prediction(clean, sample, now, "epsilon")
            sample = then.sqrt() * clean + (1 - then).sqrt() * noise

        torch.testing.assert_close(sample[..., :half], rows[..., :half], rtol=0, atol=1e-4)
        # Without the guidance of the known samples' error it is 5.9.
        assert seam_ratio(sample, [half]) < 1.5
        weights = torch.linalg.solve(covariance[:half, :half], covariance[:half, half:])
        expected = rows[..., :half] @ weights
        least = (rows[..., half:] - expected).square().mean()
        assert (sample[..., half:] - expected).square().mean() < 1.75 * least


class TestGradients:
    """The guidance takes gradients, wherever a pipeline is called."""

    @pytest.mark.parametrize("autocast", [False, True])
    def test_inference_mode_and_earlier_samples_change_nothing(self, make_pipeline, autocast):
        pipeline, image = make_pipeline(radius=0.5, local_radius=0.5), noise_image(8, 12)
        precision = torch.autocast("cpu", torch.bfloat16, enabled=autocast)

        def paint():
            return pipeline.outpaint(image, [3], left=4, generator=seeded(), output_type="pt", **FEW).images

        with precision:
            expected = paint()
        with torch.inference_mode(), precision:
            pipeline([3], latent_size=(4, 8), generator=seeded(), **FEW)
            assert torch.equal(paint(), expected)
        assert all(parameter.grad is None for parameter in pipeline.diffuser.parameters())

    def test_a_model_that_was_made_in_inference_mode_has_none(self, make_pipeline):
        with torch.inference_mode():
            pipeline = make_pipeline()
        with pytest.raises(InputError, match="loaded in torch.inference_mode"):
            pipeline.outpaint(noise_image(8, 8), [3], left=4, **FEW)

    def test_windows_have_them_too(self, make_pipeline):
        pipeline = make_pipeline(canvas=(1, 1))
        windows = Windows.over((8, 32), (1, 1), (4, 4))
        how = {"latent_size": windows.grid, "windows": windows, "generator": seeded()}
        picture = pipeline.outpaint(noise_image(8, 8), [3], right=24, **how, **FEW).images[0]
        assert picture.size == (32, 8)


class TestFilling:
    def test_known_pixels_stay_and_a_constant_goes_on(self):
        picture, known = torch.full((1, 2, 13, 9), 0.3), torch.zeros(1, 1, 13, 9)
        known[..., :4, 2:5] = 1
        result = filled(torch.where(known > 0, picture, 7.0), known)
        torch.testing.assert_close(result, picture)

    def test_what_is_unknown_lies_between_what_is_known(self):
        picture, known = torch.rand(1, 1, 20, 31), (torch.rand(1, 1, 20, 31) < 0.1).float()
        result = filled(picture, known)
        assert torch.equal(result[known > 0], picture[known > 0])
        assert picture[known > 0].min() - 1e-5 <= result.min() and result.max() <= picture[known > 0].max() + 1e-5

    def test_nothing_known_gives_zeros(self):
        assert not filled(torch.rand(1, 1, 5, 3), torch.zeros(1, 1, 5, 3)).any()

    def test_a_picture_that_is_off_by_a_constant_is_joined_without_a_jump(self, make_resampler):
        given, known = torch.zeros(1, 1, 32, 32), 1 - right_half(32, 32)[None, None]
        picture = KnownPicture(make_resampler(), given, known, (4, 4), (1, 1))
        row = picture.completed(torch.full((1, 1, 32, 32), 0.4))[0, 0, 16]
        assert not row[:16].any() and row[-1] == pytest.approx(0.4)
        assert (row[1:] - row[:-1]).abs().max() < 0.1


def test_halves_of_digits_are_completed_to_the_label_without_a_seam():
    digits = load_images(FIXTURES, "test", image_size=(32, 32))
    labels = [digits.label_names[index] for index in digits.labels.tolist()]
    chosen = [labels.index(name) for name in sorted(set(labels))]
    pipeline = R2Pipeline.from_pretrained("mnist")
    pipeline.set_progress_bar_config(disable=True)
    mask, how = torch.zeros(32, 32), {"num_inference_steps": 8, "output_type": "pt"}
    mask[16:] = 1
    originals = digits.images[chosen].float() / 127.5 - 1
    made = [
        pipeline.inpaint(original[None], mask, [labels[index]], generator=seeded(index), **how).images
        for original, index in zip(originals, chosen, strict=True)
    ]
    pictures = torch.cat(made)
    with torch.no_grad():
        read = load_classifier()(pictures).argmax(1)
    assert sum(labels[index] == str(int(one)) for index, one in zip(chosen, read, strict=True)) >= len(chosen) - 2

    assert seam_ratio(pictures.mT, [16], near=8) < 2


@pytest.mark.parametrize(
    ("method", "changed", "sentence"),
    [
        ("inpaint", {"mask": torch.zeros(7, 8)}, "mask is 7x8 and the image 8x8"),
        ("inpaint", {"mask": torch.zeros(8, 8)}, "black everywhere"),
        ("inpaint", {"mask": torch.ones(8, 8)}, "white everywhere"),
        ("inpaint", {"mask": torch.ones(1, 1, 8, 8)}, r"mask is \(1, 1, 8, 8\)"),
        ("inpaint", {"mask": "mask.png"}, "mask is str"),
        ("inpaint", {"image": torch.zeros(2, 1, 8, 8), "mask": torch.zeros(8, 8)}, r"image is \(2, 1, 8, 8\)"),
        ("inpaint", {"mask": right_half(8, 8), "output_type": "latent"}, "'latent'"),
        ("inpaint", {"mask": right_half(8, 8), "class_labels": ["cat"]}, "'cat'"),
        ("outpaint", {}, "left, right, top, bottom are all 0"),
        ("outpaint", {"left": -1}, "left is -1"),
        ("outpaint", {"left": 20, "right": 5}, "left 20 and right 5 would make a side of 8 pixels 33; .* at most 32"),
        ("outpaint", {"bottom": 25}, "bottom 25 would make a side of 8 pixels 33"),
        ("outpaint", {"left": 1, "latent_size": (0, 3)}, r"latent size is \(0, 3\)"),
        ("outpaint", {"left": 1, "latent_size": (10**6, 10**6)}, "GiB"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(pipeline, method, changed, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        getattr(pipeline, method)(**{"image": noise_image(8, 8), "class_labels": [3]} | FEW | changed)
    assert "\n" not in str(caught.value)
