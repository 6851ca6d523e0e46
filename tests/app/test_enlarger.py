"""What the web page does with photographs, without the page."""

import base64
import inspect
import io
import math
from types import SimpleNamespace

import gradio
import numpy
import pytest
import torch
from PIL import Image

from r2id.app import enlarger as module
from r2id.app.enlarger import Enlarger, View, valid_view
from r2id.app.page import build
from r2id.batch.picture_field import PictureField
from r2id.errors import InputError
from r2id.runtime.precision import autocast


@pytest.fixture
def loaded():
    """How often the network was loaded."""
    return []


@pytest.fixture
def enlarger(make_pyramid, loaded):
    return Enlarger(lambda: loaded.append(1) or make_pyramid(), shown=(48, 64))


@pytest.fixture
def exactly(monkeypatch):
    """Without bfloat16, whose rounding depends on what is computed together."""
    monkeypatch.setattr(module, "autocast", lambda precision, device: autocast("fp32", device))


def saved(folder, size=(36, 50), name="photo.png", **options):
    levels = numpy.random.default_rng(0).integers(0, 256, (*size, 3), dtype=numpy.uint8)
    Image.fromarray(levels).save(folder / name, **options)
    return str(folder / name)


@pytest.fixture
def photograph(enlarger, tmp_path):
    return enlarger.open(saved(tmp_path))


def levels_of(picture):
    return numpy.asarray(picture).astype(int)


def whole(enlarger, photograph, zoom):
    """The photograph at a zoom, by R2IR."""
    height, width = photograph.size
    return levels_of(Image.open(enlarger.enlarge(photograph, (zoom * height, zoom * width), lambda part: None)))


def test_the_network_is_loaded_once_and_not_before_it_is_needed(enlarger, photograph, loaded):
    view = enlarger.first_view(photograph)
    enlarger.lanczos(photograph, view)
    enlarger.small(photograph)
    assert not loaded
    enlarger.r2ir(photograph, view)
    enlarger.r2ir(photograph, view)
    assert loaded == [1]


def test_a_network_that_is_no_pyramid_is_refused(make_resampler):
    with pytest.raises(InputError, match="no pyramid of RGB"):
        assert Enlarger(make_resampler).network


@pytest.mark.parametrize("view", [View(18, 25, 4), View(0, 0, 4), View(36, 50, 4), View(20.3, 7.1, 8)])
@pytest.mark.usefixtures("exactly")
def test_a_view_is_that_part_of_the_whole_by_both(enlarger, photograph, view):
    top, left, bottom, right = enlarger.region(photograph, view)
    assert (bottom - top, right - left) == enlarger.shown
    part = slice(top, bottom), slice(left, right)
    r2ir = levels_of(enlarger.r2ir(photograph, view))
    assert numpy.abs(r2ir - whole(enlarger, photograph, view.zoom)[part]).max() <= 1
    size = 50 * view.zoom, 36 * view.zoom
    lanczos = Image.open(photograph.path).resize(size, Image.Resampling.LANCZOS)
    assert numpy.abs(levels_of(enlarger.lanczos(photograph, view)) - levels_of(lanczos)[part]).max() <= 1


def test_a_zoom_shows_more_than_the_enlarged_view(enlarger, photograph):
    shallow, deep = View(18, 25, 4), View(18, 25, 64)
    enlarged = enlarger.r2ir(photograph, shallow).resize((16 * 64, 16 * 48), Image.Resampling.BICUBIC)
    middle = enlarged.crop((480, 360, 544, 408))
    assert numpy.abs(levels_of(enlarger.r2ir(photograph, deep)) - levels_of(middle)).mean() > 1


@pytest.mark.usefixtures("exactly")
def test_the_deepest_view_is_still_of_its_place(enlarger, photograph):
    # What is told of the density changes colours a little too.
    torch.nn.init.zeros_(enlarger.network.decoder.told.weight)
    deep = levels_of(enlarger.r2ir(photograph, View(18.5, 25.5, module.MOST_ZOOM)))
    near = levels_of(enlarger.r2ir(photograph, View(18.5, 25.5, 1024)))
    assert deep.shape == (48, 64, 3) and numpy.abs(deep - near[24, 32]).max() <= 4


