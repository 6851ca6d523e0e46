"""What the web page does with a pipeline, without the page."""

import base64
import gc
import inspect
import io
import os
import threading
from dataclasses import replace

import gradio
import numpy
import pytest
import torch
from PIL import Image

from r2id.app import studio as module
from r2id.app.generator import JOINT, ONE, PANORAMA
from r2id.app.page import build
from r2id.app.parts import data_address
from r2id.app.session import WHOLE, Session, zoomed
from r2id.app.studio import Studio
from r2id.conditioning.labels import LabelConditioner
from r2id.errors import InputError
from r2id.files.latents import Latents
from r2id.geometry.sizes import size_text
from r2id.runtime.precision import autocast


@pytest.fixture
def studio(make_pipeline):
    return Studio(make_pipeline(canvas=(32, 32)))


def made_by(studio, labels=("1", "2"), latent_size=(2, 3), size=(9, 6), steps=3, guidance=2.0, seed=0, **canvas):
    return list(studio.generate(labels, latent_size, size, steps, guidance, seed, **canvas))


def test_every_step_is_shown_and_the_last_is_the_session(studio):
    *steps, session = made_by(studio)
    assert [len(pictures) for pictures in steps] == [2, 2, 2]
    assert isinstance(session, Session) and session.latents.shape[-2:] == (2, 3) and session.labels == ("1", "2")
    assert [picture.size for picture in studio.pictures(session)] == [(6, 9), (6, 9)]


