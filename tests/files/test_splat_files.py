"""Files of splats: what is written is read again, an SVG says the same picture, and bad files end in a sentence."""

import re
import xml.etree.ElementTree as ElementTree

import numpy
import pytest
import torch

from r2id.errors import InputError
from r2id.fields.splats import SplatField
from r2id.files.splats import PROPERTIES, read_splats, write_splats
from r2id.geometry.splats import Splats

SVG = "{http://www.w3.org/2000/svg}"


def some_splats(channels=3, canvas=(2, 3)) -> Splats:
    def uniform(least, most, *shape):
        return least + (most - least) * torch.rand(1, 40, *shape)

    return Splats.of_ellipses(
        uniform(-0.4, 0.4, 2),
        uniform(0.02, 0.15, 2),
        uniform(-1.5, 1.5),
        uniform(-1, 1, channels),
        uniform(0.3, 3),
        canvas,
        background=0.5,
    )


@pytest.mark.parametrize("suffix", [".npz", ".ply"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_again(tmp_path, suffix, channels):
    splats, path = some_splats(channels), tmp_path / f"splats{suffix}"
    write_splats(path, splats)
    read = read_splats(path)
    assert read.background == 0.5 and read.extent == splats.extent
    torch.testing.assert_close(read.colours, splats.colours)
    torch.testing.assert_close(SplatField(read).render((40, 60)), SplatField(splats).render((40, 60)))


def test_a_ply_lists_its_properties(tmp_path):
    write_splats(tmp_path / "a.ply", some_splats())
    head, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    assert re.findall(r"property float (\w+)", head.decode()) == list(PROPERTIES)
    assert b"element vertex 40\n" in head and len(body) == 40 * 9 * 4


def shown(path, size) -> torch.Tensor:
    """What a browser with exact numbers would show of an SVG, [3, H, W]: added premultiplied colours, made opaque."""
    root = ElementTree.parse(path).getroot()
    left, top, width, height = map(float, root.get("viewBox").split())
    gradients = {}
    for gradient in root.iter(f"{SVG}radialGradient"):
        stops = [(float(s.get("offset")), float(s.get("stop-opacity"))) for s in gradient]
        gradients[gradient.get("id")] = (level(gradient[0].get("stop-color")), *zip(*stops, strict=True))
    filters = {one.get("id"): one for one in root.iter(f"{SVG}filter")}
    y = top + (torch.arange(size[0]).double()[:, None] + 0.5) / size[0] * height
    x = left + (torch.arange(size[1]).double() + 0.5) / size[1] * width
    picture = level(root.find(f"{SVG}rect").get("fill"))[:, None, None].expand(3, *size)
    for group in root.iter(f"{SVG}g"):
        box = filters[group.get("filter")[5:-1]]
        first_x, first_y, wide, high = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        inside = (x >= first_x) & (x < first_x + wide) & (y >= first_y) & (y < first_y + high)
        colour, alpha = torch.zeros(3, *size).double(), torch.zeros(size).double()
        for circle in group:
            assert "plus-lighter" in circle.get("style") and float(circle.get("fill-opacity")) <= 1
            a, b, c, d, e, f = map(float, re.findall(r"[-\d.e]+", circle.get("transform").removeprefix("matrix")))
            across = torch.linalg.inv(torch.tensor([[a, c], [b, d]]).double())
            inner = torch.stack([(x - e).expand(size), (y - f).expand(size)], -1) @ across.T
            of_colour, offsets, opacities = gradients[circle.get("fill")[5:-1]]
            reach = (inner.norm(dim=-1) / float(circle.get("r"))).numpy()
            opacity = torch.from_numpy(numpy.interp(reach, offsets, opacities)) * float(circle.get("fill-opacity"))
            colour, alpha = colour + opacity * of_colour[:, None, None], alpha + opacity
        # Browsers cut off what is more than 1.
        assert alpha[inside].max() <= 1.03
        opaque = (255 * alpha).clamp(max=1)
        picture = torch.where(inside, opaque * colour / alpha.clamp_min(1e-12) + (1 - opaque) * picture, picture)
    return picture


def level(colour: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(colour[1:]))).double() / 127.5 - 1


@pytest.mark.parametrize("channels", [1, 3])
def test_an_svg_says_the_same_picture(tmp_path, channels):
    splats = some_splats(channels)
    write_splats(tmp_path / "a.svg", splats)
    picture = SplatField(splats).render((30, 45))[0].double()
    psnr = 10 * torch.log10(4 / (shown(tmp_path / "a.svg", (30, 45)) - picture).square().mean())
    assert psnr > 36


def test_files_of_other_kinds_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"its suffix must be \.npz, \.ply, \.svg"):
        write_splats(tmp_path / "a.png", some_splats())
    splats = some_splats()
    two = Splats(
        *(torch.cat([one, one]) for one in (splats.centres, splats.shapes, splats.colours, splats.log_weights))
    )
    with pytest.raises(InputError, match="there are splats of 2 pictures; a file holds those of 1"):
        write_splats(tmp_path / "a.npz", two)
    assert not list(tmp_path.iterdir())


