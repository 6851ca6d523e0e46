"""The command line, end to end on the bundled weights, and every bad input a user may give it."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

from r2id import cli
from r2id.cli import models, parsing, program
from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.large_writer import _Tiles
from r2id.files.latents import Latents
from r2id.networks.diffuser import R2ID
from r2id.networks.loading import PRETRAINED
from r2id.networks.resampler import R2IR

FIXTURES = Path(__file__).parents[1] / "fixtures"
QUICK = ("--num-inference-steps", "2")


def run(capsys, monkeypatch, *arguments) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `r2id` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["r2id", *map(str, arguments)])
    status = 0
    try:
        cli.main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def unwrapped(text: str) -> str:
    """The text of an error, without the frame and the line breaks that a terminal's width puts into it."""
    lines = [line.strip(" |│") for line in text.splitlines()]
    return " ".join(line for line in lines if line)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sample_writes_every_picture_at_every_size_and_the_same_files_for_the_same_seed(capsys, monkeypatch, tmp_path):
    arguments = ("sample", "--labels", "3,7-8", "--per-label", "2", "--latent-size", "4x5", *QUICK)
    arguments += ("--size", "20x12", "--size", "9x9", "--seed", "5")
    for name in ("first", "second"):
        status, _, error = run(capsys, monkeypatch, *arguments, "--output", tmp_path / name)
        assert status == 0, error
    first = files(tmp_path / "first")
    names = [f"{index}-{label}.png" for index, label in enumerate("337788")]
    pictures = [f"{size}/{name}" for size in ("20x12", "9x9") for name in names]
    assert sorted(first) == sorted([*pictures, "20x12.png", "9x9.png", "sample.json"])
    assert first == files(tmp_path / "second")
    assert Image.open(tmp_path / "first" / "20x12" / "0-3.png").size == (12, 20)
    status, _, _ = run(capsys, monkeypatch, *arguments[:-1], "6", "--output", tmp_path / "third")
    assert status == 0
    assert first != files(tmp_path / "third")


def test_a_model_is_sampled_and_encodes_at_its_own_sizes(capsys, monkeypatch, tmp_path, make_pipeline, make_resampler):
    pipeline = make_pipeline(make_resampler(sample_size=64, latent_size=16), canvas=(64, 64))
    pipeline.register_to_config(generation_defaults={"latent_size": (12, 12), "num_inference_steps": 2})
    pipeline.save_pretrained(tmp_path / "model")
    model = ("--model", tmp_path / "model", "--device", "cpu")
    assert run(capsys, monkeypatch, "sample", *model, "--class", "3", "--keep-latents", "--output", tmp_path)[0] == 0
    settings = json.loads((tmp_path / "sample.json").read_text())
    assert (settings["size"], settings["latent_size"]) == ([[64, 64]], [12, 12])
    assert (settings["num_inference_steps"], settings["guidance_scale"]) == (2, 4.0)
    assert Image.open(tmp_path / "64x64" / "0-3.png").size == (64, 64)
    kept = Latents.load(tmp_path / "latents" / "00000000.safetensors")
    assert kept.size == (12, 12) and kept.canvas == (64, 64)
    latent = tmp_path / "one.safetensors"
    run(capsys, monkeypatch, "resample", *model, tmp_path / "64x64" / "0-3.png", "--output", latent)
    assert Latents.load(latent).size == (12, 12)


def test_a_picture_does_not_depend_on_what_is_generated_beside_it(capsys, monkeypatch, tmp_path):
    common = ("sample", "--latent-size", "4x4", "--size", "16x16", *QUICK)
    run(capsys, monkeypatch, *common, "--labels", "4", "--output", tmp_path / "alone")
    run(capsys, monkeypatch, *common, "--labels", "4,5,6", "--batch-size", "2", "--output", tmp_path / "three")
    alone = Image.open(tmp_path / "alone" / "16x16" / "0-4.png")
    beside = Image.open(tmp_path / "three" / "16x16" / "0-4.png")
    assert max(abs(a - b) for a, b in zip(alone.tobytes(), beside.tobytes(), strict=True)) <= 1


