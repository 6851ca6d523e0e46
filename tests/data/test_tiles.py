"""Photographs cut into tiles, and drawings rendered from packages of Iconify."""

import io
import json
import tarfile

import numpy
import pytest
import torch
from PIL import Image

from r2id.data import drawings as drawings_module
from r2id.data.drawings import drawings_of, load_drawings
from r2id.data.tiles import LARGE, MOST_TILES, load_tiles, tiles_of
from r2id.errors import InputError
from r2id.files.svg import render_svg

RED = '<path fill="#f00" d="M0 0h8v16H0z"/>'
BROKEN = '<path fill="url(#no">'


def ramp(height: int, width: int) -> Image.Image:
    """A picture whose colour is its row and column."""
    rows, columns = numpy.mgrid[:height, :width]
    return Image.fromarray(numpy.stack([rows, columns, rows * 0], 2).astype(numpy.uint8))


class TestTiles:
    @pytest.mark.parametrize("size", [(32, 32), (33, 40), (70, 95)])
    def test_tiles_cover_the_whole_picture_once_or_more(self, size):
        seen = numpy.zeros(size, int)
        for tile in tiles_of(ramp(*size), 32):
            values = numpy.asarray(tile)
            assert values.shape == (32, 32, 3)
            top, left = int(values[0, 0, 0]), int(values[0, 0, 1])
            assert (values == numpy.asarray(ramp(*size))[top : top + 32, left : left + 32]).all()
            seen[top : top + 32, left : left + 32] += 1
        assert seen.min() >= 1

    def test_a_large_picture_is_also_cut_at_half_its_size(self):
        side = 16
        edge = LARGE * side
        assert len(tiles_of(ramp(2 * side, edge + 2), side)) == len(tiles_of(ramp(2 * side, edge), side)) + 2
        both = tiles_of(ramp(2 * side, edge + 2), side)
        half = numpy.asarray(ramp(2 * side, edge + 2).reduce(2))
        assert (numpy.asarray(both[-1]) == half[:, -side:]).all()

    def test_one_picture_does_not_outnumber_all_others(self):
        tiles = tiles_of(ramp(200, 200), 8, seed=3)
        assert len(tiles) == 2 * MOST_TILES
        assert tiles[0].tobytes() == tiles_of(ramp(200, 200), 8, seed=3)[0].tobytes()

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_folder_is_cut_and_one_line_tells_what_was_left_out(self, tmp_path, num_workers):
        ramp(40, 64).save(tmp_path / "a.png")
        ramp(32, 32).convert("L").save(tmp_path / "b.png")
        ramp(31, 90).save(tmp_path / "small.png")
        (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
        data = load_tiles(tmp_path, tile_size=32, num_workers=num_workers)
        assert data.images.shape == (7, 3, 32, 32) and data.images.dtype == torch.uint8 and data.labels is None
        assert torch.equal(data.images[0, 0, :, 0], torch.arange(32, dtype=torch.uint8))
        assert "2 photographs, cut into 7 tiles of 32x32" in data.found
        assert "left out 1 photograph smaller than 32x32" in data.found
        assert "left out 1 photograph that cannot be read" in data.found

    def test_a_folder_without_a_tile_says_what_it_holds(self, tmp_path):
        ramp(20, 90).save(tmp_path / "a.png")
        with pytest.raises(InputError, match="no tiles of 32x32; it holds 1 photograph smaller than 32x32"):
            load_tiles(tmp_path, tile_size=32)


@pytest.fixture
def icons() -> dict:
    return {
        "prefix": "little",
        "height": 16,
        "icons": {
            "half": {"body": RED},
            "wide": {"body": '<path d="M0 0h32v16H0z"/>', "width": 32},
            "shifted": {"body": '<path fill="#0f0" d="M8 8h16v16H8z"/>', "left": 8, "top": 8},
            "broken": {"body": BROKEN},
            "wave": {"body": RED + RED},
            "wave-medium-dark-skin-tone": {"body": RED},
            "traffic-light": {"body": RED},
        },
    }


@pytest.fixture
def package(tmp_path, icons):
    data = json.dumps(icons).encode()
    with tarfile.open(tmp_path / "little.tgz", "w:gz") as archive:
        for name in ("package/info.json", "package/icons.json"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return tmp_path / "little.tgz"


class TestDrawings:
    def test_an_svg_is_drawn_at_any_size_on_nothing(self, icons):
        [*svgs], variants = drawings_of(icons)
        assert len(svgs) == 6 and variants == 1
        drawn = numpy.asarray(render_svg(svgs[1], 8))
        assert drawn.shape == (8, 8, 4)
        assert (drawn[:, :4] == (255, 0, 0, 255)).all() and (drawn[:, 4:, 3] == 0).all()
        assert numpy.asarray(render_svg(svgs[2], 8)).min((0, 1)).tolist() == [0, 255, 0, 255]
        # A wide one is centred, not stretched.
        assert numpy.asarray(render_svg(svgs[5], 8))[:, 0, 3].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]
        assert render_svg(svgs[0], 8) is None

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_packages_and_folders_are_rendered_and_one_line_tells_what_was_left_out(
        self, tmp_path, icons, package, num_workers
    ):
        (tmp_path / "icons.json").write_text(json.dumps(icons))
        data = load_drawings([package, tmp_path], drawing_size=16, num_workers=num_workers)
        assert data.images.shape == (10, 3, 16, 16)
        assert data.found == (
            "10 drawings of little, little, rendered at 16x16; left out 2 variants by skin tone; "
            "left out 2 drawings that cannot be rendered"
        )
        # Each lies on one colour, the same whenever it is rendered.
        assert torch.equal(data.images[:5], data.images[5:])
        assert data.images[0, :, 0, 0].tolist() == [255, 0, 0]
        assert (data.images[0, :, :, 8:] == data.images[0, :, :1, 8:9]).all()

    @pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"icons": 3}'])
    def test_what_is_no_package_is_refused_by_name(self, tmp_path, content):
        if content is not None:
            (tmp_path / "icons.json").write_bytes(content)
        with pytest.raises(InputError, match=f"{tmp_path.name}.*npm pack"):
            load_drawings([tmp_path])
        (tmp_path / "other.tgz").write_bytes(content or b"")
        with pytest.raises(InputError, match=r"other\.tgz.*npm pack"):
            load_drawings([tmp_path / "other.tgz"])

    def test_a_package_of_nothing_but_broken_drawings_is_refused(self, tmp_path):
        (tmp_path / "icons.json").write_text(json.dumps({"icons": {"one": {"body": BROKEN}}}))
        with pytest.raises(InputError, match="none of 1 drawing"):
            load_drawings([tmp_path])

    def test_a_missing_renderer_is_named_with_its_extra(self, package, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"r2id\[pictures\]"):
            drawings_module.load_drawings([package])