HEADER = """ply
format binary_little_endian 1.0
comment r2id splats rgb 1.0 1.0 -1.0
element vertex {count}
property float x
property float y
property float scale_0
property float scale_1
property float rotation
property float weight
property float red
property float green
property float blue
end_header
"""


def of_header(tmp_path, header: str, numbers=(0, 0, 0.1, 0.1, 0, 1, 0, 0, 0)):
    path = tmp_path / "a.ply"
    path.write_bytes(header.encode() + numpy.array(numbers, "<f4").tobytes())
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("property float y\n", "property float y\nproperty float z\n"), "points have three dimensions"),
        (("comment r2id splats", "comment made elsewhere"), "another program wrote it; splats have the float"),
        (("property float weight\n", ""), "another program wrote it"),
        (("binary_little_endian", "ascii"), "another program wrote it"),
        (("float red", "uchar red"), "another program wrote it"),
        (("vertex {count}", "vertex 1000000000000"), "its header tells of 1000000000000 splats, which are not what 36"),
        (("vertex {count}", "vertex 0"), "its header tells of 0 splats"),
        (("rgb 1.0 1.0", "rgb 1.0 nan"), "the canvas is"),
        (("rgb 1.0 1.0", "rgb"), "cannot be read as splats"),
        (("end_header\n", ""), "it has no header of a .ply"),
    ],
)
def test_a_ply_that_is_not_of_splats_is_refused(tmp_path, changes, sentence):
    path = of_header(tmp_path, HEADER.replace(*changes).replace("{count}", "1"))
    with pytest.raises(InputError, match=sentence) as caught:
        read_splats(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("number", "value", "sentence"),
    [
        (2, 0, "a splat has the scale 0;"),
        (3, float("inf"), "a splat has the scale inf;"),
        (0, float("nan"), "the centres of splats hold nan"),
        (5, -1, "a splat has the weight -1"),
        (7, 3, "a splat has the colour 3;"),
    ],
)
def test_bad_numbers_in_a_file_are_named(tmp_path, number, value, sentence):
    numbers = [0, 0, 0.1, 0.1, 0, 1, 0, 0, 0]
    numbers[number] = value
    with pytest.raises(InputError, match=sentence):
        read_splats(of_header(tmp_path, HEADER.replace("{count}", "1"), numbers))


def test_a_file_without_splats_is_refused(tmp_path):
    with pytest.raises(InputError, match="there are no splats"):
        read_splats(of_header(tmp_path, HEADER.replace("{count}", "0"), ()))


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"PK\x03\x04 and no more", b"none"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as splats"):
            read_splats(path)
    numpy.savez(path, centres=numpy.zeros((1, 2)))
    with pytest.raises(InputError, match="cannot be read as splats"):
        read_splats(path)


def test_more_than_memory_holds_is_said(tmp_path, monkeypatch):
    write_splats(tmp_path / "a.npz", some_splats())

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(numpy, "load", full)
    with pytest.raises(InputError, match="a.npz holds more splats than memory does"):
        read_splats(tmp_path / "a.npz")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist; give a file of splats"):
        read_splats(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"is no file of splats; give a \.npz or \.ply"):
        read_splats(tmp_path / "a.svg")
