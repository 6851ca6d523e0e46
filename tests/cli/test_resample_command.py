"""`r2id resample` of pictures: files, folders, and every bad input in one sentence with nothing written."""

import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy
import pytest
from PIL import Image

from r2id import R2IR


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pyramid"
    shape = {"widths": (12, 12, 12, 12), "encoder_blocks": (0, 0, 0, 0), "decoder_blocks": (0, 0, 0, 0)}
    R2IR(image_channels=3, latent_channels=12, attention="pyramid", **shape).save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, command, monkeypatch, tmp_path):
    """Runs the command in an empty folder; returns its exit status, what it printed and its errors."""
    monkeypatch.chdir(tmp_path)

    return partial(command, "resample", "--model", model)


def photo(name, size=(9, 6), mode="RGB"):
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Image.linear_gradient("L").resize(size).convert(mode).save(name)


def test_one_picture(run):
    photo("photo.jpg")
    assert run("photo.jpg", "--scale", "2.7") == (0, "photo-2.7x.jpg: 16x24\n", "")
    assert run("photo.jpg", "--width", "18", "--output", "new/big.png") == (0, "new/big.png: 12x18\n", "")
    assert run("photo.jpg", "--size", "12x18", "--region", "2,3,9,18", "--output", "part.png")[0] == 0
    whole, part = (numpy.asarray(Image.open(name)) for name in ("new/big.png", "part.png"))
    assert numpy.array_equal(part, whole[2:9, 3:18])


def test_the_same_command_writes_the_same_file_again(run):
    photo("photo.png")
    run("photo.png", "--scale", "2", "--output", "big.png")
    first = Path("big.png").read_bytes()
    assert run("photo.png", "--scale", "2", "--output", "big.png")[0] == 0 and Path("big.png").read_bytes() == first


def test_a_hundred_files_with_a_bad_one(run):
    for number in range(5):
        photo(f"in/{number}.png")
    photo("in/deep/5.jpg")
    Path("in/3.png").write_bytes(Path("in/3.png").read_bytes()[:60])
    Path("in/notes.txt").write_text("no picture")
    photo("other.png", mode="LA")
    status, printed, error = run("in", "other.png", "--scale", "2", "--output", "out")
    assert (status, printed) == (1, "6 pictures in out\n")
    left_out, bad = error.splitlines()
    assert left_out == "r2id: left out 1 file in no picture format" and bad.startswith("r2id: in/3.png cannot be read")
    names = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file())
    assert names == ["0.png", "1.png", "2.png", "4.png", "deep/5.jpg", "other.png", "resample.json"]
    assert json.loads(Path("out/resample.json").read_text())["scale"] == 2
    before = {name: os.stat(f"out/{name}").st_mtime_ns for name in names}
    photo("in/3.png")
    assert run("in", "other.png", "--scale", "2", "--output", "out", "--resume") == (
        0, "1 picture in out\n", "r2id: left out 1 file in no picture format\n"
    )  # fmt: skip
    assert {name: os.stat(f"out/{name}").st_mtime_ns for name in names[:-1]} == {
        name: before[name] for name in names[:-1]
    }
    status, _, error = run("in", "--scale", "3", "--output", "out", "--resume")
    assert status == 2 and "scale is 3.0; what out holds was made with 2.0; give another output" in error


def test_a_second_run_says_what_it_kept(run):
    photo("in/0.png")
    photo("in/1.png")
    resample = ("in", "--scale", "2", "--output", "out")
    assert run(*resample)[1] == "2 pictures in out\n"
    assert run(*resample, "--resume")[1] == "kept all 2 pictures in out\n"
    Path("in/1.png").unlink()
    assert run(*resample, "--resume")[1] == "kept the picture in out\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("photo.png",), "none is given; give one of --scale, --size, --width and --height"),
        (("photo.png", "--scale", "2", "--width", "9"), "--scale and --width is given"),
        (("photo.png", "--scale", "0"), "scale is 0.0; it must be a number above 0"),
        (("photo.png", "--scale", "-2"), "scale is -2.0"),
        (("photo.png", "--scale", "inf"), "scale is inf"),
        (("photo.png", "--scale", "nan"), "scale is nan"),
        (("photo.png", "--scale", "9000", "--output", "big.jpg"), "has at most 65535 along a side"),
        (("photo.png", "--scale", "2000", "--output", "big.webp"), "has at most 16383 along a side"),
        (("photo.png", "--scale", "1e9"), "has at most 2147483647 along a side"),
        (("photo.png", "--scale", "1e300"), "no file holds"),
        (("--scale", "2"), "no picture is given"),
        (("photo.png", "--scale", "2", "--output", "photo.png"), "is a picture that is given"),
        (("photo.png", "--scale", "2", "--output", "big.gif"), "big.gif has no suffix of a file that keeps a picture"),
        (("photo.png", "--scale", "2", "--region", "0,0,13,2"), "region 0,0,13,2 is not inside the picture"),
        (("photo.png", "--scale", "2", "--output", "big.png", "--resume"), "--resume is given for one output file"),
        (("photo.png", "--scale", "2", "--latent-size", "4x4"), "--latent-size is given"),
        (("photo.png", "--scale", "2", "--background", "256", "--output", "big.png"), "background is 256"),
        (("glass.png", "--scale", "2", "--output", "big.jpg"), "cannot hold the picture's transparency"),
        (("moving.gif", "--scale", "2"), "moving.gif is an animation of 2 frames"),
        (("ink.jpg", "--scale", "2"), "ink.jpg is in CMYK without a colour profile"),
        (("cut.png", "--scale", "2"), "cut.png cannot be read as an image"),
        (("missing.png", "--scale", "2"), "missing.png is not a file or a folder"),
        (("photo.png", "glass.png", "--scale", "2"), "no output is given for several pictures"),
    ],
)
def test_bad_input_is_told_in_a_sentence_and_nothing_is_written(arguments, sentence, run):
    photo("photo.png")
    photo("glass.png", mode="LA")
    photo("ink.jpg", mode="CMYK")
    frames = [Image.new("L", (4, 3), level) for level in (0, 99)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:60])
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    status, printed, error = run(*arguments)
    assert (status, printed) == (2, "") and sentence in error and len(error.splitlines()) == 1, error
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_damaged_tiff_is_told_in_one_line(model, tmp_path):
    damaged = io.BytesIO()
    Image.new("RGB", (8, 8)).save(damaged, "TIFF")
    # How the channels lie, and how they are compressed.
    content = damaged.getvalue()
    for tag in (b"\x1c\x01\x03\x00\x01\x00\x00\x00", b"\x03\x01\x03\x00\x01\x00\x00\x00"):
        at = content.index(tag) + len(tag)
        content = content[:at] + b"\x62\x00" + content[at + 2 :]
    (tmp_path / "damaged.tif").write_bytes(content)
    command = [sys.executable, "-m", "r2id", "resample", "damaged.tif", "--model", str(model), "--scale", "2"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 2 and len(finished.stderr.splitlines()) == 1, finished.stderr


def test_a_folder_is_not_searched_for_what_was_written_to_it(run):
    photo("a.png")
    assert run(".", "--scale", "2", "--output", "out")[1] == "1 picture in out\n"
    assert run(".", "--scale", "2", "--output", "out")[1] == "1 picture in out\n"
