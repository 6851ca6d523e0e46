"""`r2id encode` and `decode` of one photograph: the bytes and PSNR that are printed are those of the files."""

import re
from dataclasses import replace

import numpy
import pytest
from PIL import Image

from r2id.files.latents import Latents


@pytest.fixture
def run(command, monkeypatch, tmp_path):
    """Runs a command with the bundled pictures in an empty folder that holds photo.png, 40 × 56."""
    monkeypatch.chdir(tmp_path)
    y, x = numpy.mgrid[:40, :56]
    levels = numpy.stack([128 + 90 * numpy.sin(y / 7), 4 * x, 2 * (x + y)], -1).clip(0, 255).astype(numpy.uint8)
    Image.fromarray(levels).save("photo.png")

    return command


ENCODE = ("encode", "--model", "pictures", "--data", "photo.png", "--output", "latents")
DECODE = ("decode", "latents", "--model", "pictures", "--precision", "fp32", "--output", "made")


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_what_is_printed_is_true_of_the_files(run, tmp_path, dtype):
    status, printed, error = run(*ENCODE, "--pixels-per-cell", 8, "--dtype", dtype)
    assert status == 0, error
    file = tmp_path / "latents" / "00000000.safetensors"
    latents = Latents.load(file)
    assert latents.size == (5, 7) and latents.canvas == (5, 7) and latents.image_size == (40, 56)
    cost, psnr = re.search(r"5x7 latents, ([0-9.]+) bytes a pixel, PSNR ([0-9.]+) dB", printed).groups()
    assert float(cost) == pytest.approx(file.stat().st_size / (40 * 56), abs=1e-3)
    assert run(*DECODE)[0] == 0
    (made,) = (tmp_path / "made" / "40x56").glob("*.png")
    error = numpy.subtract(*(numpy.asarray(Image.open(path), float) for path in (made, "photo.png")))
    assert 10 * numpy.log10(255**2 / numpy.square(error).mean()) == pytest.approx(float(psnr), abs=0.02)
    assert float(psnr) > 30


def test_a_photograph_is_decoded_at_another_scale(run, tmp_path):
    assert run(*ENCODE)[0] == 0
    assert Latents.load(tmp_path / "latents" / "00000000.safetensors").canvas == (2.5, 3.5)
    assert run(*DECODE, "--scale", 1.5)[0] == 0
    (made,) = (tmp_path / "made" / "60x84").glob("*.png")
    assert Image.open(made).size == (84, 60)


def test_latents_of_no_known_picture_are_decoded_at_the_pixels_of_their_cells(run, tmp_path):
    run(*ENCODE)
    file = tmp_path / "latents" / "00000000.safetensors"
    replace(Latents.load(file), image_size=None).save(file)
    assert run(*DECODE)[:2] == (0, "1 picture of 40x56 in made/40x56\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*ENCODE, "--pixels-per-cell", "0"), "pixels_per_cell is 0"),
        ((*ENCODE, "--pixels-per-cell", "inf"), "pixels_per_cell is inf"),
        ((*ENCODE, "--pixels-per-cell", "8", "--latent-size", "4x4"), "--pixels-per-cell is 8; it is for a picture"),
        (
            ("encode", "--model", "mnist", "--data", "photo.png", "--output", "latents", "--pixels-per-cell", "8"),
            "--pixels-per-cell is 8; it is for a picture",
        ),
    ],
)
def test_what_cannot_be_encoded_is_said(run, tmp_path, arguments, words):
    status, _, error = run(*arguments)
    assert status == 2 and words in error and error.count("\n") == 1
    assert not (tmp_path / "latents").exists()


def test_a_size_and_a_scale_are_refused(run):
    run(*ENCODE)
    status, _, error = run(*DECODE, "--scale", 2, "--size", "20x20")
    assert status == 2 and "--size and --scale 2 are given" in error


