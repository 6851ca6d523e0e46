"""The model that the commands take when none is named: the one for what is asked."""

import pytest
from PIL import Image
from running import QUICK

from r2id.cli.models import chosen_model
from r2id.errors import InputError

GREY, COLOUR = Image.new("RGB", (4, 4), "grey"), Image.new("RGB", (4, 4), "orange")


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ({}, "mnist"),
        ({"labels": "3,7-9"}, "mnist"),
        ({"labels": "sunflower"}, "flowers"),
        ({"labels": "Sunflower,oxeye daisy"}, "flowers"),
        ({"prompts": ["red heart"]}, "emoji"),
        ({"prompts": [""]}, "emoji"),
        ({"picture": GREY}, "mnist"),
        ({"picture": GREY.convert("L"), "labels": "rose"}, "flowers"),
        ({"picture": COLOUR}, "flowers"),
        ({"picture": COLOUR, "labels": "rose"}, "flowers"),
        ({"picture": COLOUR, "prompts": ["red heart"]}, "emoji"),
        ({"picture": COLOUR, "prompts": ["red heart"], "labels": "rose", "model": "mine"}, "mine"),
    ],
)
def test_it_follows_what_is_asked(asked, model):
    assert chosen_model(**{"model": None, "labels": None, "prompts": (), "picture": None} | asked) == model


@pytest.mark.parametrize(
    ("labels", "digits_lack", "flowers_lack", "known"),
    [
        ("sunflowr", "sunflowr", "sunflowr", "such as sunflower"),
        ("3,cat", "cat", "3", "which `r2id info flowers` lists"),
        ("rose,zzz", "rose", "zzz", "which `r2id info flowers` lists"),
    ],
)
def test_labels_that_none_knows_are_told_of_both(labels, digits_lack, flowers_lack, known):
    said = rf"mnist lacks '{digits_lack}' and knows 0, 1, .*flowers lacks '{flowers_lack}' and knows 89 labels, {known}"
    with pytest.raises(InputError, match=said):
        chosen_model(None, labels, ())


@pytest.fixture
def loaded(monkeypatch):
    """Names of the models that commands load, in place of loading them."""

    def refuse(name, *how):
        names.append(name)
        raise InputError("loaded")

    names = []
    for command in ("sample", "inpaint"):
        monkeypatch.setattr(f"r2id.cli.{command}.load_pipeline", refuse)
    return names


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (("sample", "--prompt", "red heart", "--size", "512x512"), "emoji"),
        (("sample", "--class", "sunflower"), "flowers"),
        (("sample", "--class", "3"), "mnist"),
        (("sample", "--class", "3", "--model", "mnist-splats"), "mnist-splats"),
        (("outpaint", "colour.jpg", "--left", "3"), "flowers"),
        (("outpaint", "grey.jpg", "--left", "3"), "mnist"),
        (("inpaint", "colour.jpg", "--mask", "grey.jpg"), "flowers"),
        (("inpaint", "colour.jpg", "--mask", "grey.jpg", "--prompt", "a boat"), "emoji"),
        (("inpaint", "colour.jpg", "--mask", "grey.jpg", "--label", "rose", "--model", "emoji"), "emoji"),
    ],
)
def test_commands_load_it(command, loaded, tmp_path, monkeypatch, arguments, model):
    monkeypatch.chdir(tmp_path)
    GREY.save("grey.jpg")
    COLOUR.save("colour.jpg")
    assert command(*arguments, "--output", "out.png") == (2, "", "r2id: loaded\n")
    assert loaded == [model]


def test_a_photograph_keeps_its_colours_whatever_the_default(command, tmp_path):
    given = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn).resize((32, 24)) for turn in range(3)])
    given.save(tmp_path / "photo.png")
    output = tmp_path / "wider.png"
    status, printed, error = command("outpaint", tmp_path / "photo.png", "--left", "8", *QUICK, "--output", output)
    assert (status, printed) == (0, f"{output}: 24x40\n"), error
    assert Image.open(output).crop((8, 0, 40, 24)).tobytes() == given.tobytes()
    output.unlink()
    status, _, error = command("outpaint", tmp_path / "photo.png", "--left", "8", "--model", "mnist")
    assert status == 2 and "the image has colour" in error and len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]