def test_the_same_seed_gives_the_same_and_another_another(studio):
    first, again, other = (made_by(studio, seed=seed)[-1].latents for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_visitor_who_leaves_stops_the_work(studio):
    before = threading.active_count()
    running = studio.generate(["1"], (2, 2), (8, 8), 100, 1.0, 0)
    next(running)
    running.close()
    assert threading.active_count() == before


def test_work_that_takes_too_long_is_stopped_with_a_sentence(studio, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 0.0)
    with pytest.raises(InputError, match="takes more than 0 s"):
        made_by(studio)


def test_a_model_of_texts_has_a_page_of_texts(text_pipeline):
    studio = Studio(text_pipeline)
    boxes = [block for block in build({"Digits": studio}).blocks.values() if isinstance(block, gradio.Textbox)]
    assert [box.elem_id for box in boxes] == ["texts", "shows"]
    session = made_by(studio, labels=["a red/../circle", "big square"])[-1]
    assert studio.files(session)[0].name == "r2id-a_red_.._circle-9x6.png"
    assert studio.files(made_by(studio, labels=["心" * 100])[-1])[0].name == f"r2id-{'心' * 53}-9x6.png"
    with pytest.raises(InputError, match="there is no prompt; write one"):
        made_by(studio, labels=[])


BEYOND = [
    ({"labels": ()}, "no label"),
    ({"labels": ("1",) * 21}, "at most 20"),
    ({"labels": ("cat",)}, "cat"),
    ({"latent_size": (65, 2)}, "65x2; the page takes at most 64"),
    ({"latent_size": (0, 2)}, "latent size"),
    ({"size": (4096, 2)}, "4096x2; the page takes at most 2048"),
    ({"size": (2048, 2048), "labels": ("1",) * 3}, "3 pictures of 2048x2048"),
    ({"steps": 101}, "steps is 101; it must be from 1 to 100"),
    ({"guidance": float("nan")}, "guidance is nan"),
    ({"guidance": None}, "guidance is None"),
    ({"seed": -1}, "seed is -1"),
]


@pytest.mark.parametrize(("arguments", "expected"), BEYOND, ids=[expected for _, expected in BEYOND])
def test_what_is_beyond_the_limits_is_refused(studio, arguments, expected):
    with pytest.raises(InputError, match=expected):
        made_by(studio, **arguments)


def quickly_decoded(studio, latents, size):
    """As the page shows it."""
    with autocast("bf16", "cpu"):
        return numpy.asarray(studio.pipeline.decode(latents, size)[0])


@pytest.mark.parametrize("band", [1, 30, 70, 1000])
def test_pictures_are_the_same_in_any_bands_but_for_rounding(studio, monkeypatch, band):
    session = made_by(studio)[-1]
    monkeypatch.setattr(module, "BAND", band)
    for number, picture in enumerate(studio.pictures(session)):
        whole = quickly_decoded(studio, session.latents[number : number + 1], session.size)
        assert numpy.abs(numpy.asarray(picture).astype(int) - whole).max() <= 2


def test_decoding_that_takes_too_long_is_stopped_with_a_sentence(studio, monkeypatch):
    session = made_by(studio)[-1]
    monkeypatch.setattr(module, "LONGEST", -1.0)
    with pytest.raises(InputError, match="ask for a smaller size"):
        studio.pictures(session)


def test_the_part_that_is_looked_at_is_rendered_from_the_field(studio, monkeypatch):
    monkeypatch.setattr(module, "SHOWN", 24)
    session = made_by(studio)[-1]
    whole = numpy.asarray(studio.look(session))
    assert whole.shape == (24, 16)
    assert numpy.array_equal(whole, quickly_decoded(studio, session.latents[:1], (24, 16)))
    part = Session(session.latents, session.labels, session.canvas, session.size, 1, (0.5, 0.0, 1.0, 0.75))
    large = quickly_decoded(studio, session.latents[1:], (48, 32))
    assert numpy.array_equal(numpy.asarray(studio.look(part)), large[24:, :24])


@pytest.fixture
def handlers(studio):
    """What the page does when something is clicked, by name; each lists all that it has shown in turn."""

    def listed(handler):
        return lambda *inputs: list(handler(*inputs)) if inspect.isgeneratorfunction(handler) else [handler(*inputs)]

    return {function.name: listed(function.fn) for function in build({"Digits": studio}).fns.values()}


class TestDecodingAgain:
    def opened(self, address):
        return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))

    @pytest.mark.parametrize(("size", "views"), [((300, 200), 0), ((24, 10), 0), ((24, 16), 0), ((9, 6), 1)])
    def test_the_field_is_rendered_once_where_that_is_enough(self, studio, handlers, monkeypatch, size, views):
        monkeypatch.setattr(module, "SHOWN", 24)
        session, looked = made_by(studio)[-1], []
        look = studio.look
        monkeypatch.setattr(studio, "look", lambda one: looked.append(one) or look(one))
        *_, (pictures, view, latent, line, after) = handlers["decode"](session, *size)
        assert len(looked) == views
        assert [self.opened(one["address"]).size for one in pictures] == [size[::-1]] * 2
        assert [one["name"] for one in pictures] == ["1", "2"]
        assert latent == gradio.skip() and line == f"2 latents of 2x3, decoded at {size_text(size)}"
        assert after.size == size and after.view == WHOLE
        shown, rendered = (numpy.asarray(one).astype(int) for one in (self.opened(view["picture"]), look(after)))
        assert shown.shape == rendered.shape and numpy.abs(shown - rendered).mean() < 3

    def test_pictures_are_there_before_the_view(self, studio, handlers, monkeypatch):
        monkeypatch.setattr(module, "SHOWN", 24)
        first, last = handlers["decode"](made_by(studio)[-1], 9, 6)
        assert first[0] == last[0] and first[1:] == (gradio.skip(),) * 4

    def test_the_picked_one_is_viewed(self, studio, handlers, monkeypatch):
        monkeypatch.setattr(module, "SHOWN", 24)
        session = replace(made_by(studio)[-1], picked=1)
        *_, (pictures, view, _, _, _) = handlers["decode"](session, 24, 10)
        assert view["picture"] == pictures[1]["address"]

    def test_a_latent_that_is_new_is_shown(self, studio, handlers, tmp_path):
        *_, (_, _, latent, line, session) = handlers["generate"](["3"], 2, 3, 9, 6, 2, 1.0, 0)
        assert latent == data_address(studio.channels(session)) and line == "1 latent of 2x3, decoded at 9x6"
        Image.new("L", (8, 4)).save(tmp_path / "mine.png")
        *_, (_, _, latent, line, session) = handlers["encode"](str(tmp_path / "mine.png"), 2, 3, 9, 6)
        assert latent == data_address(studio.channels(session)) and line == "1 latent of 2x3, decoded at 9x6"

    def test_earlier_pictures_are_kept_as_they_were(self, studio, handlers):
        [*_, first], [*_, second] = made_by(studio), made_by(studio, labels=("3",), seed=1)
        [(earlier, _, shown)] = handlers["keep"](first, ())
        assert not shown.visible
        [(earlier, gallery, shown)] = handlers["keep"](second, earlier)
        assert shown.visible and [one["name"] for one in gallery] == ["3", "1, 2"]
        assert self.opened(gallery[0]["address"]).size == (80, 120)
        *_, (pictures, _, _, _, session) = handlers["go_back"](earlier, gradio.EventData(None, {"index": 1}))
        assert session is first and [one["name"] for one in pictures] == ["1", "2"]

    def test_nothing_is_decoded_before_there_is_something(self, handlers):
        assert handlers["decode"](None, 9, 6) == [(gradio.skip(),) * 5]


def test_parts_of_parts():
    assert zoomed(WHOLE, (0.25, 0.5, 0.75, 1.0)) == (0.25, 0.5, 0.75, 1.0)
    assert zoomed((0.25, 0.5, 0.75, 1.0), (0.5, 0.0, 1.0, 0.5)) == (0.5, 0.5, 0.75, 0.75)
    assert zoomed(WHOLE, (-3.0, -1.0, 2.0, 0.5)) == (0.0, 0.0, 1.0, 0.5)
    # Nothing is left to see in a part this thin.
    assert zoomed(WHOLE, (0.5, 0.5, 0.5, 0.6)) == WHOLE