@pytest.mark.parametrize(("given", "pixels"), [((), 16), (("--pixels-per-cell", 8), 8)])
def test_a_folder_is_encoded_as_its_pictures_are(run, tmp_path, given, pixels):
    for number in range(2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.open("photo.png").rotate(180 * number).save(f"photos/{number}.png")
    status, printed, error = run(
        "encode", "--model", "pictures", "--data", "photos", "--output", "many", *given, "--dtype", "float16"
    )
    assert status == 0 and "2 latents of " in printed, error
    run(*ENCODE, *given)
    many, one = (Latents.load(tmp_path / name / "00000000.safetensors") for name in ("many", "latents"))
    assert many.canvas == one.canvas == (40 / pixels, 56 / pixels) and len(many.values) == 2
    assert many.image_size == (40, 56) and many.values[:1].equal(one.values)


@pytest.mark.parametrize(
    ("mode", "size", "lost"),
    [
        ("RGB", (56, 40), "loses the colours of photo"),
        ("L", (56, 40), None),
        ("L", (300, 200), "loses fine details of photo"),
        ("RGB", (300, 200), "loses the colours and fine details of photo"),
    ],
)
def test_a_model_of_one_size_tells_what_it_loses_of_a_photograph(run, mode, size, lost):
    Image.open("photo.png").resize(size).convert(mode).save("photo.png")
    status, _, error = run("resample", "photo.png", "--model", "mnist", "--size", "32x32", "--output", "out.png")
    said = f"r2id: model mnist was trained on grey pictures of 32 pixels a side and {lost}.png; --model pictures keeps"
    assert status == 0 and error == (f"{said} them\n" if lost else "")


def test_grey_levels_in_three_channels_are_no_colours(run):
    Image.open("photo.png").convert("L").convert("RGB").save("grey.png")
    assert run("resample", "grey.png", "--model", "mnist", "--size", "32x32", "--output", "out.png")[2] == ""


def test_a_second_encoding_says_what_it_kept(run):
    run(*ENCODE)
    assert run(*ENCODE, "--resume")[1] == "kept the latent in latents\n"


def test_a_folder_is_not_encoded_at_no_pixels_a_cell(run, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.open("photo.png").save("photos/0.png")
    arguments = ("encode", "--model", "pictures", "--data", "photos", "--output", "latents", "--pixels-per-cell", "0")
    status, _, error = run(*arguments)
    assert status == 2 and "pixels_per_cell is 0" in error and not (tmp_path / "latents").exists()


def test_resample_keeps_the_latent_that_encode_makes_and_decodes_it(run):
    status, printed, error = run("resample", "photo.png", "--output", "kept.safetensors")
    assert (status, printed) == (0, "kept.safetensors: 3x4\n"), error
    run(*ENCODE)
    kept, encoded = Latents.load("kept.safetensors"), Latents.load("latents/00000000.safetensors")
    assert kept.values.equal(encoded.values) and kept.canvas == encoded.canvas
    assert run("resample", "kept.safetensors", "--output", "big.png", "--scale", 2)[:2] == (0, "big.png: 80x112\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photo.png", "--output", "a.safetensors", "--scale", "2"), "has no --size, --scale or --region"),
        (("photo.png", "--output", "a.png", "--model", "mnist", "--scale", "0"), "scale is 0.0"),
        (("a.safetensors", "--output", "a.png", "--latent-size", "4x4"), "--latent-size is given and a.safetensors"),
    ],
)
def test_arguments_of_resample_are_not_ignored(run, tmp_path, arguments, words):
    before = sorted(tmp_path.iterdir())
    status, _, error = run("resample", *arguments)
    assert status == 2 and words in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_is_encoded_in_whole_cells_of_its_own_proportions(run, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.open("photo.png").save("photos/0.png")
    Image.open("photo.png").rotate(90, expand=True).save("photos/1.png")
    encode = ("encode", "--model", "pictures", "--data", "photos", "--output", "latents", "--pixels-per-cell", "8")
    status, printed, error = run(*encode, "--image-size", "32x32", "--keep-proportions")
    assert status == 0 and "1 latent of 3x5 in latents/24x40" in printed, error
    wide, tall = (Latents.load(f"latents/{size}/00000000.safetensors") for size in ("24x40", "40x24"))
    assert wide.canvas == (3, 5) and tall.canvas == (5, 3)
    assert wide.values.shape[-2:] == (3, 5) and tall.image_size == (40, 24)


def test_a_folder_is_encoded_on_a_wider_canvas(run, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.open("photo.png").save("photos/0.png")
    encode = ("encode", "--model", "pictures", "--data", "photos", "--pixels-per-cell", "8", "--image-size", "16x16")
    status, _, error = run(*encode, "--pad-to", "16x32", "--output", "latents")
    assert status == 0 and Latents.load("latents/00000000.safetensors").canvas == (2, 4), error
    status, _, error = run(*encode, "--pad-to", "8x32", "--output", "other")
    assert status == 2 and "pad_to is (8, 32)" in error
