"""What the web page does with a given picture, without the page."""

import base64
import inspect
import io
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image, ImageDraw

from r2id.app import easel as module
from r2id.app.easel import Easel, Painting, added_pixels, painted_part
from r2id.app.page import build
from r2id.app.painting import UNSAID
from r2id.app.studio import Studio
from r2id.errors import InputError

NONE = {"left": 0, "right": 0, "top": 0, "bottom": 0}
HOW = ("red heart", 3, 2.0, 0)


@pytest.fixture
def easel(word_pipeline):
    return Easel(Studio(word_pipeline))


@pytest.fixture
def painting(easel):
    noise = numpy.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=numpy.uint8)
    return easel.of(Image.fromarray(noise), "noise")


@pytest.fixture
def mask():
    white = Image.new("L", (56, 40))
    ImageDraw.Draw(white).rectangle((20, 10, 35, 25), fill=255)
    return white


def levels(picture):
    return numpy.asarray(picture).astype(int)


def drawn(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def strokes(mask: Image.Image) -> str:
    """What the browser sends of a mask: orange where it is painted, and transparent elsewhere."""
    orange = Image.new("RGBA", mask.size, (255, 102, 0, 255))
    orange.putalpha(mask)
    return drawn(orange)


class TestOutpainting:
    def test_the_picture_keeps_its_pixels_and_gets_those_of_the_pipeline(self, easel, painting):
        added = NONE | {"left": 8, "bottom": 24}
        *steps, made = easel.paint(painting, added, *HOW)
        assert made.size == (64, 64) and made.name == "noise" and made.change == added
        assert made.picture.crop((8, 0, 64, 40)).tobytes() == painting.picture.tobytes()
        with easel.studio.quickly():
            how = {"num_inference_steps": 3, "guidance_scale": 2.0, "generator": torch.Generator().manual_seed(0)}
            expected = easel.pipeline.outpaint(painting.picture, ["red heart"], **added, **how).images[0]
        assert made.picture.tobytes() == expected.tobytes()

    def test_the_known_part_is_seen_from_the_first_moment_and_then_every_step(self, easel, painting):
        first, *steps, _ = easel.paint(painting, NONE | {"right": 56}, *HOW)
        # The last of three steps is taken twice.
        assert len(steps) == 4 and {one.size for one in (first, *steps)} == {(128, 46)}
        small = levels(painting.picture.resize((64, 46), Image.Resampling.BOX))
        assert (levels(first)[:, 68:] == 128).all()
        for one in (first, *steps):
            assert numpy.abs(levels(one)[:, 4:60] - small[:, 4:60]).mean() < 12
        assert numpy.abs(levels(steps[0]) - levels(steps[-1]))[:, 68:].mean() > 1

    @pytest.mark.parametrize(
        ("added", "sentence"),
        [
            ({}, "all 0; give the pixels to add"),
            ({"top": 121}, "top 121 would make a side of 40 pixels 161; it may grow to at most 160"),
        ],
    )
    def test_too_few_and_too_many_pixels_are_refused(self, easel, painting, added, sentence):
        with pytest.raises(InputError, match=sentence):
            list(easel.paint(painting, NONE | added, *HOW))
        assert easel.largest(painting) == (160, 224)

    def test_pictures_grow_to_what_the_page_shows(self, easel):
        wide = easel.of(Image.new("RGB", (700, 4)), "wide")
        assert easel.largest(wide) == (16, 2048)
        with pytest.raises(InputError, match="the page takes at most 2048"):
            list(easel.paint(wide, NONE | {"left": 1349}, *HOW))

    def test_pixels_to_add_are_whole_numbers(self):
        assert added_pixels({"left": 3, "top": "4", "right": None, "other": 1}) == NONE | {"left": 3, "top": 4}
        for sides in (None, 3, {"left": "much"}, {"left": [1]}):
            with pytest.raises(InputError, match="no numbers"):
                added_pixels(sides)
        for count in (-1, 2.5, float("nan"), float("inf"), 1e9):
            with pytest.raises(InputError, match=r"left is .*; it must be a whole number from 0 to 2048"):
                added_pixels({"left": count})


class TestInpainting:
    def test_only_the_painted_part_changes(self, easel, painting, mask):
        made = list(easel.paint(painting, mask, *HOW))[-1]
        changed = (levels(made.picture) != levels(painting.picture)).any(2)
        assert not changed[levels(mask) == 0].any() and changed[levels(mask) == 255].mean() > 0.9

    def test_without_a_label_the_known_part_decides(self, easel, painting, mask):
        said, unsaid = (list(easel.paint(painting, mask, label, 3, 2.0, 0))[-1].picture for label in ("rocket", None))
        with easel.studio.quickly():
            how = {"num_inference_steps": 3, "generator": torch.Generator().manual_seed(0)}
            expected = easel.pipeline.inpaint(painting.picture, mask, **how).images[0]
        assert unsaid.tobytes() == expected.tobytes() != said.tobytes()

    def test_digits_are_inpainted_on_the_canvas_of_their_model(self, make_pipeline):
        easel = Easel(Studio(make_pipeline(canvas=(32, 32))))
        painting = easel.of(Image.new("RGB", (24, 16), "orange"), "orange")
        assert painting.picture.mode == "L"
        half = Image.new("L", (24, 16))
        half.paste(255, (0, 0, 12, 16))
        first, *_, made = easel.paint(painting, half, "3", 2, 1.0, 0)
        assert first.size == (32, 21) and made.size == (16, 24)
        assert made.picture.crop((12, 0, 24, 16)).tobytes() == painting.picture.crop((12, 0, 24, 16)).tobytes()

    def test_a_mask_is_what_is_opaque(self, mask):
        assert painted_part(strokes(mask), (40, 56)).tobytes() == mask.tobytes()

    @pytest.mark.parametrize(
        ("sent", "sentence"),
        [
            (None, "cannot be read"),
            ("data:image/png;base64,!", "cannot be read"),
            ("data:image/png;base64,AAAA", "cannot be read"),
            ("http://elsewhere/mask.png", "cannot be read"),
            (strokes(Image.new("L", (56, 41), 255)), "of another picture"),
            (strokes(Image.new("L", (56, 40), 127)), "nothing is painted over"),
            (strokes(Image.new("L", (56, 40), 255)), "everything is painted over; leave a part that stays"),
        ],
        ids=["nothing", "no code", "no picture", "an address", "another size", "empty", "full"],
    )
    def test_other_masks_are_refused(self, sent, sentence):
        with pytest.raises(InputError, match=sentence):
            painted_part(sent, (40, 56))


class TestUploads:
    def test_a_picture_is_upright_on_white_and_in_colour(self, easel, tmp_path):
        Image.new("LA", (30, 20), (0, 0)).save(tmp_path / "clear.png")
        opened = easel.open(str(tmp_path / "clear.png"))
        assert opened.picture.mode == "RGB" and (levels(opened.picture) == 255).all()
        assert opened.size == (20, 30) and opened.name == "clear" and opened.before == ()

    def test_a_large_one_is_made_smaller(self, easel, tmp_path):
        Image.new("RGB", (1536, 400), "red").save(tmp_path / "wide.png")
        assert easel.open(str(tmp_path / "wide.png")).size == (200, 768)

    def test_what_is_no_picture_is_refused_by_its_name(self, easel, tmp_path):
        (tmp_path / "note.png").write_text("no picture")
        with pytest.raises(InputError, match="^note.png cannot be read"):
            easel.open(str(tmp_path / "note.png"))
        with pytest.raises(InputError, match="no picture is chosen"):
            easel.open(None)


class TestHistory:
    def test_changes_are_undone_one_by_one(self, easel, painting, mask):
        once = list(easel.paint(painting, mask, *HOW))[-1]
        twice = list(easel.paint(once, NONE | {"top": 4}, *HOW))[-1]
        assert twice.before == (painting.picture, once.picture)
        assert easel.undone(twice).picture is once.picture
        assert easel.undone(easel.undone(twice)).picture is painting.picture
        with pytest.raises(InputError, match="no earlier picture"):
            easel.undone(painting)

    def test_a_change_is_made_again_of_the_picture_before_it(self, easel, painting, mask):
        once = list(easel.paint(painting, mask, *HOW))[-1]
        before, change = easel.again(once)
        assert before.picture is painting.picture and change is mask
        other = list(easel.paint(before, change, *HOW[:3], 1))[-1]
        assert other.picture.tobytes() != once.picture.tobytes()
        for nothing in (painting, easel.undone(once)):
            with pytest.raises(InputError, match="nothing is painted yet"):
                easel.again(nothing)

    def test_few_earlier_pictures_are_kept(self, easel, painting, mask):
        many = replace(painting, before=tuple(Image.new("RGB", (1, 1)) for _ in range(30)))
        assert len(list(easel.paint(many, mask, *HOW))[-1].before) == module.MOST_BEFORE


def test_limits_of_sampling_hold_here_too(easel, painting, monkeypatch):
    for how, sentence in (((0, 2.0, 0), "number of steps is 0"), ((3, 0, 0), "guidance"), ((3, 2.0, -1), "seed")):
        with pytest.raises(InputError, match=sentence):
            list(easel.paint(painting, NONE | {"top": 4}, "rocket", *how))
    monkeypatch.setattr(module, "LONGEST", 0.0)
    with pytest.raises(InputError, match="takes more than 0 s; take a smaller picture or fewer steps"):
        list(easel.paint(painting, NONE | {"top": 4}, *HOW))


class TestThePage:
    """Its handlers, by name; each lists all that it has shown in turn."""

    @pytest.fixture
    def handlers(self, easel):
        def listed(handler):
            return lambda *inputs: (
                list(handler(*inputs)) if inspect.isgeneratorfunction(handler) else [handler(*inputs)]
            )

        return {function.name: listed(function.fn) for function in build({"Digits": easel.studio}).fns.values()}

    def event(self, **data):
        return type("Event", (), {"_data": data})()

    def test_a_released_edge_is_painted_and_can_be_undone_and_varied(self, handlers, painting):
        first, *_, last = handlers["change"](painting, "", 3, 2.0, 0, self.event(added={"left": 8}))
        assert not first[0]["ready"] and first[0]["text"] == "begins …"
        value, made, undo, again = last
        assert value["ready"] and value["text"] == "40x64" and value["file"] == "noise-40x64.png"
        assert (value["height"], value["width"], value["most"]) == (40, 64, (160, 256))
        assert undo.interactive and again.interactive
        *_, (_, other, _, _, seed) = handlers["again"](made, "", 3, 2.0, 0)
        assert seed == 1 and other.before == made.before and other.picture.tobytes() != made.picture.tobytes()
        [(value, back, undo, _)] = handlers["undo"](made)
        assert isinstance(back, Painting) and back.picture is painting.picture and not undo.interactive

    def test_a_mask_is_painted(self, handlers, painting, mask):
        *_, (_, made, _, _) = handlers["change"](painting, "rocket", 3, 2.0, 0, self.event(mask=strokes(mask)))
        assert (levels(made.picture) != levels(painting.picture)).any(2)[levels(mask) == 255].mean() > 0.9

    def test_after_an_error_the_picture_is_there_again(self, easel, painting, monkeypatch):
        monkeypatch.setattr(module, "LONGEST", 0.0)
        change = next(one.fn for one in build({"Digits": easel.studio}).fns.values() if one.name == "change")
        shown = []
        with pytest.raises(Exception, match="takes more than"):
            for one in change(painting, "", 3, 2.0, 0, self.event(added={"left": 8})):
                shown.append(one)
        assert [one[0]["ready"] for one in shown] == [False, True] and shown[-1][1] is painting

    def test_the_picked_picture_comes_with_its_prompt(self, easel, handlers):
        session = list(easel.studio.generate(["red heart", "rocket"], (3, 4), (24, 32), 2, 1.0, 0))[-1]
        [(value, painting, *_, tabs, label)] = handlers["open_picked"](replace(session, picked=1))
        assert label == "rocket" and tabs.selected == "painting" and value["file"] == "rocket-24x32.png"
        expected = easel.pipeline.decode(session.latents[1:], (24, 32), (24, 32))[0]
        assert painting.picture.tobytes() == expected.tobytes()

    def test_a_model_of_labels_offers_them_and_none(self, make_pipeline):
        labels = [
            block for block in build({"Digits": Studio(make_pipeline())}).blocks.values() if block.elem_id == "shows"
        ]
        assert [one.value for one in labels] == [UNSAID]
        assert [name for name, _ in labels[0].choices] == [UNSAID, *"0123456789"]