class TestUploads:
    def save(self, tmp_path, size=(20, 10), name="picture.png"):
        path = tmp_path / name
        Image.new("RGB", size, (200, 100, 50)).save(path)
        return str(path)

    def test_an_upload_is_encoded_in_its_own_proportions(self, studio, tmp_path):
        session = studio.encode(self.save(tmp_path), (2, 4), (16, 8))
        assert session.canvas == (10, 20) and session.latents.shape[-2:] == (2, 4)
        assert [picture.size for picture in studio.pictures(session)] == [(8, 16)]

    def test_what_is_no_picture_is_refused(self, studio, tmp_path):
        (tmp_path / "note.png").write_text("no picture")
        with pytest.raises(InputError, match="^note.png cannot be read as an image"):
            studio.encode(str(tmp_path / "note.png"), (2, 2), (8, 8))
        with pytest.raises(InputError, match="no picture is uploaded"):
            studio.encode(None, (2, 2), (8, 8))

    def test_too_many_pixels_are_refused_before_they_are_read(self, studio, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "UPLOAD_PIXELS", 199)
        monkeypatch.setattr(module, "read_image", None)
        with pytest.raises(InputError, match="10x20; it must have at most 199 pixels"):
            studio.encode(self.save(tmp_path), (2, 2), (8, 8))


def test_downloads_are_the_picture_and_latents_that_decode_to_it(studio):
    session = made_by(studio)[-1]
    picture, latents = studio.files(session)
    assert picture.name == "r2id-1-9x6.png" and Image.open(picture).size == (6, 9)
    assert latents.suffix == ".safetensors"
    loaded = Latents.load(latents)
    assert loaded.labels == ("1", "2") and torch.allclose(loaded.values, session.latents, atol=1e-3)