def test_resample_renders_a_region_with_the_pixels_of_the_whole(capsys, monkeypatch, tmp_path):
    picture = tmp_path / "gradient.png"
    Image.linear_gradient("L").resize((30, 40)).save(picture)
    common = ("resample", picture, "--model", "mnist", "--latent-size", "8x6", "--size", "80x60")
    status, _, error = run(capsys, monkeypatch, *common, "--output", tmp_path / "whole.png")
    assert status == 0, error
    status, _, error = run(capsys, monkeypatch, *common, "--region", "10,20,50,60", "--output", tmp_path / "part.png")
    assert status == 0, error
    whole, part = Image.open(tmp_path / "whole.png"), Image.open(tmp_path / "part.png")
    assert whole.size == (60, 80)
    cropped = whole.crop((20, 10, 60, 50))
    assert part.size == cropped.size
    assert max(abs(a - b) for a, b in zip(part.tobytes(), cropped.tobytes(), strict=True)) <= 1


def test_resample_returns_the_digit_it_was_given(capsys, monkeypatch, tmp_path):
    from r2id.data.loading import load_images

    digit = load_images(FIXTURES / "digits", "test", image_size=(32, 32), limit=1).images[0, 0]
    Image.fromarray(digit.numpy()).save(tmp_path / "digit.png")
    run(capsys, monkeypatch, "resample", tmp_path / "digit.png", "--model", "mnist", "--output", tmp_path / "back.png")
    before, after = (Image.open(tmp_path / name).tobytes() for name in ("digit.png", "back.png"))
    squares = [((a - b) / 127.5) ** 2 for a, b in zip(before, after, strict=True)]
    assert sum(squares) / len(squares) < 0.02


def test_a_single_picture_goes_to_a_file_the_same_in_tiles_as_at_once(capsys, monkeypatch, tmp_path):
    sample = ("sample", "--labels", "7", "--latent-size", "4x4", "--num-inference-steps", "2", "--size", "300x280")
    assert run(capsys, monkeypatch, *sample, "--output", tmp_path / "whole.png")[0] == 0
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    for name in ("tiles.png", "tiles.tif"):
        status, printed, _ = run(capsys, monkeypatch, *sample, "--output", tmp_path / name)
        assert (status, printed) == (0, f"{tmp_path / name}: 300x280\n")
        assert alike(tmp_path / name, tmp_path / "whole.png")
    status, _, error = run(capsys, monkeypatch, *sample, "--output", tmp_path / "tiles.jpg")
    assert status == 2 and "needs .tif or .png" in error


