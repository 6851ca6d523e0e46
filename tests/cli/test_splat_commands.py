"""Splats through the command line: written, rendered, converted, refined, and every bad input in one sentence."""

import json
import os
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from running import FIXTURES

from r2id.files.latents import Latents
from r2id.files.splats import read_splats, write_splats
from r2id.networks.resampler import R2IR

SMALL = {
    "attention": "splats", "latent_channels": 14, "num_blocks": 1, "dim": 16, "num_heads": 2, "num_high": 4,
    "num_low": 2, "sample_size": 16, "latent_size": 4, "basis": 4, "value_dim": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory, make_pipeline, make_pyramid):
    """A folder of small untrained models: `splats`, an R2IR alone and in a `pipeline`, and two without splats."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    resampler = R2IR(**SMALL).eval()
    resampler.save_pretrained(folder / "splats")
    pipeline = make_pipeline(resampler, channels=14, canvas=(16, 16))
    pipeline.register_to_config(generation_defaults={"latent_size": (4, 4), "num_inference_steps": 2})
    pipeline.save_pretrained(folder / "pipeline")
    make_pipeline().save_pretrained(folder / "local")
    make_pyramid().save_pretrained(folder / "pyramid")
    return folder


@pytest.fixture
def run(command, models, monkeypatch, tmp_path):
    """Runs a command, in an empty folder, with one of the models by name; returns its exit status, what it printed and
    its errors."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments, model="splats"):
        return command(name, *arguments, "--model", models / model)

    return run


def draw(name="digit.png", size=(16, 16), turned=0, mode="L"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).rotate(turned).convert(mode).save(name)


def pixels(name):
    return numpy.asarray(Image.open(name)).astype(int)