def test_old_downloads_are_removed(studio, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    session = made_by(studio)[-1]
    folders = [studio.files(session)[0].parent for _ in range(4)]
    assert [folder.exists() for folder in folders].count(True) == 2 and folders[-1].exists()
    assert all(studio.folder in folder.parents for folder in folders)


def test_old_uploads_are_removed_when_another_is_used(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    uploads = [studio.folder / str(number) / "picture.png" for number in range(4)]
    for number, path in enumerate(uploads):
        path.parent.mkdir()
        Image.new("L", (4, 4)).save(path)
        os.utime(path.parent, (number, number))
    studio.encode(str(uploads[-1]), (2, 2), (8, 8))
    assert [path.exists() for path in uploads] == [False, False, True, True]


def test_the_files_of_visitors_go_with_the_studio(make_pipeline):
    studio = Studio(make_pipeline())
    folder = studio.files(made_by(studio)[-1])[0].parent
    del studio
    gc.collect()
    assert not folder.parent.exists()


def test_the_latent_is_shown_channel_by_channel(studio):
    session = made_by(studio)[-1]
    assert studio.channels(session).width > 100


def test_a_model_of_pixels_has_no_page(make_pipeline):
    with pytest.raises(InputError, match="works on pixels"):
        Studio(make_pipeline(resampler=None))


def test_the_page_starts_from_what_the_model_says(make_pipeline):
    pipeline = make_pipeline(canvas=(64, 48))
    defaults = {"latent_size": (16, 12), "num_inference_steps": 7, "guidance_scale": 1.5}
    pipeline.register_to_config(generation_defaults=defaults)
    studio = Studio(pipeline)
    blocks = {getattr(block, "label", None): block for block in build({"Digits": studio}).blocks.values()}
    names = ("Steps", "Guidance", "Latent height", "Latent width", "Picture height", "Picture width")
    assert [blocks[name].value for name in names] == [7, 1.5, 16, 12, 64, 48]
    assert studio.sizes[:3] == [(64, 48), (128, 96), (54, 27)]
    assert blocks["Picture sizes, height × width"].value == "64x48"


class TestProportions:
    """Several canvases as one joint sample, and panoramas."""

    @pytest.fixture
    def studio(self, word_pipeline):
        return Studio(word_pipeline)

    def jointly(self, studio):
        return list(studio.generate(["rocket", "heart"], (4, 4), (48, 48), 2, 1.5, 0, [(1, 1), (9, 16)]))

    def test_each_label_is_shown_on_every_canvas(self, studio):
        *steps, session = self.jointly(studio)
        assert [[picture.size for picture in one] for one in steps] == [[(128, 128), (128, 72)] * 2] * 2
        assert [one.grid for one in session.canvases] == [(4, 4), (3, 5)] and session.count == 4
        assert [picture.size for picture in studio.pictures(session)] == [(48, 48), (64, 36)] * 2
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        with autocast("bf16", "cpu"):
            how = {"num_inference_steps": 2, "guidance_scale": 1.5, "generator": generators, "joint": True}
            expected = studio.pipeline(["rocket", "heart"], (4, 4), [(48, 48), (36, 64)], **how).latents
        for one, latents in zip(session.canvases, expected, strict=True):
            assert torch.equal(one.latents, latents.float())

    def test_any_of_them_is_looked_at_saved_and_decoded_again(self, studio):
        session = replace(self.jointly(studio)[-1], picked=3)
        one = session.picked_one
        assert (
            one.labels == ("heart",)
            and one.size == (36, 64)
            and torch.equal(one.latents, session.others[0].latents[1:])
        )
        assert studio.look(session).size == (480, 270)
        picture, latents = studio.files(session)
        assert picture.name == "r2id-heart-36x64.png" and Image.open(picture).size == (64, 36)
        assert torch.allclose(Latents.load(latents).values, session.others[0].latents, atol=1e-2, rtol=1e-2)
        again = session.resized((96, 96))
        assert [one.size for one in again.canvases] == [(96, 96), (72, 128)] and again.view == WHOLE

    def test_a_panorama_is_wider_and_looked_at_from_one_field(self, studio):
        *steps, session = studio.generate(["rocket"], (4, 4), (32, 32), 2, 1.0, 0, times_as_wide=3)
        assert [one[0].size for one in steps] == [(128, 43)] * 2
        assert session.grid == (4, 12) and session.size == (32, 96)
        generator = torch.Generator().manual_seed(0)
        with autocast("bf16", "cpu"):
            how = {"num_inference_steps": 2, "guidance_scale": 1.0, "generator": [generator]}
            expected = studio.pipeline.panorama(["rocket"], (32, 96), (4, 4), **how)
        assert torch.equal(session.latents, expected.latents.float())
        shown = studio.pictures(session)[0]
        assert numpy.abs(numpy.asarray(shown).astype(int) - numpy.asarray(expected.images[0])).mean() < 2
        assert studio.look(session).size == (576, 192)

    def test_the_limits_count_every_canvas(self, studio):
        with pytest.raises(InputError, match="33 pictures are asked for"):
            made_by(studio, labels=["heart"] * 11, proportions=[(1, 1), (9, 16), (16, 9)])
        with pytest.raises(InputError, match="256x4096; the page takes at most 2048"):
            made_by(studio, labels=["heart"], size=(256, 512), times_as_wide=8)

    def test_the_page_wants_two_proportions_and_makes_several_of_each(self, studio):
        generate = next(one.fn for one in build({"Digits": studio}).fns.values() if one.name == "generate")
        with pytest.raises(gradio.Error, match="1 proportions are chosen; choose at least 2"):
            list(generate("heart", 4, 4, 32, 32, 2, 1.0, 0, 1, JOINT, ["1:1"]))
        *_, (pictures, _, _, line, session) = generate("heart\n\n rocket ", 4, 4, 32, 32, 1, 1.0, 0, 2)
        assert len(pictures) == 4 and session.labels == ("heart", "heart", "rocket", "rocket")
        assert line == "4 latents of 4x4, decoded at 32x32"
        *_, (_, _, _, line, _) = generate("heart", 4, 4, 32, 32, 1, 1.0, 0, 1, JOINT, ["1:1", "9:16"])
        assert line == "2 latents of 4x4, 5x3, decoded at 32x32, 43x24"

    def test_only_a_pyramid_offers_panoramas(self, studio, make_pipeline):
        for one, expected in ((studio, [ONE, JOINT, PANORAMA]), (Studio(make_pipeline()), [ONE, JOINT])):
            radio = next(block for block in build({"Digits": one}).blocks.values() if block.elem_id == "canvas")
            assert [name for name, _ in radio.choices] == expected

    def test_many_classes_are_searched_for_by_name(self, make_pipeline):
        pipeline = make_pipeline()
        names = tuple(f"class {number}" for number in range(30))
        pipeline.register_modules(conditioner=LabelConditioner(names, dim=8))
        classes = next(
            block for block in build({"Digits": Studio(pipeline)}).blocks.values() if block.elem_id == "classes"
        )
        assert classes.multiselect and len(classes.choices) == 30


def test_words_that_are_not_known_are_told_to_every_visitor(word_pipeline, text_pipeline, make_pipeline):
    studio = Studio(word_pipeline)
    told = ["the word 'rockte' is not known, and read as 'rocket'", "the word 'qx' is not known, and left out"]
    for _ in range(2):
        assert studio.remarks(["red rockte", "a blue qx"]) == told
    assert Studio(text_pipeline).remarks(["qx"]) == [] == Studio(make_pipeline()).remarks(["3"])
