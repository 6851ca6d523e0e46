"""CellField: blocks and pieces of the whole are always computed alike, whatever region is asked for."""

import pytest
import torch

from r2id import R2IR
from r2id.errors import InputError
from r2id.geometry.coordinates import Grid


@pytest.fixture(scope="module")
def field():
    torch.manual_seed(0)
    network = R2IR(
        image_channels=3, latent_channels=8, attention="pyramid", widths=(12, 16, 20, 24), encoder_blocks=(1, 1, 1, 1),
        decoder_blocks=(1, 1, 1, 1), read_channels=4, read_dim=8,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    latent = torch.rand(1, 8, 20, 31, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        yield network.eval().field(latent, canvas=(19.5, 30.25))


@pytest.mark.parametrize("size", [(313, 484), (100, 1000), (7, 9), (1, 1)])
@pytest.mark.parametrize("block", [8, 96])
def test_a_region_has_exactly_the_pixels_of_the_whole(field, size, block, monkeypatch):
    monkeypatch.setattr("r2id.fields.cell_field.BLOCK", block)
    with torch.inference_mode():
        whole = field.render(size)
        regions = [(0, 0, 1, 1), (size[0] // 3, size[1] // 4, size[0] // 3 + 1 + size[0] // 2, size[1])]
        for top, left, bottom, right in regions:
            bottom = min(bottom, size[0])
            part = field.render(size, (top, left, bottom, right))
            assert torch.equal(part, whole[:, :, top:bottom, left:right])


@pytest.mark.parametrize("block", [8, 96])
def test_a_view_is_the_region_but_for_rounding_and_decodes_no_other_cells(field, block, monkeypatch):
    monkeypatch.setattr("r2id.fields.cell_field.BLOCK", block)
    size, region, cells = (5000, 7744), (1300, 2000, 1500, 2304), []
    with torch.inference_mode():
        expected = field.render(size, region)
        latents_of = field._latents_of
        monkeypatch.setattr(field, "_latents_of", lambda window: cells.append(window.size) or latents_of(window))
        monkeypatch.setattr(field, "_kept", None)
        torch.testing.assert_close(field.view(size, region), expected, rtol=0, atol=1e-5)
    assert len(cells) == 1 and max(cells[0]) <= 2 * field._decoder.margin + 4


def test_a_pixel_of_the_lattices_size_is_the_colour_at_its_centre(field):
    size = (312, 484)
    places = Grid.of_size(size).points().relative
    with torch.inference_mode():
        torch.testing.assert_close(field(places).unflatten(-1, size), field.render(size), rtol=0, atol=2e-4)


def test_coordinates_beyond_the_canvas_are_refused(field):
    with pytest.raises(InputError, match=r"\(0, 0.6\)"):
        field(torch.tensor([[0.0, 0.6]]))


def test_a_smaller_picture_is_the_mean_of_a_larger_one(field):
    with torch.inference_mode():
        large = torch.nn.functional.avg_pool2d(field.render((312, 484)), 4)
        small = field.render((78, 121))
    assert (large - small).square().mean() < 0.1 * large.var()