@pytest.mark.parametrize("name", ["digit.svg", "digit.PLY", "new/digit.npz"])
def test_a_picture_becomes_a_file_of_splats(name, run, models):
    draw()
    assert run("resample", "digit.png", "--output", name) == (0, f"{name}: 32 splats\n", "")
    if name.endswith("svg"):
        assert Path(name).read_text().startswith("<svg ")
        return
    splats = read_splats(name)
    resampler = R2IR.from_pretrained(models / "splats")
    image = torch.from_numpy(pixels("digit.png")).float()[None, None] / 127.5 - 1
    expected = resampler.splats(resampler.encode(image, (4, 4)))
    torch.testing.assert_close(splats.centres, expected.centres, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(splats.colours, expected.colours, atol=1e-5, rtol=1e-5)


def test_a_latent_and_a_latent_size_become_splats_too(run):
    draw()
    assert run("resample", "digit.png", "--latent-size", "3x5", "--output", "a.ply")[1] == "a.ply: 30 splats\n"
    assert run("resample", "digit.png", "--output", "digit.safetensors")[0] == 0
    assert run("resample", "digit.safetensors", "--output", "b.svg") == (0, "b.svg: 32 splats\n", "")


def test_splats_are_rendered_at_any_size_as_the_model_decodes_them(run):
    draw(size=(12, 16))
    assert run("resample", "digit.png", "--output", "digit.ply")[0] == 0
    assert run("resample", "digit.png", "--size", "40x30", "--output", "decoded.png")[0] == 0
    assert run("resample", "digit.ply", "--size", "40x30", "--output", "whole.png")[1] == "whole.png: 40x30\n"
    assert abs(pixels("whole.png") - pixels("decoded.png")).max() <= 1
    for way in (("--width", "30"), ("--height", "40")):
        assert run("resample", "digit.ply", *way, "--output", "again.png")[1] == "again.png: 40x30\n"
        assert (pixels("again.png") == pixels("whole.png")).all()
    part = ("--size", "40x30", "--region", "7,3,30,20", "--output", "part.png")
    assert run("resample", "digit.ply", *part) == (0, "part.png: 23x17\n", "")
    assert abs(pixels("part.png") - pixels("whole.png")[7:30, 3:20]).max() <= 1


def test_a_large_picture_of_splats_is_written_in_tiles(run, monkeypatch):
    draw()
    run("resample", "digit.png", "--output", "digit.npz")
    assert run("resample", "digit.npz", "--size", "300x280", "--output", "whole.png")[0] == 0
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    assert run("resample", "digit.npz", "--size", "300x280", "--output", "tiles.tif")[1] == "tiles.tif: 300x280\n"
    assert abs(pixels("tiles.tif") - pixels("whole.png")).max() <= 1


def test_files_of_splats_are_converted(run):
    draw()
    for name in ("direct.svg", "direct.npz", "direct.ply"):
        assert run("resample", "digit.png", "--output", name)[0] == 0
    for source, name in (("direct.npz", "a.svg"), ("direct.ply", "a.npz"), ("direct.npz", "a.ply")):
        assert run("resample", source, "--output", name) == (0, f"{name}: 32 splats\n", "")
    for name in ("a.npz", "a.ply"):
        torch.testing.assert_close(read_splats(name).covariances(), read_splats("direct.npz").covariances())
    # The last digit may differ.
    assert abs(Path("a.svg").stat().st_size - Path("direct.svg").stat().st_size) < 200
    assert Path("a.svg").read_text().count("<circle") == Path("direct.svg").read_text().count("<circle")


def test_a_generated_picture_is_written_as_splats(run):
    run = partial(run, model="pipeline")
    assert run("sample", "--class", "7", "--output", "seven.svg") == (0, "seven.svg: 32 splats\n", "")
    assert run("sample", "--class", "7", "--output", "seven.ply")[0] == 0
    assert run("sample", "--class", "7", "--size", "24x24", "--output", "seven.png")[0] == 0
    assert run("resample", "seven.ply", "--size", "24x24", "--output", "rendered.png")[0] == 0
    assert abs(pixels("rendered.png") - pixels("seven.png")).max() <= 1


def picture_error(run, latents):
    """Mean squared error, in levels, of the pictures of a folder of latents against those of `digits`."""
    assert run("decode", latents, "--size", "16x16", "--output", f"{latents}-pictures")[0] == 0
    made = sorted(Path(f"{latents}-pictures", "16x16").iterdir(), key=lambda path: int(path.name.partition("-")[0]))
    given = sorted(Path("digits").rglob("*.png"))
    return [((pixels(a) - pixels(b)) ** 2).mean() for a, b in zip(made, given, strict=True)]


def test_refinement_brings_pictures_of_a_data_set_closer(run):
    for number in range(3):
        draw(f"digits/train/{number}.png", turned=90 * number)
    encode = ("encode", "--data", "digits", "--dtype", "uint8", "--output")
    assert run(*encode, "once")[1] == "3 latents of 4x4 in once\n"
    assert run(*encode, "refined", "--refine", "30")[1] == "3 latents of 4x4 in refined\n"
    once, refined = picture_error(run, "once"), picture_error(run, "refined")
    assert all(after < 0.5 * before for before, after in zip(once, refined, strict=True))
    assert json.loads(Path("refined/encode.json").read_text())["refine"] == 30
    assert "refine" not in json.loads(Path("once/encode.json").read_text())
    for folder, steps, before in (("refined", 31, 30), ("refined", 0, 30), ("once", 2, 0)):
        status, printed, error = run(*encode, folder, "--refine", steps)
        assert (status, printed) == (2, "")
        assert error == f"r2id: refine is {steps}; what {folder} holds was made with {before}; give another output\n"
    status, _, error = run("encode", "--data", "digits", "--output", "once")
    assert status == 2 and "dtype is float16; what once holds was made with uint8" in error
    assert run(*encode, "refined", "--refine", "30", "--resume")[1] == "kept all 3 latents of 4x4 in refined\n"


def test_refinement_brings_the_picture_of_a_file_closer(run):
    draw("digits/0.png")
    encode = ("encode", "--data", "digits/0.png", "--output")
    assert run(*encode, "once")[0] == 0
    assert run(*encode, "refined", "--refine", "30") == (0, "1 latent of 4x4 in refined\n", "")
    assert picture_error(run, "refined")[0] < 0.5 * picture_error(run, "once")[0]
    for steps, before, folder in ((29, 30, "refined"), (0, 30, "refined"), (30, 0, "once")):
        status, _, error = run(*encode, folder, "--refine", steps)
        assert status == 2 and f"refine is {steps}; what {folder} holds was made with {before}" in error
    assert Latents.load("refined/00000000.safetensors").values.abs().max() <= 1


BAD_REFINEMENTS = [
    ("splats", ("--refine", "-1"), "--refine is -1; it must be at least 0"),
    ("splats", ("--refine", "x"), "'x' is not a whole number"),
    ("pyramid", ("--refine", "3"), "--refine is 3; model", "reads pictures in parts, so leave it out"),
    ("splats", ("--refine", "3", "--data", "tiles.tif"), "tiles.tif is read in parts, and only a whole picture"),
]


@pytest.mark.parametrize(("model", "arguments", "sentences"), [(m, a, s) for m, a, *s in BAD_REFINEMENTS])
def test_refinements_that_cannot_be_are_refused(model, arguments, sentences, run, monkeypatch):
    import tifffile

    draw()
    tifffile.imwrite("tiles.tif", numpy.zeros((90, 70), numpy.uint8), tile=(32, 32))
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    data = () if "--data" in arguments else ("--data", "digit.png")
    status, printed, error = run("encode", *data, *arguments, "--output", "out", model=model)
    assert (status, printed) == (2, "") and len(error.splitlines()) == 1
    assert all(sentence in error for sentence in sentences), error
    assert not list(Path("out").glob("*.safetensors"))


@pytest.fixture(scope="module")
def splat_files(models, tmp_path_factory):
    """A folder with splats of one picture, as they are and each damaged in one way."""
    folder = tmp_path_factory.mktemp("files")
    splats = R2IR.from_pretrained(models / "splats").splats(torch.zeros(1, 14, 4, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("good.ply", "good.npz", "good.svg"):
            write_splats(name, splats)
        damage()
    return folder


def damage():
    """Write files beside good.ply and good.npz, each damaged in one way."""
    whole, arrays = Path("good.ply").read_bytes(), dict(numpy.load("good.npz"))
    header, end, numbers = whole.partition(b"end_header\n")
    count = b"element vertex 32"
    for name, content in {
        "cut": whole[:-7],
        "empty": b"",
        "text": b"no splats",
        "foreign": whole.replace(b"comment r2id splats", b"comment another"),
        "three": b"ply\nformat ascii 1.0\nelement vertex 1\n"
        + b"".join(b"property float " + axis + b"\n" for axis in (b"x", b"y", b"z"))
        + b"end_header\n0 0 0\n",
        "none": header.replace(count, b"element vertex 0") + end,
        "huge": header.replace(count, b"element vertex 99999999999999") + end + numbers,
        "canvas": header.replace(b"1.0 1.0", b"nan 1.0") + end + numbers,
    }.items():
        Path(f"{name}.ply").write_bytes(content)
    for name, changed in {
        "nan": {"centres": arrays["centres"] * numpy.nan},
        "flat": {"scales": arrays["scales"] * 0},
        "endless": {"scales": arrays["scales"] + numpy.inf},
        "bright": {"colours": arrays["colours"] + 9},
        "light": {"weights": arrays["weights"] * 0},
    }.items():
        numpy.savez(f"{name}.npz", **arrays | changed)
    numpy.savez("other.npz", x=1)
    Path("cut.npz").write_bytes(Path("good.npz").read_bytes()[:200])


BAD_FILES = {
    "cut.ply": "its header tells of 32 splats, which are not what 1145 bytes hold",
    "empty.ply": "it has no header of a .ply",
    "text.ply": "it has no header of a .ply",
    "foreign.ply": "another program wrote it",
    "three.ply": "its points have three dimensions",
    "none.ply": "there are no splats",
    "huge.ply": "its header tells of 99999999999999 splats",
    "canvas.ply": "the canvas is (nan, 1.0); it must be two numbers above 0",
    "nan.npz": "the centres of splats hold nan; every number must be finite",
    "flat.npz": "a splat has the scale 0; it must be from 1e-06 to 1000",
    "endless.npz": "a splat has the scale inf; it must be from 1e-06 to 1000",
    "bright.npz": "it must be from -1 to 1",
    "light.npz": "a splat has the weight 0",
    "other.npz": "cannot be read as splats",
    "cut.npz": "cannot be read as splats",
    "missing.npz": "missing.npz does not exist; give a file of splats, .npz or .ply",
}
BAD_ARGUMENTS = [
    (("good.ply", "--output", "x.png"), "good.ply has splats and no pixels; give --size, --width or --height"),
    (("good.ply", "--region", "0,0,2,2", "--output", "x.png"), "has splats and no pixels"),
    (("good.ply", "--scale", "2", "--output", "x.png"), "--scale is 2 and splats have no pixels; give --size"),
    (("good.ply", "--size", "8x8"), "one file at a time, to an --output"),
    (("good.ply", "good.npz", "--size", "8x8", "--output", "x.png"), "one file at a time"),
    (("digit.png", "good.ply", "--scale", "2", "--output", "out"), "one file at a time"),
    (("good.ply", "--width", "0", "--output", "x.png"), "width is 0; it must be at least 1"),
    (("good.ply", "--size", "8x8", "--width", "9", "--output", "x.png"), "--size and --width"),
    (("good.ply", "--size", "8x8", "--region", "0,0,9,9", "--output", "x.png"), "region 0,0,9,9 is not inside"),
    (("good.ply", "--size", "8x8", "--output", "x"), "x has no suffix of an image type"),
    (("good.ply", "--size", "8x8", "--output", "x.svg"), "x.svg is a file of splats, which has no --size"),
    (("good.ply", "--region", "0,0,2,2", "--output", "x.npz"), "x.npz is a file of splats, which has no --size"),
    (("good.ply", "--latent-size", "4x4", "--output", "x.npz"), "--latent-size is given, which splats do not have"),
    (("good.ply", "--background", "9", "--output", "x.npz"), "--background is given, which splats do not have"),
    (("good.svg", "--size", "8x8", "--output", "x.png"), "good.svg is a drawing and holds no pixels; give a picture"),
    (("good.ply", "--output", "digit.png/x.svg"), "digit.png is not a folder"),
    (("digit.png", "--scale", "2", "--output", "x.svg"), "x.svg is a file of splats, which has no --size, --scale"),
    (("digit.png", "--region", "0,0,2,2", "--output", "x.svg"), "x.svg is a file of splats, which has no --size"),
    (("digit.png", "--output", "digit.png/x.ply"), "digit.png is not a folder"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [*(((name, "--size", "8x8", "--output", "x.png"), told) for name, told in BAD_FILES.items()), *BAD_ARGUMENTS],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_told_in_a_sentence_and_nothing_is_written(arguments, sentence, run, splat_files):
    draw()
    for file in splat_files.iterdir():
        Path(file.name).write_bytes(file.read_bytes())
    before = sorted(os.listdir())
    status, printed, error = run("resample", *arguments)
    assert (status, printed) == (2, "") and sentence in error and len(error.splitlines()) == 1, error
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("model", ["local", "pyramid"])
def test_a_model_without_splats_writes_none(model, run):
    draw()
    commands = [("resample", "digit.png"), *([("sample", "--class", "7")] if model == "local" else [])]
    for command in commands:
        status, _, error = run(*command, "--output", "x.ply", model=model)
        assert status == 2 and error.startswith("r2id: output x.ply is a file of splats, which model ")
        assert error.endswith(f"{model} has none of; give an image file\n") and not Path("x.ply").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--panorama", "--size", "16x64"), "which --panorama has none of; give an image file"),
        (("--joint", "--size", "16x16", "--size", "16x8"), "is one file and 2 pictures were asked for"),
        (("--keep-latents",), "is one file; to keep latents as well, give a folder"),
        (("--class", "7,8"), "is one file and 2 pictures were asked for"),
    ],
)
def test_several_generated_pictures_are_no_file_of_splats(arguments, sentence, run):
    label = () if "--class" in arguments else ("--class", "7")
    status, printed, error = run("sample", *label, *arguments, "--output", "x.svg", model="pipeline")
    assert (status, printed) == (2, "") and sentence in error and len(error.splitlines()) == 1
    assert not os.listdir()


def test_other_commands_take_a_pipeline_of_splats(run):
    run = partial(run, model="pipeline")
    draw("photo.png")
    draw("mask.png")
    status, out, _ = run("info")
    assert status == 0 and "attention=splats" in out and "diffuser: R2ID" in out
    assert run("card", "--output", "card.md")[0] == 0 and "R2IR" in Path("card.md").read_text()
    assert run("inpaint", "photo.png", "--mask", "mask.png")[1] == "photo-inpainted.png: 16x16\n"
    assert run("outpaint", "photo.png", "--left", "8", "--output", "wide.png")[1] == "wide.png: 16x24\n"
    assert (pixels("wide.png")[:, 8:] == pixels("photo.png")).all()
    assert run("sample", "--class", "1,2", "--size", "9x9", "--keep-latents", "--output", "made")[0] == 0
    assert run("decode", "made/latents", "--size", "9x9", "--output", "again")[1] == "2 pictures of 9x9 in again/9x9\n"
    assert abs(pixels("again/9x9/0-1.png") - pixels("made/9x9/0-1.png")).max() <= 1
    assert run("resample", "made/latents/00000001.safetensors", "--output", "two.svg")[1] == "two.svg: 32 splats\n"


def test_splats_are_evaluated(run):
    counts = ("--limit", "2", "--count", "0", "--denoising-error", "2", "--latent-size", "4x4", "--size", "16x16")
    status, out, error = run("evaluate", "--data", FIXTURES / "digits", *counts, model="pipeline")
    assert status == 0, error
    assert "reconstruction of 2 images" in out and "denoising error by timestep of 2 images" in out