def test_what_cannot_be_written_is_refused_before_it_is_made(capsys, monkeypatch, tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", numpy.zeros((90, 70), numpy.uint8), tile=(32, 32))
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    monkeypatch.setattr("r2id.files.large_reader.LargeImage.chunks", None)
    monkeypatch.setattr("r2id.diffusion.pipeline.R2Pipeline.__call__", None)
    resample = ("resample", tmp_path / "image.tif", "--model", "mnist")
    for command in (("sample", "--labels", "7"), resample):
        for output, size, sentence in (
            ("folder.tif", "300x280", "folder.tif is a folder"),
            ("image.tif/big.tif", "300x280", "image.tif is not a folder"),
            ("big.tif", "3000000000x10", "size 3000000000x10 is over the limit of .tif"),
            ("big.png", "2000000000x2000000000", "GiB of disk space"),
        ):
            status, _, error = run(capsys, monkeypatch, *command, "--size", size, "--output", tmp_path / output)
            assert status == 2 and sentence in error and len(error.splitlines()) == 1, error
    for more, sentence in (
        (("--output", tmp_path / "folder.safetensors"), "folder.safetensors is a folder"),
        (("--region", "0,0,91,70", "--output", tmp_path / "part.tif"), "region 0,0,91,70 is not inside"),
    ):
        status, _, error = run(capsys, monkeypatch, *resample, *more)
        assert status == 2 and sentence in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_large_picture_is_gone_on_with_by_the_same_command(capsys, monkeypatch, tmp_path):
    levels = numpy.random.default_rng(0).integers(0, 256, (90, 70), dtype=numpy.uint8)
    tifffile.imwrite(tmp_path / "image.tif", levels, tile=(32, 32))
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    # A line for every tile, as after a minute.
    monkeypatch.setattr("r2id.runtime.progress.LINE_EVERY", 0)
    commands = {
        "sample": (
            "sample",
            "--labels",
            "7",
            "--latent-size",
            "4x4",
            "--num-inference-steps",
            "2",
            "--size",
            "300x280",
        ),
        "resample": ("resample", tmp_path / "image.tif", "--model", "mnist", "--size", "300x280"),
    }
    append, places = _Tiles.append, []
    for name, command in commands.items():
        whole, interrupted = tmp_path / f"{name}.tif", tmp_path / f"{name}-again.tif"
        assert run(capsys, monkeypatch, *command, "--output", whole)[0] == 0

        def stopping(tiles, *tile):
            if tiles.done == 3:
                raise KeyboardInterrupt
            append(tiles, *tile)

        with monkeypatch.context() as patch:
            patch.setattr(_Tiles, "append", stopping)
            status, _, error = run(capsys, monkeypatch, *command, "--output", interrupted)
        assert status == 130 and "stopped after tile 3 of 4; the same command goes on from there" in error
        assert [line for line in error.splitlines() if "tif:  75% 3/4 [" in line], error
        with monkeypatch.context() as patch:
            patch.setattr("r2id.runtime.precision._multiplies_bfloat16", lambda device: True)
            status, _, error = run(capsys, monkeypatch, *command, "--precision", "bf16", "--output", interrupted)
        assert status == 2 and "precision is bf16" in error and "begun with fp32; remove it to begin anew" in error
        other = ("--seed", "1") if name == "sample" else ("--latent-size", "4x4")
        status, _, error = run(capsys, monkeypatch, *command, *other, "--output", interrupted)
        assert status == 2 and "checksum of the latents is" in error and "remove it to begin anew" in error
        places.clear()
        with monkeypatch.context() as patch:
            patch.setattr(_Tiles, "append", lambda tiles, *tile: places.append(tiles.done) or append(tiles, *tile))
            status, printed, _ = run(capsys, monkeypatch, *command, "--output", interrupted)
        assert (status, printed, places) == (0, f"{interrupted}: 300x280\n", [3])
        assert interrupted.read_bytes() == whole.read_bytes()


def test_bfloat16_changes_a_picture_by_two_levels_at_most(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("r2id.runtime.precision._multiplies_bfloat16", lambda device: True)
    from r2id.data.loading import load_images

    digit = load_images(FIXTURES / "digits", "test", image_size=(32, 32), limit=1).images[0, 0]
    Image.fromarray(digit.numpy()).save(tmp_path / "digit.png")
    run(capsys, monkeypatch, "encode", "--data", tmp_path / "digit.png", "--output", tmp_path / "latents")
    for large in (False, True):
        if large:
            monkeypatch.setattr("r2id.files.images.LARGE", 100)
        pictures = {}
        for precision in ("fp32", "bf16"):
            more = ("--size", "280x300", "--precision", precision, "--output")
            output = tmp_path / f"{large}-{precision}.png"
            assert (
                run(capsys, monkeypatch, "resample", tmp_path / "digit.png", "--model", "mnist", *more, output)[0] == 0
            )
            folder = tmp_path / f"{large}-{precision}"
            assert run(capsys, monkeypatch, "decode", tmp_path / "latents", *more, folder)[0] == 0
            for name, path in (("resample", output), ("decode", folder / "280x300" / "0-picture.png")):
                pictures[name, precision] = numpy.asarray(Image.open(path)).astype(int)
        for name in ("resample", "decode"):
            assert 1 <= abs(pictures[name, "fp32"] - pictures[name, "bf16"]).max() <= 2


@pytest.mark.parametrize("more", [("--labels", "1,2"), ("--per-label", "2"), ("--size", "8x8")])
def test_several_pictures_do_not_go_to_one_file(more, capsys, monkeypatch, tmp_path):
    sample = ("sample", "--labels", "7", "--size", "9x9", "--output", tmp_path / "one.png", *more)
    status, _, error = run(capsys, monkeypatch, *sample)
    assert status == 2 and "is one file and" in error and not list(tmp_path.iterdir())


def test_a_large_tiff_is_resampled_in_tiles(capsys, monkeypatch, tmp_path):
    levels = numpy.random.default_rng(0).integers(0, 256, (90, 70), dtype=numpy.uint8)
    tifffile.imwrite(tmp_path / "image.tif", levels, tile=(32, 32))
    common = ("resample", tmp_path / "image.tif", "--model", "mnist", "--size", "270x300")
    assert run(capsys, monkeypatch, *common, "--output", tmp_path / "whole.png")[0] == 0
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    assert run(capsys, monkeypatch, *common, "--output", tmp_path / "tiles.tif")[0] == 0
    assert alike(tmp_path / "tiles.tif", tmp_path / "whole.png")


@pytest.mark.parametrize("size", [(), ("--size", "270x300"), ("--size", "999x999", "--region", "0,0,270,300")])
def test_a_large_picture_of_another_type_is_refused_before_reading(size, capsys, monkeypatch, tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", numpy.zeros((90, 70), numpy.uint8), tile=(32, 32))
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    monkeypatch.setattr("r2id.files.large_reader.LargeImage.chunks", None)
    resample = ("resample", tmp_path / "image.tif", "--model", "mnist", *size, "--output", tmp_path / "large.jpg")
    status, _, error = run(capsys, monkeypatch, *resample)
    assert status == 2 and "needs .tif or .png" in error


def alike(first: Path, second: Path) -> bool:
    one, other = (numpy.asarray(Image.open(path)).astype(int) for path in (first, second))
    return one.shape == other.shape and bool(abs(one - other).max() <= 1)


def test_info_names_the_parts_what_they_learnt_from_and_the_resolution_limit(capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, "info")
    assert status == 0
    for expected in ("R2IR", "R2ID", "parameters", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9", "60000 images", "512 samples"):
        assert expected in out


def test_info_takes_a_name_too(capsys, monkeypatch):
    named, optional = (run(capsys, monkeypatch, "info", *how) for how in (("pictures",), ("--model", "pictures")))
    assert named == optional and named[0] == 0 and named[1].startswith("model pictures\n")
    status, _, error = run(capsys, monkeypatch, "info", "mnist", "--model", "pictures")
    assert status == 2 and "mnist and --model pictures are given" in error


def test_info_of_a_pyramid_tells_what_a_pyramid_has(capsys, monkeypatch):
    _, out, _ = run(capsys, monkeypatch, "info", "--model", "pictures")
    assert "widths=" in out and "pixels_per_cell=16" in out
    assert "position frequency" not in out and "num_high" not in out and "sample_size" not in out


@pytest.mark.parametrize("part", ["resampler", "diffuser", "conditioner"])
def test_info_names_a_lone_network_by_what_it_is(part, capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, "info", "--model", PRETRAINED / "mnist" / part)
    assert status == 0 and f"\n{part}: " in out


def test_info_of_a_folder_loads_no_torch(tmp_path):
    code = (
        "import sys; sys.argv = ['r2id', 'info', '--model', sys.argv[1]]\n"
        "from r2id.cli import main\nmain()\nassert not {'torch', 'diffusers', 'huggingface_hub'} & set(sys.modules)"
    )
    for model in ("mnist", PRETRAINED / "mnist" / "resampler"):
        shown = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True)
        assert shown.returncode == 0 and "R2IR, 1,828,193 parameters" in shown.stdout, shown.stderr


@pytest.mark.parametrize("file", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_info_names_a_damaged_file(file, capsys, monkeypatch, tmp_path):
    shutil.copytree(PRETRAINED / "mnist" / "conditioner", tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(b"damaged")
    status, _, error = run(capsys, monkeypatch, "info", "--model", tmp_path)
    assert status == 2 and f"{file} is damaged" in error
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    assert run(capsys, monkeypatch, "info", "--model", tmp_path)[0] == 2


def test_evaluate_writes_the_figures_it_prints(capsys, monkeypatch, tmp_path):
    status, out, error = run(
        capsys, monkeypatch, "evaluate", "--data", FIXTURES / "digits", "--limit", "20", "--count", "20",
        "--denoising-error", "20", "--num-inference-steps", "8", "--latent-size", "8x8", "--size", "32x32",
        "--size", "27x18", "--output", tmp_path,
    )  # fmt: skip
    assert status == 0, error
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(figures) == ["settings", "reconstruction", "consistency", "generation", "denoising_error"]
    settings, reconstruction, consistency, generation, scrape = figures.values()
    assert settings["count"] == 20 and settings["latent_size"] == [[8, 8]]
    assert reconstruction[0]["method"] == "R2IR" and reconstruction[0]["MSE"] < 0.01
    assert f"{reconstruction[0]['MSE']:.4g}" in out
    assert consistency[0]["2x against 1x"] < 0.002
    real, real_wide, square, wide = generation
    assert real["accuracy"] > 0.97 and real_wide["pictures"] == "27x18" and square["accuracy"] >= 0.9
    assert abs(square["accuracy"] - wide["accuracy"]) <= 0.05
    clean, noise = scrape[1]["error"], scrape[19]["error"]
    assert clean > 10 * noise
    assert (tmp_path / "denoising-error.csv").is_file() and (tmp_path / "denoising-error.png").is_file()


def test_a_quick_evaluation_is_of_a_hundred_images_at_most(capsys, monkeypatch, tmp_path):
    status, _, error = run(
        capsys, monkeypatch, "evaluate", "--data", FIXTURES / "digits", "--quick", "--count", "0",
        "--denoising-error", "0", "--size", "32x32", "--output", tmp_path,
    )  # fmt: skip
    assert status == 0, error
    settings, reconstruction, _ = json.loads((tmp_path / "evaluation.json").read_text()).values()
    assert settings["limit"] == 100 and settings["consistency"] == 25 and settings["latent_size"] == [[8, 8]]
    assert {row["latents"] for row in reconstruction} == {"8x8"}


def test_an_interrupted_evaluation_says_where_its_rows_are_and_goes_on(capsys, monkeypatch, tmp_path):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    arguments = ("evaluate", "--data", FIXTURES / "digits", "--limit", "3", "--count", "0", "--denoising-error", "0")
    arguments += ("--latent-size", "4x4", "--size", "16x16", "--output", tmp_path / "figures")
    with monkeypatch.context() as patched:
        patched.setattr("r2id.evaluation.evaluate.measure_consistency", interrupted)
        status, _, error = run(capsys, monkeypatch, *arguments)
    assert status == 130 and "rows are in" in unwrapped(error) and "Traceback" not in error
    assert json.loads((tmp_path / "figures" / "evaluation.json").read_text()).keys() == {"settings", "reconstruction"}
    status, out, _ = run(capsys, monkeypatch, *arguments, "--resume")
    assert status == 0 and "3 rows are in" in out and "PSNR" not in out and "4x against 1x" in out
    status, _, error = run(capsys, monkeypatch, *arguments, "--resume", "--seed", "1")
    assert status == 2 and "seed is 1" in error and "measured with 0" in error


def test_ctrl_c_says_that_it_stopped(capsys, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("r2id.cli.program.read", interrupted)
    assert run(capsys, monkeypatch, "info") == (130, "", "r2id: stopped\n")


@pytest.mark.parametrize(("names", "unknown"), [(["cat", "dog"], "0"), (["0", "1", "2"], "3")])
def test_a_model_of_other_labels_is_measured_by_what_it_reconstructs(names, unknown, capsys, monkeypatch, tmp_path):
    pipeline = R2Pipeline.from_pretrained("mnist")
    few = LabelConditioner(names, dim=pipeline.conditioner.config.dim)
    R2Pipeline(pipeline.diffuser, few, pipeline.resampler).save_pretrained(tmp_path / "few")
    arguments = ("--model", tmp_path / "few", "--data", FIXTURES / "digits", "--limit", "2", "--latent-size", "4x4")
    status, out, error = run(capsys, monkeypatch, "evaluate", *arguments, "--size", "16x16")
    assert status == 0 and "reconstruction of 2 images" in out and "generated" not in out
    assert error.strip().count("\n") == 0
    assert f"generation and denoising error cannot be measured: label '{unknown}' is not known" in error
    assert ", ".join(names) in error


def test_pictures_without_labels_are_measured_by_how_they_are_reconstructed(capsys, monkeypatch, tmp_path):
    pictures = tmp_path / "data" / "test"
    pictures.mkdir(parents=True)
    for index in range(2):
        Image.new("L", (32, 32), 100 * index).save(pictures / f"{index}.png")
    arguments = ("--data", tmp_path / "data", "--latent-size", "4x4", "--size", "16x16")
    status, out, error = run(capsys, monkeypatch, "evaluate", *arguments)
    assert status == 0 and "reconstruction of 2 images" in out and "no labels" in error


BAD_EVALUATIONS = [
    (("--split", "validation"), ["validation", "test"]),
    (("--data", "no-such-data"), ["no-such-data"]),
    (("--latent-size", "0x4"), ["'0x4'", "at least 1"]),
    (("--count", "-1"), ["count is -1", "at least 0"]),
    (("--count", "0", "--limit", "0", "--denoising-error", "0"), ["all 0", "at least one"]),
    (("--size", "90000x90000"), ["90000x90000", "GiB"]),
    (("--latent-size", "100000x100000", "--count", "0"), ["100000x100000", "GiB"]),
    (("--guidance-scale", "nan"), ["nan", "finite"]),
    (("--guidance-interval", "0.8", "0.3"), ["(0.8, 0.3)", "lower first"]),
    (("--resume",), ["--resume", "--output"]),
    (("--output", "/dev/null/figures", "--limit", "1"), ["/dev/null/figures", "cannot be read or written"]),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD_EVALUATIONS, ids=[" ".join(bad[0]) for bad in BAD_EVALUATIONS])
def test_evaluate_refuses_bad_input_by_name(arguments, expected, capsys, monkeypatch, tmp_path):
    data = () if "--data" in arguments else ("--data", FIXTURES / "digits")
    status, _, error = run(capsys, monkeypatch, "evaluate", *data, *arguments)
    assert status == 2
    assert "Traceback" not in error
    for part in expected:
        assert part in unwrapped(error)


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [("torchmetrics", "pip install 'r2id[eval]'"), ("tifffile", "pip install r2id")],
)
def test_a_package_that_is_missing_is_named_with_its_remedy(missing, remedy, capsys, monkeypatch):
    def imported(arguments):
        raise ModuleNotFoundError(f"No module named '{missing}.part'", name=f"{missing}.part")

    monkeypatch.setattr("r2id.cli.program.read", imported)
    status, _, error = run(capsys, monkeypatch, "evaluate")
    assert status == 2 and f"{missing} is not installed" in error and remedy in error


def test_help_imports_neither_torch_nor_diffusers():
    code = (
        "import sys; sys.argv = ['r2id', 'sample', '--help']\n"
        "from r2id.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.rstrip().endswith("[]")
    assert "--guidance-scale" in finished.stdout


BAD_SAMPLES = [
    (("--labels", "11"), ["'11'", "0, 1, 2"]),
    (("--labels", "cat"), ["'cat'", "0, 1, 2"]),
    (("--labels", ","), ["','", "0-9"]),
    (("--labels", "7-3"), ["'7-3'", "low-high"]),
    (("--size", "0x10"), ["'0x10'", "at least 1"]),
    (("--size", "-3x10"), ["-3x10", "HxW"]),
    (("--size", "32"), ["'32'", "HxW"]),
    (("--size", "axb"), ["'axb'", "HxW"]),
    (("--latent-size", "8by8"), ["'8by8'", "HxW"]),
    (("--latent-size", "9" * 18 + "x" + "9" * 18), ["9" * 18, "GiB"]),
    (("--size", "9" * 19 + "x1"), ["9" * 19, "HxW"]),
    (("--size", "900000x900000"), ["900000x900000", "GiB"]),
    (("--size", "9" * 30 + "x1"), ["9" * 30, "HxW"]),
    (("--num-inference-steps", "0"), ["0", "at least 1"]),
    (("--seed", "9" * 23), ["9" * 23, "from 0 to"]),
    (("--guidance-scale", "nan"), ["nan", "finite"]),
    (("--per-label", "0"), ["0", "at least 1"]),
    (("--model", "no-such-model"), ["no-such-model", "mnist"]),
    (("--device", "toaster"), ["'toaster'", "cpu"]),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD_SAMPLES, ids=[" ".join(bad[0]) for bad in BAD_SAMPLES])
def test_sample_refuses_bad_input_by_name_and_writes_nothing(arguments, expected, capsys, monkeypatch, tmp_path):
    status, _, error = run(capsys, monkeypatch, "sample", *arguments, "--output", tmp_path / "out")
    assert status == 2
    assert "Traceback" not in error
    for part in expected:
        assert part in unwrapped(error)
    assert not (tmp_path / "out").exists()


def test_a_size_over_the_limit_of_the_format_is_said_as_such(capsys, monkeypatch, tmp_path):
    sample = ("sample", "--labels", "7", "--size", "3000000000x10", "--output", tmp_path / "big.tif")
    status, _, error = run(capsys, monkeypatch, *sample)
    assert status == 2 and "size 3000000000x10 is over the limit of .tif, 2147483647 pixels a side" in error


def bad_images(folder: Path) -> dict[str, Path]:
    (folder / "text.png").write_text("no picture")
    Image.new("L", (64, 64), 7).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:60])
    (folder / "folder.png").mkdir()
    return {name: folder / f"{name}.png" for name in ("missing", "text", "cut", "folder")}


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "folder"])
def test_resample_names_a_file_that_is_no_picture_and_keeps_the_old_output(kind, capsys, monkeypatch, tmp_path):
    output = tmp_path / "kept.png"
    output.write_bytes(b"old")
    image = bad_images(tmp_path)[kind]
    status, _, error = run(capsys, monkeypatch, "resample", image, "--model", "mnist", "--output", output)
    assert status == 2
    assert len(error.strip().splitlines()) == 1
    assert image.name in error
    assert output.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--region", "0,0,5"), ["'0,0,5'", "top,left,bottom,right"]),
        (("--region", "0,0,99,5"), ["0,0,99,5", "64"]),
        (("--region", "5,5,5,9"), ["5,5,5,9", "top < bottom"]),
        (("--output", "picture.xyz"), ["picture.xyz", ".png"]),
    ],
)
def test_resample_refuses_bad_regions_and_file_types(arguments, expected, capsys, monkeypatch, tmp_path):
    bad_images(tmp_path)
    common = ("resample", tmp_path / "whole.png", "--model", "mnist", "--output", tmp_path / "out.png")
    status, _, error = run(capsys, monkeypatch, *common, *arguments)
    assert status == 2
    assert len(error.strip().splitlines()) == 1
    for part in expected:
        assert part in error
    assert not (tmp_path / "out.png").exists()


