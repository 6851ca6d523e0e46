"""Panoramas: windows cover a canvas, agree where they overlap, and leave no seam."""

import pytest
import torch
from seeds import seeded

from r2id.diffusion.pipeline import R2Pipeline
from r2id.diffusion.sampling import predict
from r2id.diffusion.windows import SAMPLES_TOGETHER, Windows
from r2id.errors import InputError
from r2id.evaluation.canvases import seam_ratio

FEW = {"num_inference_steps": 3, "output_type": "pt"}


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline(canvas=(32, 32))


class TestWindows:
    @pytest.mark.parametrize(
        ("picture", "canvas", "size", "grid"),
        [
            ((32, 320), (1, 1), (8, 8), (8, 80)),
            ((320, 32), (1, 1), (8, 8), (80, 8)),
            ((27, 100), (32, 32), (4, 5), (4, 19)),
            ((32, 32), (1, 1), (8, 8), (8, 8)),
            ((30, 90), (1, 2), (4, 8), (4, 12)),
            ((32, 33), (1, 1), (1, 1), (1, 1)),
        ],
    )
    def test_one_spans_the_shorter_side_and_all_cover_the_grid(self, picture, canvas, size, grid):
        windows = Windows.over(picture, canvas, size)
        assert windows.grid == grid
        covered = torch.zeros(grid)
        for corner in windows.corners():
            assert windows.crop(covered, corner).shape == size
            windows.crop(covered, corner).add_(1)
        assert covered.min() >= 1
        columns = sorted({column for _, column in windows.corners()})
        assert all(
            after - before <= (size[1] + 1) // 2 + 1 for before, after in zip(columns, columns[1:], strict=False)
        )

    def test_predictions_of_samples_alone_are_those_of_the_whole(self, make_diffuser):
        """Without blocks, neighbours and positions, no sample sees another, and windows change nothing."""
        diffuser = make_diffuser(encoder_blocks=0, decoder_blocks=0, radius=None, noise_reference_size=None)
        torch.nn.init.zeros_(diffuser.position.linear.weight)
        sample, branches, now = torch.randn(2, 3, 4, 19), list(torch.randn(2, 2, 2, 8)), [torch.tensor([0.4])]
        windows = Windows((4, 19), (4, 5), (32, 32))
        (blended,) = predict(diffuser, branches, 3.0, [(32, 32)], [windows], [sample], now)
        (whole,) = predict(diffuser, branches, 3.0, [(32, 32)], None, [sample], now)
        torch.testing.assert_close(blended, whole, rtol=1e-4, atol=1e-5)

    def test_in_strong_noise_they_lie_side_by_side(self):
        windows, ends = Windows((4, 24), (4, 8), (1, 2)), {}
        for alpha_bar in (0.01, 0.4):
            seen = ends[alpha_bar] = []
            blended = windows.blended(
                lambda some, corners, seen=seen: seen.extend(corners) or torch.ones_like(some),
                torch.randn(1, 3, 4, 24),
                torch.tensor([alpha_bar]),
            )
            torch.testing.assert_close(blended, torch.ones(1, 3, 4, 24))
        assert ends == {0.01: [(0, 0), (0, 8), (0, 16)], 0.4: [(0, column) for column in (0, 4, 8, 12, 16)]}

    def test_those_with_nothing_wanted_are_left_out(self):
        wanted = torch.zeros(1, 1, 4, 40)
        wanted[..., 30:] = 1
        windows, seen = Windows((4, 40), (4, 8), (1, 2)).of(wanted), []

        def predict_ones(some, corners):
            seen.extend(corners)
            return torch.ones_like(some)

        blended = windows.blended(predict_ones, torch.randn(2, 3, 4, 40), torch.tensor([0.4]))
        assert min(column for _, column in seen) + 8 > 30
        assert blended[..., 30:].eq(1).all() and blended[..., :20].eq(0).all()

    def test_windows_are_predicted_as_canvases_of_training_and_a_few_at_once(self, make_diffuser):
        diffuser, calls = make_diffuser(), []
        branches = list(torch.randn(1, 2, 2, 8))

        def counted(sample, alpha_bar, tokens, canvas):
            calls.append((sample.shape, tokens[0].shape[0], canvas))
            return [torch.ones_like(sample)]

        diffuser.guidance_branches = counted
        windows, sample = Windows((8, 2000), (8, 8), (1, 1)), torch.randn(2, 3, 8, 2000)
        (one,) = predict(diffuser, branches, 1.0, [(8, 2000)], [windows], [sample], [torch.tensor([0.4])])
        torch.testing.assert_close(one, torch.ones(2, 3, 8, 2000))
        assert len(calls) > 10
        for shape, tokens, canvas in calls:
            assert shape[1:] == (3, 8, 8) and shape[0] == tokens and canvas == (1, 1)
            assert shape[0] * 64 <= SAMPLES_TOGETHER


