"""R2IR: any size to any size, the same picture at every density, whole on disk."""

import pytest
import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.coordinates import Grid, Points
from r2id.networks.resampler import R2IR

both_attentions = pytest.mark.parametrize("attention", ["local", "global"])


def smooth_image(size: tuple[int, int], canvas: tuple[int, int] = (1, 1)) -> Tensor:
    """One function of the canvas, sampled at the pixel centres: [1, 1, H, W]."""
    y, x = Grid.of_size(size, canvas).points().relative.T
    return (0.7 * torch.sin(5 * x + 2 * y) * torch.cos(4 * y)).view(1, 1, *size)


def shuffled(image: Tensor) -> Tensor:
    return image.flatten()[torch.randperm(image.numel())].view_as(image)


@both_attentions
class TestSizes:
    @pytest.mark.parametrize("image_size", [(1, 1), (1, 7), (27, 18), (4, 10)])
    @pytest.mark.parametrize("latent_size", [(1, 1), (1, 7), (5, 3)])
    def test_any_size_is_encoded_and_decoded_to_any_size(self, make_resampler, attention, image_size, latent_size):
        resampler = make_resampler(attention=attention)
        with torch.no_grad():
            latent = resampler.encode(torch.rand(2, 1, *image_size) * 2 - 1, latent_size)
            image = resampler.decode(latent, image_size)
        assert latent.shape == (2, 3, *latent_size) and image.shape == (2, 1, *image_size)
        for values in (latent, image):
            assert values.isfinite().all() and values.abs().max() < 1

    def test_colour_images_keep_their_channels(self, make_resampler, attention):
        resampler = make_resampler(attention=attention, image_channels=3)
        latent = resampler.encode(torch.zeros(1, 3, 6, 5), (2, 2))
        assert resampler.decode(latent, (9, 4)).shape == (1, 3, 9, 4)

    def test_images_of_a_batch_do_not_touch_each_other(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        images = torch.randn(3, 1, 8, 8).clamp(-1, 1)
        latents = resampler.encode(images, (3, 2))
        torch.testing.assert_close(resampler.encode(images[1:2], (3, 2)), latents[1:2], rtol=1e-4, atol=1e-5)
        decoded = resampler.decode(latents, (7, 7))
        torch.testing.assert_close(resampler.decode(latents[1:2], (7, 7)), decoded[1:2], rtol=1e-4, atol=1e-5)

    def test_proportions_matter_and_are_those_of_the_image_by_default(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        image = smooth_image((8, 16))
        wide = resampler.encode(image, (3, 3))
        torch.testing.assert_close(resampler.encode(image, (3, 3), canvas=(1, 2)), wide)
        assert (resampler.encode(image, (3, 3), canvas=(1, 1)) - wide).abs().max() > 1e-3
        picture = resampler.decode(wide, (8, 16))
        torch.testing.assert_close(resampler.decode(wide, (8, 16), canvas=(1, 2)), picture)
        assert (resampler.decode(wide, (8, 16), canvas=(1, 1)) - picture).abs().max() > 1e-3

    def test_wrong_channels_and_sizes_are_refused_with_their_values(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        with pytest.raises(InputError, match=r"\(2, 3, 8, 8\).*\[batch, 1, height, width\]"):
            resampler.encode(torch.zeros(2, 3, 8, 8), (2, 2))
        with pytest.raises(InputError, match=r"\(2, 4, 8, 8\).*\[batch, 3, height, width\]"):
            resampler.decode(torch.zeros(2, 4, 8, 8), (2, 2))
        with pytest.raises(InputError, match=r"\(3, 2, 2\)"):
            resampler.decode(torch.zeros(3, 2, 2), (2, 2))
        with pytest.raises(InputError, match=r"\(0, 2\)"):
            resampler.encode(torch.zeros(1, 1, 8, 8), (0, 2))
        with pytest.raises(InputError, match=r"\(4, 0\)"):
            resampler.decode(torch.zeros(1, 3, 2, 2), (4, 0))


@both_attentions
class TestPointsAndDensity:
    def test_the_points_of_a_grid_encode_as_the_grid_in_any_order(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        image = torch.rand(2, 1, 6, 9) * 2 - 1
        points = Grid.of_size((6, 9)).points()
        colours = image.flatten(2).mT
        whole = resampler.encode(image, (2, 3))
        order = torch.randperm(54)
        scattered = Points(points.relative[order], points.cell, points.extent)
        ordered = resampler.encode_points(colours, points, (2, 3))
        torch.testing.assert_close(ordered, whole, rtol=1e-4, atol=1e-5)
        permuted = resampler.encode_points(colours[:, order], scattered, (2, 3))
        torch.testing.assert_close(permuted, whole, rtol=1e-4, atol=1e-5)
        misplaced = resampler.encode_points(colours[:, order], points, (2, 3))
        assert (misplaced - whole).abs().max() > 1e-3

    def test_latents_may_lie_on_any_grid(self, make_resampler, attention):
        resampler, image = make_resampler(attention=attention), smooth_image((10, 12))
        even = Grid.of_size((6, 8), (10, 12))
        apart = even.crop(torch.tensor([0, 1, 4]), torch.tensor([2, 7]))
        with torch.no_grad():
            whole, some = resampler.encode(image, (6, 8)), resampler.encode(image, even)
            torch.testing.assert_close(some, whole)
            moved = resampler.encode(image, even.jittered(0.3))
        assert moved.shape == whole.shape and (moved - whole).abs().max() > 1e-4
        assert resampler.encode(image, apart).shape[-2:] == (3, 2)

    def test_a_denser_sampling_of_the_same_picture_has_nearly_the_same_latent(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        coarse, fine = smooth_image((16, 16)), smooth_image((32, 32))
        latent = resampler.encode(coarse, (4, 4))
        change = (resampler.encode(fine, (4, 4)) - latent).square().mean()
        shuffling = (resampler.encode(shuffled(coarse), (4, 4)) - latent).square().mean()
        assert change < 0.02 * shuffling

    def test_a_latent_can_be_decoded_at_scattered_points(self, make_resampler, attention):
        field = make_resampler(attention=attention).field(torch.rand(2, 3, 3, 2) * 2 - 1)
        places = torch.rand(11, 2) - 0.5
        together = field(places)
        assert together.shape == (2, 1, 11)
        alone = torch.cat([field(place[None]) for place in places], dim=-1)
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@both_attentions
class TestKeeping:
    def test_a_saved_model_comes_back_whole(self, make_resampler, attention, tmp_path):
        resampler = make_resampler(attention=attention, training={"steps": 3, "data": "digits"})
        resampler.save_pretrained(tmp_path)
        loaded = R2IR.from_pretrained(tmp_path)
        assert dict(loaded.config)["training"] == {"steps": 3, "data": "digits"}
        assert loaded.config.latent_channels == 3 and loaded.config.attention == attention
        assert torch.equal(loaded.latent_mean, resampler.latent_mean) and loaded.latent_mean.abs().max() > 0
        assert torch.equal(loaded.latent_std, resampler.latent_std)
        image = smooth_image((7, 9))
        latent = resampler.encode(image, (3, 2))
        assert torch.equal(loaded.encode(image, (3, 2)), latent)
        assert torch.equal(loaded.decode(latent, (9, 5)), resampler.decode(latent, (9, 5)))

    def test_weights_are_kept_as_safetensors_only(self, make_resampler, attention, tmp_path):
        make_resampler(attention=attention).save_pretrained(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_weights_give_nearly_the_same(self, make_resampler, attention, dtype):
        resampler = make_resampler(attention=attention)
        image = smooth_image((8, 8))
        latent = resampler.encode(image, (2, 2))
        picture = resampler.decode(latent, (9, 9))
        resampler = resampler.to(dtype)
        low_latent = resampler.encode(image.to(dtype), (2, 2))
        low_picture = resampler.decode(latent.to(dtype), (9, 9))
        assert low_latent.dtype == low_picture.dtype == dtype
        assert (low_latent - latent).abs().max() < 0.05 and (low_picture - picture).abs().max() < 0.05

    def test_autocast_gives_nearly_the_same(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        image = smooth_image((8, 8))
        latent = resampler.encode(image, (2, 2))
        with torch.autocast("cpu", torch.bfloat16):
            low_latent = resampler.encode(image, (2, 2))
            low_picture = resampler.decode(latent, (9, 9))
        assert (low_latent - latent).abs().max() < 0.05
        assert (low_picture - resampler.decode(latent, (9, 9))).abs().max() < 0.05

    @torch.no_grad()
    def test_sums_over_many_chunks_lose_nothing_in_bfloat16(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        size = (256, 32)
        image = smooth_image(size)
        chunks = [(slice(row, row + 1), slice(0, 32), image[:, :, row : row + 1]) for row in range(256)]
        exact = resampler.encode(image, (2, 2))
        with torch.autocast("cpu", torch.bfloat16):
            errors = [
                (latent.float() - exact).square().mean().sqrt()
                for latent in (resampler.encode(image, (2, 2)), resampler.encode_chunks(chunks, size, (2, 2)))
            ]
        assert errors[1] < 1.25 * errors[0] + 1e-6, errors
        low = resampler.bfloat16().encode_chunks(
            [(*place, pixels.bfloat16()) for *place, pixels in chunks], size, (2, 2)
        )
        assert low.dtype == torch.bfloat16 and (low - exact).abs().max() < 0.05


class TestLatents:
    def test_standardised_latents_have_the_stored_statistics_removed(self, make_resampler):
        resampler = make_resampler()
        latent = torch.rand(2, 3, 4, 5) * 2 - 1
        standard = resampler.standardise(latent)
        expected = (latent[1, 2, 3, 4] - resampler.latent_mean[2]) / resampler.latent_std[2]
        torch.testing.assert_close(standard[1, 2, 3, 4], expected)
        torch.testing.assert_close(resampler.destandardise(standard), latent, rtol=1e-5, atol=1e-6)

    def test_destandardised_latents_stay_in_the_range_of_the_encoder(self, make_resampler):
        latent = make_resampler().destandardise(torch.randn(1, 3, 8, 8) * 100)
        assert latent.min() == -1 and latent.max() == 1


@both_attentions
class TestTrainingPass:
    @pytest.mark.parametrize("jitter", ["sampled", "expected", "none"])
    @pytest.mark.parametrize("feature_map", ["softmax", "elu"])
    def test_gradient_flows_to_every_parameter(self, make_resampler, attention, jitter, feature_map):
        resampler = make_resampler(attention=attention, jitter=jitter, feature_map=feature_map).train()
        image = torch.rand(2, 1, 8, 6) * 2 - 1
        decoded = resampler(image, (3, 2), latent_noise=0.1 * torch.randn(2, resampler.config.latent_channels, 3, 2))
        assert decoded.shape == image.shape
        (decoded - image).square().mean().backward()
        dead = [name for name, one in resampler.named_parameters() if one.grad is None or not one.grad.any()]
        assert dead == []

    def test_without_training_a_pass_is_decoding_what_was_encoded(self, make_resampler, attention):
        resampler = make_resampler(attention=attention)
        image = smooth_image((16, 16))
        decoded = resampler.decode(resampler.encode(image, (3, 3)), (16, 16))
        torch.testing.assert_close(resampler(image, (3, 3)), decoded, rtol=1e-4, atol=1e-5)
        rows, columns = torch.tensor([1, 4, 15]), torch.tensor([0, 9])
        some = Grid.of_size((16, 16)).crop(rows, columns)
        torch.testing.assert_close(
            resampler(image, (3, 3), some), decoded[:, :, rows][..., columns], rtol=1e-4, atol=1e-5
        )

    @pytest.mark.parametrize("jitter", ["sampled", "expected", "none"])
    def test_only_jitter_and_noise_make_training_random(self, make_resampler, attention, jitter):
        resampler = make_resampler(attention=attention, jitter=jitter).train()
        image = smooth_image((8, 8))
        first, second = resampler(image, (2, 2)), resampler(image, (2, 2))
        assert torch.equal(first, second) == (jitter != "sampled")
        noise = 0.1 * torch.randn(1, resampler.config.latent_channels, 2, 2)
        assert not torch.equal(resampler(image, (2, 2), latent_noise=noise), first)

    def test_jitter_ends_with_training(self, make_resampler, attention):
        resampler = make_resampler(attention=attention, jitter="sampled")
        image = smooth_image((8, 8))
        assert torch.equal(resampler(image, (2, 2)), resampler(image, (2, 2)))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("attention", "quadratic"), ("feature_map", "relu"), ("jitter", "expcted"), ("num_heads", 5)],
)
def test_an_unknown_argument_value_is_refused_by_name(make_resampler, argument, value):
    with pytest.raises(ValueError, match=f"{argument} is {value!r}"):
        make_resampler(**{argument: value})


@pytest.mark.parametrize("attention", ["local", "global"])
def test_an_image_in_pieces_encodes_as_the_whole_one(attention, monkeypatch):
    torch.manual_seed(0)
    model = R2IR(latent_channels=5, dim=24, num_heads=2, num_blocks=1, basis=4, attention=attention).eval()
    image = torch.rand(2, 1, 40, 23) * 2 - 1
    whole = model.encode(image, (3, 5)).detach()
    cut = [(slice(0, 17), slice(9, 23)), (slice(17, 40), slice(0, 23)), (slice(0, 17), slice(0, 9))]
    with torch.inference_mode():
        chunks = model.encode_chunks(((y, x, image[:, :, y, x]) for y, x in cut), (40, 23), (3, 5))
        monkeypatch.setattr("r2id.networks.resampler.CHUNK_PIXELS", 100)
        strips = model.encode(image, (3, 5))
    assert torch.allclose(chunks, whole, atol=1e-5)
    assert torch.allclose(strips, whole, atol=1e-5)


def test_no_pieces_are_refused():
    with pytest.raises(InputError, match="no chunks"):
        R2IR(dim=24, num_heads=2, num_blocks=1).encode_chunks([], (8, 8), (2, 2))