def test_an_output_that_cannot_be_written_is_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, _, error = run(
        capsys, monkeypatch, "sample", "--labels", "1", *QUICK, "--output", tmp_path / "file" / "below"
    )
    assert status == 2
    assert "Traceback" not in error
    assert "file" in error
    assert (tmp_path / "file").read_text() == "in the way"


def damage_truncate(folder: Path) -> None:
    weights = folder / "resampler" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def damage_contradict(folder: Path) -> None:
    config = folder / "diffuser" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"encoder_blocks": 1}))


def damage_reshape(folder: Path) -> None:
    config = folder / "diffuser" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dim": 96}))


def damage_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def damage_pickle(folder: Path) -> None:
    weights = folder / "resampler" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()


DAMAGES = [damage_truncate, damage_contradict, damage_reshape, damage_empty, damage_pickle]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_refused_in_one_sentence(damage, capsys, monkeypatch, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PRETRAINED / "mnist", folder)
    damage(folder)
    before = files(tmp_path)
    status, _, error = run(capsys, monkeypatch, "sample", "--model", folder, "--output", tmp_path / "out")
    assert status == 2
    sentence = error.strip().splitlines()[-1]
    assert sentence.startswith("r2id: ")
    assert "model" in sentence
    assert "Traceback" not in error
    assert files(tmp_path) == before


