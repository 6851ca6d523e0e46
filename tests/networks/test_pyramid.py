"""The pyramid form of R2IR: a cosine transform at first, exact in windows, told how dense pixels are (design §3)."""

import json
import math

import pytest
import torch
from torch.nn import functional

from r2id import R2IR
from r2id.errors import InputError
from r2id.geometry.coordinates import Grid
from r2id.networks.pyramid import describe


@pytest.fixture
def pyramid():
    """A small pyramid with every weight random, so that nothing cancels."""
    torch.manual_seed(0)
    network = R2IR(
        image_channels=3,
        latent_channels=8,
        attention="pyramid",
        widths=(12, 16, 20, 24),
        encoder_blocks=(1, 1, 1, 1),
        decoder_blocks=(1, 1, 1, 1),
        read_channels=4,
        read_dim=8,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def picture(height, width, seed=1):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def means(image, side):
    return functional.avg_pool2d(image, side)


def cosine(waves, count):
    """An orthonormal cosine of that many half waves, by its formula."""
    places = (torch.arange(count) + 0.5) / count
    return (math.pi * waves * places).cos() * math.sqrt((2 if waves else 1) / count)


def test_untrained_it_keeps_the_coarsest_cosines():
    # (half waves down, half waves across, difference of colours) and the spread that is expected of each
    expected = [((0, 0, 0), 0.12 / 0.17), ((0, 1, 0), 0.12), ((1, 0, 0), 0.12)]
    expected += [((0, 0, 1), 0.02 / 0.17), ((0, 0, 2), 0.02 / 0.17), ((1, 1, 0), 0.12 / math.sqrt(2))]
    network = R2IR(image_channels=3, latent_channels=6, attention="pyramid", widths=(12, 48, 192, 6)).eval()
    image = picture(32, 48)
    with torch.inference_mode():
        latent = network.encode(image)
        decoded = network.decode(latent, (32, 48))
    kept = torch.zeros_like(image)
    for channel, ((down, across, hue), spread) in enumerate(expected):
        basis = torch.einsum("c,y,x->cyx", cosine(hue, 3), cosine(down, 16), cosine(across, 16))
        for row in range(2):
            for column in range(3):
                cell = (0, slice(None), slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16))
                coefficient = (basis * image[cell]).sum()
                kept[cell] += coefficient * basis
                value = torch.as_tensor(latent)[0, channel, row, column]
                torch.testing.assert_close(value, coefficient / (16 * spread), rtol=0, atol=1e-5)
    torch.testing.assert_close(decoded, kept, rtol=0, atol=1e-5)


def test_untrained_with_all_coefficients_it_returns_what_it_was_given():
    network = R2IR(image_channels=1, latent_channels=256, attention="pyramid", widths=(4, 16, 64, 256)).eval()
    image = picture(32, 16)[:, :1]
    with torch.inference_mode():
        torch.testing.assert_close(network.decode(network.encode(image), (32, 16)), image, rtol=0, atol=1e-5)


def test_a_larger_picture_has_more_latents_and_the_canvas_travels_with_them(pyramid):
    latent = pyramid.encode(picture(40, 100), pixels_per_cell=8)
    assert latent.shape == (1, 8, 5, 13) and latent.canvas == (5, 12.5)


def test_a_size_gives_the_latents_of_a_whole_object(pyramid):
    latent = pyramid.encode(picture(40, 40), (4, 4))
    assert latent.shape == (1, 8, 4, 4) and latent.canvas == (4, 4)


@pytest.mark.parametrize("shape", [(150, 203), (16, 500), (1, 7), (40, 1)])
@pytest.mark.parametrize("block", [8, 16])
def test_blocks_give_what_the_whole_gives(pyramid, shape, block, monkeypatch):
    image, size = picture(*shape), (2 * shape[0] + 1, 2 * shape[1] + 1)
    with torch.inference_mode():
        latent = pyramid.encode(image, pixels_per_cell=4)
        whole = pyramid.decode(latent, size)
        monkeypatch.setattr("r2id.networks.pyramid.BLOCK", block)
        monkeypatch.setattr("r2id.fields.cell_field.BLOCK", block)
        parts = pyramid.encode(image, pixels_per_cell=4)
        torch.testing.assert_close(parts, latent, rtol=0, atol=1e-5)
        torch.testing.assert_close(pyramid.decode(latent, size), whole, rtol=0, atol=1e-5)
        torch.testing.assert_close(pyramid.field_of(image, shape, 4).render(size), whole, rtol=0, atol=1e-5)


def test_a_window_reads_no_pixel_beyond_its_reach(pyramid):
    read = []
    image = picture(400, 400)

    def pixels(region):
        read.append(region)
        return image[:, :, region[0] : region[2], region[1] : region[3]]

    with torch.inference_mode():
        pyramid.field_of(pixels, (400, 400), 4).render((400, 400), (0, 0, 8, 8))
    assert max(region[2] for region in read) < 400 or len(read) > 1
    margin = pyramid.encoder.margin + pyramid.decoder.margin
    changed = image.clone()
    changed[:, :, 4 * (20 + margin) :] = 0.5
    with torch.inference_mode():
        one, other = (pyramid.decode(pyramid.encode(x, pixels_per_cell=4), (400, 400)) for x in (image, changed))
    assert torch.equal(one[:, :, :72], other[:, :, :72]) and not torch.equal(one, other)


