"""One picture through the command line: rendered in regions and tiles, resumed, and the same every time."""

from pathlib import Path

import numpy
import pytest
import tifffile
from PIL import Image
from running import FIXTURES, alike, run

from r2id.files.large_writer import _Tiles


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