@pytest.mark.parametrize("network", ["resampler", "diffuser"])
def test_training_refuses_data_that_is_missing_or_empty(network, capsys, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    resampler = ("--resampler", PRETRAINED / "mnist" / "resampler") if network == "diffuser" else ()
    for data in (tmp_path / "missing", tmp_path / "empty"):
        status, _, error = run(
            capsys, monkeypatch, "train", network, "mnist", "--data", data, "--output", tmp_path / "run", *resampler
        )
        assert status == 2
        assert data.name in error.splitlines()[-1]
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_training_from_the_command_line_makes_a_model_that_samples(capsys, monkeypatch, tmp_path):
    common = ("--data", FIXTURES / "digits", "--steps", "2", "--batch-size", "4", "--no-compile", "--precision", "fp32")
    common += ("--latent-sizes", "2x2", "3x2")
    model = ("--model", "num_blocks=1", "dim=24", "num_heads=2", "pixel_dim=8", "basis=4", "latent_channels=4")
    status, _, error = run(
        capsys, monkeypatch, "train", "resampler", "mnist", *common, "--output", tmp_path / "resampler", *model
    )
    assert status == 0, error
    model = ("--model", "encoder_blocks=1", "decoder_blocks=1", "dim=24", "num_heads=2", "token_dim=16")
    resampler = ("--resampler", tmp_path / "resampler" / "resampler")
    status, _, error = run(
        capsys,
        monkeypatch,
        "train",
        "diffuser",
        "mnist",
        *common,
        "--output",
        tmp_path / "diffuser",
        *resampler,
        *model,
    )
    assert status == 0, error
    trained = tmp_path / "diffuser" / "pipeline"
    status, _, error = run(
        capsys, monkeypatch, "sample", "--model", trained, "--labels", "9", *QUICK, "--output", tmp_path / "out"
    )
    assert status == 0, error
    assert (tmp_path / "out" / "32x32" / "0-9.png").is_file()


def test_parsers_read_what_help_promises():
    assert parsing.parse_size("27x18") == (27, 18) and parsing.parse_size("3000000000x1") == (3_000_000_000, 1)
    assert parsing.parse_region("0,1,2,3") == (0, 1, 2, 3)
    assert parsing.parse_labels("0-3, 7,cat") == ["0", "1", "2", "3", "7", "cat"]
    known = ["10-20", "a, b", "a", "b,c,d"]
    assert parsing.parse_labels("10-20,a, b,a,b,c,d,1-2", known) == ["10-20", "a, b", "a", "b,c,d", "1", "2"]
    with pytest.raises(InputError, match="'1x'"):
        parsing.parse_size("1x")


@pytest.mark.parametrize("text", ["3-0", "0-100001", "9999999999-9999999999", "0-" + "9" * 5000])
def test_label_ranges_that_are_refused(text):
    with pytest.raises(InputError, match="is not low-high"):
        parsing.parse_labels(text)


@pytest.mark.parametrize(("gpu", "precision"), [(True, "high"), (False, "highest")])
def test_only_a_gpu_multiplies_as_tensor_float32(monkeypatch, gpu, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    try:
        models.choose_device("cpu")
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_version_is_said(capsys, monkeypatch):
    import r2id

    assert run(capsys, monkeypatch, "--version") == (0, f"r2id {r2id.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("sample", "--output", "x", "--lables", "3"), "--labels"),
        (("train", "resampler", "mnist", "--stepss", "3"), "--steps"),
        (("train", "diffuser", "mnist", "--lable-dropout", "3"), "--label-dropout"),
    ],
)
def test_a_typo_is_answered_with_options_of_this_command(arguments, wanted, capsys, monkeypatch):
    status, _, error = run(capsys, monkeypatch, *arguments)
    command = " ".join(arguments[: 1 if arguments[0] == "sample" else 3])
    assert status == 2 and wanted in error and f"run r2id {command} --help" in error
    assert error.count("--help") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sample", "--output", "x", "--num-inference-steps", "3.5"), "'3.5' is not a whole number"),
        (("sample", "--output", "x", "--guidance-scale", "high"), "'high' is not a number"),
        (("train", "resampler", "mnist", "--steps", "x"), "'x' is not a whole number"),
        (("train", "resampler", "mnist", "--learning-rate", "x"), "'x' is not a number"),
        (("train", "resampler", "mnist", "--image-size", "32"), "size '32' is not HxW"),
    ],
)
def test_what_is_no_number_is_said_in_a_sentence(arguments, expected, capsys, monkeypatch):
    status, _, error = run(capsys, monkeypatch, *arguments)
    assert status == 2 and error.startswith(f"r2id: {expected}")