def test_training_decodes_what_decode_does(pyramid):
    image = picture(32, 32)
    query = Grid.of_size((48, 48)).crop(slice(3, 20), slice(7, 30))
    with torch.inference_mode():
        expected = pyramid.decode(pyramid.encode(image, (2, 2)), (48, 48))[:, :, 3:20, 7:30]
        given = pyramid(image, (2, 2), query)
    torch.testing.assert_close(given.clamp(-1, 1), expected, rtol=0, atol=1e-5)


def test_a_gradient_reaches_every_weight(pyramid):
    pyramid.train()
    pyramid(picture(32, 32), (2, 2)).square().mean().backward()
    missing = [name for name, one in pyramid.named_parameters() if one.grad is None or not one.grad.any()]
    assert not missing


def test_densities_are_told_apart():
    told = describe(torch.tensor([3.0, 4.0, 8.0, 16.0]))
    assert torch.isfinite(told).all()
    assert torch.cdist(told, told).add(torch.eye(4)).min() > 0.1


def test_scattered_colours_are_encoded_as_the_grid_they_came_from(pyramid):
    image = picture(64, 64)
    smooth = functional.interpolate(functional.avg_pool2d(image, 16), (64, 64), mode="bicubic", align_corners=False)
    grid = Grid.of_size((64, 64))
    order = torch.randperm(64 * 64, generator=torch.Generator().manual_seed(2))
    points = grid.points()
    points = type(points)(points.relative[order], points.cell, points.extent)
    with torch.inference_mode():
        expected = pyramid.encode(smooth, (4, 4))
        latent = pyramid.encode_points(smooth.flatten(2).mT[:, order], points, (4, 4))
    assert (latent - expected).square().mean() < 0.01 * expected.square().mean()


@pytest.mark.parametrize("side", [0, -4, math.inf, math.nan])
def test_impossible_cells_are_refused(pyramid, side):
    with pytest.raises(InputError, match="pixels_per_cell"):
        pyramid.field_of(picture(8, 8), (8, 8), side)


def test_an_argument_of_another_form_is_refused(pyramid, make_resampler):
    with pytest.raises(InputError, match=r"canvas is \(1, 2\); a pyramid takes the canvas from the picture"):
        pyramid.encode(picture(32, 32), canvas=(1, 2))
    with pytest.raises(InputError, match="latent size and pixels_per_cell 8 are given"):
        pyramid.encode(picture(32, 32), (2, 2), pixels_per_cell=8)
    for form in ("local", "global"):
        with pytest.raises(InputError, match=f"pixels_per_cell is 8; attention '{form}' takes a latent size"):
            make_resampler(attention=form).encode(torch.zeros(1, 1, 8, 8), (2, 2), pixels_per_cell=8)


def test_a_picture_is_as_dense_in_latents_as_in_training(pyramid, make_resampler):
    assert pyramid.longer_side((2, 3)) == 48 and pyramid.longer_side((2, 3), (1.5, 2.25)) == 36
    assert make_resampler(sample_size=24).longer_side((2, 3)) == 24


@pytest.mark.parametrize(("form", "arguments"), [("pyramid", ("dim", "sample_size")), ("local", ("widths",))])
def test_its_config_holds_the_settings_of_its_form_alone(pyramid, make_resampler, tmp_path, form, arguments):
    network = pyramid if form == "pyramid" else make_resampler()
    network.register_to_config(training={"steps": 3})
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["attention"] == form and config["training"] == {"steps": 3}
    assert not set(arguments) & set(config)
    with_all = {"dim": 16, "sample_size": 32, "latent_size": 4, "widths": [12, 16, 20, 24]} | config
    (tmp_path / "config.json").write_text(json.dumps(with_all))
    # As saved before.
    assert dict(R2IR.from_pretrained(tmp_path).config).keys() == dict(network.config).keys() | {"_name_or_path"}


def test_what_is_held_for_each_latent_is_said(make_resampler):
    """No layer of the other forms puts out more numbers for a latent, which many latents of few pixels show."""
    sizes = []

    def note(layer, given, put_out):
        if isinstance(put_out, torch.Tensor):
            sizes.append(put_out.numel())

    for form in ("local", "global"):
        network = make_resampler(attention=form)
        for layer in network.modules():
            layer.register_forward_hook(note)
        with torch.inference_mode():
            network.encode(torch.zeros(1, 1, 2, 2), (32, 32))
        assert max(sizes) == 32 * 32 * network.features
        sizes.clear()


def test_a_pyramid_holds_the_latents_alone(pyramid):
    assert pyramid.features == pyramid.encode(picture(32, 32)).numel() // 4


def test_other_forms_need_a_latent_size():
    with pytest.raises(InputError, match="no latent size"):
        R2IR(dim=12, num_heads=2).encode(torch.zeros(1, 1, 8, 8))


def test_it_is_saved_and_loaded_whole(pyramid, tmp_path):
    pyramid.save_pretrained(tmp_path)
    loaded = R2IR.from_pretrained(tmp_path)
    image = picture(20, 30)
    with torch.inference_mode():
        assert torch.equal(loaded.encode(image), pyramid.encode(image))