def test_a_small_photograph_is_shown_whole(enlarger, tmp_path):
    tiny = enlarger.open(saved(tmp_path, (4, 6)))
    view = enlarger.first_view(tiny)
    assert view == View(2, 3, 8) and enlarger.region(tiny, view) == (0, 0, 32, 48)
    assert enlarger.r2ir(tiny, view).size == enlarger.lanczos(tiny, view).size == (48, 32)


def test_only_pixels_near_the_view_are_read(enlarger, tmp_path, monkeypatch):
    large, read = enlarger.open(saved(tmp_path, (2000, 1500))), []
    values = PictureField._values
    monkeypatch.setattr(PictureField, "_values", lambda self, region: read.append(region) or values(self, region))
    enlarger.r2ir(large, View(1000, 750, 4))
    assert read and all(right - left < 250 and bottom - top < 250 for top, left, bottom, right in read)


@pytest.mark.parametrize("asked", [(-5, 99, 3), (18, math.inf, 10**9), (18, 25, 0)])
def test_a_view_beyond_the_limits_is_moved_into_them(photograph, asked):
    y, x, zoom = valid_view(photograph, *asked)
    assert 0 <= y <= 36 and 0 <= x <= 50 and zoom in (2, 4, module.MOST_ZOOM)


class TestUploads:
    def refused(self, enlarger, path):
        with pytest.raises(InputError) as error:
            enlarger.open(str(path))
        assert str(path.parent) not in str(error.value)
        return str(error.value)

    def test_nothing_is_refused(self, enlarger):
        with pytest.raises(InputError, match="no photograph is chosen"):
            enlarger.open(None)

    def test_what_is_no_picture_is_refused(self, enlarger, tmp_path):
        (tmp_path / "note.png").write_text("no picture")
        assert self.refused(enlarger, tmp_path / "note.png").startswith("note.png cannot be read as an image")

    def test_a_truncated_picture_is_refused(self, enlarger, tmp_path):
        path = tmp_path / "half.png"
        saved(tmp_path, name=path.name)
        path.write_bytes(path.read_bytes()[:3000])
        assert self.refused(enlarger, path).startswith("half.png cannot be read as an image")

    def test_an_animation_is_refused(self, enlarger, tmp_path):
        frames = [Image.new("L", (9, 9), level) for level in (0, 99, 200)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert "a.gif is an animation of 3 frames" in self.refused(enlarger, tmp_path / "a.gif")

    def test_one_pixel_is_refused(self, enlarger, tmp_path):
        assert "line.png is 1x50" in self.refused(enlarger, tmp_path / saved(tmp_path, (1, 50), "line.png"))

    def test_cmyk_without_a_profile_is_refused(self, enlarger, tmp_path):
        Image.new("CMYK", (20, 20)).save(tmp_path / "print.jpg")
        assert "CMYK" in self.refused(enlarger, tmp_path / "print.jpg")

    def test_too_many_pixels_are_refused_before_they_are_read(self, enlarger, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "PHOTOGRAPH_PIXELS", 99)
        monkeypatch.setattr(module, "read_picture", None)
        assert "36x50; it must have at most 99 pixels" in self.refused(enlarger, tmp_path / saved(tmp_path))

    def test_a_photograph_that_is_gone_is_named(self, enlarger, tmp_path):
        photograph = enlarger.open(saved(tmp_path))
        (tmp_path / "photo.png").unlink()
        enlarger._picture.cache_clear()
        with pytest.raises(InputError, match="no longer kept"):
            enlarger.small(photograph)

    def test_a_turned_photograph_is_upright(self, enlarger, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        assert enlarger.open(saved(tmp_path, name="turned.jpg", exif=exif)).size == (50, 36)


class TestEnlarging:
    def test_it_has_the_size_and_says_how_far_it_is(self, enlarger, photograph):
        parts = []
        path = enlarger.enlarge(photograph, (72, 100), parts.append)
        assert path.name == "photo-72x100.png" and Image.open(path).size == (100, 72)
        assert parts[0] == 0 and parts == sorted(parts) and parts[-1] == 1

    def test_it_is_a_file_of_the_same_type_that_keeps_what_the_photograph_has(self, enlarger, tmp_path):
        Image.new("RGBA", (20, 16), (9, 99, 199, 120)).save(tmp_path / "glass.webp", lossless=True)
        path = enlarger.enlarge(enlarger.open(str(tmp_path / "glass.webp")), (32, 40), lambda part: None)
        with Image.open(path) as made:
            assert path.suffix == ".webp" and made.mode == "RGBA" and made.size == (40, 32)

    def test_a_size_beyond_the_limits_is_refused(self, enlarger, photograph):
        with pytest.raises(InputError, match="72000x100000; it must have at most"):
            enlarger.enlarge(photograph, (72000, 100000), lambda part: None)

    def test_one_that_takes_too_long_is_stopped_with_a_sentence(self, enlarger, photograph, monkeypatch):
        monkeypatch.setattr(module, "LONGEST", -1.0)
        with pytest.raises(InputError, match="more than -1 s; ask for a smaller size"):
            enlarger.enlarge(photograph, (72, 100), lambda part: None)

    def test_old_ones_are_removed(self, enlarger, photograph, monkeypatch):
        monkeypatch.setattr(module, "MOST_FILES", 2)
        paths = [enlarger.enlarge(photograph, (8, 9 + number), lambda part: None) for number in range(4)]
        assert [path.exists() for path in paths] == [False, True, True, True]


def test_the_example_has_sharp_and_soft_parts(enlarger):
    example = enlarger.example()
    differences = numpy.abs(numpy.diff(levels_of(Image.open(example.path)), axis=1)).max(-1)
    assert example.size == (240, 360) and numpy.median(differences) < 10 and differences.max() > 100


@pytest.fixture
def handlers(enlarger):
    return {function.name: function.fn for function in build({"Photographs": enlarger}).fns.values()}


def opened(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


class TestThePage:
    def test_lanczos_is_there_before_r2ir(self, handlers, enlarger, tmp_path):
        assert inspect.isgeneratorfunction(handlers["open_upload"])
        (first, photograph, *_), (last, *_) = handlers["open_upload"](saved(tmp_path))
        assert first["r2ir"] == first["lanczos"] == last["lanczos"] != last["r2ir"]
        assert (first["ready"], last["ready"]) == (False, True)
        assert opened(last["r2ir"]).size == opened(last["lanczos"]).size == (64, 48)
        assert last["text"] == "12x16 of 36x50 pixels, around row 18, column 25"
        assert photograph == enlarger.open(str(tmp_path / "photo.png"))

    def test_a_view_is_answered_with_itself(self, handlers, enlarger, photograph):
        event = gradio.EventData(None, {"y": 9.25, "x": 31.5, "zoom": 16})
        *_, shown = handlers["look"](photograph, event)
        assert shown["view"] == {"y": 9.25, "x": 31.5, "zoom": 16} and shown["zoom"] == "16"
        view = View(9.25, 31.5, 16)
        assert numpy.array_equal(levels_of(opened(shown["r2ir"])), levels_of(enlarger.r2ir(photograph, view)))
        assert shown["part"]["left"] == pytest.approx(100 * (31.5 - 2) / 50, abs=0.1)

    def test_nothing_is_looked_at_before_there_is_something(self, handlers):
        assert list(handlers["look"](None, SimpleNamespace())) == [gradio.skip()]
        with pytest.raises(gradio.Error, match="no photograph yet"):
            handlers["enlarge"](None, "×2", None)

    @pytest.mark.parametrize(("scale", "width", "size"), [("×3", None, (150, 108)), ("own width", 25, (25, 18))])
    def test_an_enlargement_is_offered(self, handlers, photograph, scale, width, size):
        file = handlers["enlarge"](photograph, scale, width, lambda *said: None)
        assert Image.open(file.value["path"]).size == size

    def test_a_width_is_needed_where_it_is_asked_for(self, handlers, photograph):
        with pytest.raises(gradio.Error, match="the width is None"):
            handlers["enlarge"](photograph, "own width", None)