COMMANDS = [*program.COMMANDS, "train resampler mnist", "train diffuser rgb-16x"]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_breaks_lines_only_where_they_are_full(command, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    status, text, _ = run(capsys, monkeypatch, *command.split(), "--help")
    assert status == 0
    lines = [line[2:-2] for line in text.splitlines() if len(line) == width]
    margin = max((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for line, following in pairwise(lines):
        if all(one.startswith(" " * margin) and one.strip() for one in (line, following)):
            start = re.split("[ ,]", following.strip())[0]
            is_full = len(line.rstrip()) + 1 + len(start) >= width - 4
            assert is_full or "=" in start or following.strip().startswith("(default:"), following


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_no_default_of_none(command, capsys, monkeypatch):
    _, text, _ = run(capsys, monkeypatch, *command.split(), "--help")
    assert "(default: None)" not in re.sub(r"[│\s]+", " ", text)


def test_help_of_training_lists_the_arguments_of_the_network(capsys, monkeypatch):
    for part, network in (("resampler", R2IR), ("diffuser", R2ID)):
        _, text, _ = run(capsys, monkeypatch, "train", part, "mnist", "--help")
        for parameter in list(inspect.signature(network).parameters.values())[:-1]:
            assert f"{parameter.name}={parameter.default}" in text
    assert "time_dim=128: channels of the time embedding" in text


def test_help_of_resume_says_what_happens_to_another_folder(capsys, monkeypatch, tmp_path):
    sample = ("sample", "--latent-size", "4x4", "--size", "9x9", *QUICK, "--output", tmp_path / "x")
    assert run(capsys, monkeypatch, *sample, "--labels", "3")[0] == 0
    status, _, error = run(capsys, monkeypatch, *sample, "--labels", "4")
    assert status == 2 and "give another output" in error
    status, out, _ = run(capsys, monkeypatch, "sample", "--help")
    assert "holds pictures of other settings is refused" in " ".join(unwrapped(out).split())


def test_the_diffuser_needs_a_trained_resampler(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    train = ("train", "diffuser", "mnist", "--data", FIXTURES / "digits", "--output", tmp_path / "run")
    status, _, error = run(capsys, monkeypatch, *train)
    assert status == 2 and "train it first by `r2id train resampler`" in error


def test_openmp_waits_without_spinning_unless_the_user_says_otherwise():
    script = "import os, r2id; print(os.environ.get('OMP_WAIT_POLICY'))"
    for given, expected in (
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "9"}, None),
    ):
        clean = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        printed = subprocess.run([sys.executable, "-c", script], env=clean | given, capture_output=True, text=True)
        assert printed.stdout.strip() == str(expected)