def test_borders_are_where_windows_begin_and_end():
    # Three windows of 4 of 8 latents, which begin at 0, 2 and 4.
    assert Windows((4, 8), (4, 4), (1, 1)).borders(80) == [20, 40, 60]
    assert Windows((4, 4), (4, 4), (1, 1)).borders(80) == []


class TestPanorama:
    def test_a_single_window_is_a_plain_call(self, pipeline):
        panorama = pipeline.panorama([3, 7], (12, 12), (4, 4), generator=seeded(), **FEW)
        plain = pipeline([3, 7], (4, 4), (12, 12), generator=seeded(), **FEW)
        torch.testing.assert_close(panorama.latents, plain.latents, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(panorama.images, plain.images, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("size", [(12, 100), (100, 12), (13, 57)])
    def test_every_size_is_filled(self, pipeline, size):
        result = pipeline.panorama([3], size, (4, 4), generator=seeded(), **FEW)
        assert result.images.shape == (1, 1, *size) and result.images.isfinite().all()
        assert result.latents.canvas == size

    def test_the_same_seed_at_another_size_has_the_same_latents(self, pipeline):
        small, large = (
            pipeline.panorama([3], size, (4, 4), generator=seeded(), **FEW) for size in ((12, 48), (24, 96))
        )
        assert torch.equal(small.latents, large.latents)
        halves = torch.nn.functional.avg_pool2d(large.images, 2)
        assert (halves - small.images).square().mean() < 0.1 * small.images.var()

    def test_pyramids_and_models_of_pixels(self, make_pipeline, make_pyramid, make_diffuser):
        of_pyramid = R2Pipeline(make_diffuser(channels=24), make_pipeline().conditioner, make_pyramid())
        of_pyramid.set_progress_bar_config(disable=True)
        result = of_pyramid.panorama([3], (32, 90), (2, 2), generator=seeded(), **FEW)
        assert result.images.shape == (1, 3, 32, 90) and result.latents.shape == (1, 24, 2, 6)
        assert make_pipeline(None).panorama([3], (6, 30), (6, 6), **FEW).images.shape == (1, 1, 6, 30)

    def test_digits_have_no_seam_where_windows_end(self):
        pipeline = R2Pipeline.from_pretrained("mnist")
        pipeline.set_progress_bar_config(disable=True)
        how = {"num_inference_steps": 8, "generator": seeded(), "output_type": "pt"}
        picture = pipeline.panorama([3], (32, 128), (4, 4), **how).images
        # Windows of 4 samples begin every 2, which are 16 pixels.
        assert seam_ratio(picture, range(16, 128, 16)) < 1.5
        assert picture.std() > 0.3

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"size": None}, "no size is given"),
            ({"size": (0, 8)}, r"\(0, 8\)"),
            ({"size": (8, 10**12)}, "GiB"),
            ({"latent_size": (0, 2)}, r"latent size is \(0, 2\)"),
            ({"class_labels": ["cat"]}, "'cat'"),
            ({"output_type": "latent"}, "'latent'"),
        ],
    )
    def test_what_cannot_be_is_said_in_one_sentence(self, pipeline, changed, sentence):
        with pytest.raises(InputError, match=sentence) as caught:
            pipeline.panorama(**{"class_labels": [3], "size": (8, 40)} | FEW | changed)
        assert "\n" not in str(caught.value)
