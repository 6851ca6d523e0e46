"""Many pictures: shared without loss or doubles, and gone on with after an interruption."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy
import pytest
import tifffile
import torch
from PIL import Image

from r2id import R2IR, cli
from r2id.batch.one_picture import encode_file, psnr_of
from r2id.batch.pictures import Pictures
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.files.images import as_values, read_image
from r2id.files.latents import Latents
from r2id.runtime.processes import Share

SAMPLE = ("--labels", "0-4", "--per-label", "3", "--latent-size", "2x2", "--size", "8x8", "--num-inference-steps", "1")


def command(output: Path, *more: str) -> list[str]:
    return ["r2id", "sample", *SAMPLE, "--batch-size", "2", "--output", str(output), *more]


def sample(output: Path, *more: str) -> None:
    with patch.object(sys, "argv", command(output, *more)):
        cli.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "8x8").glob("*.png")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("alone")
    sample(folder)
    return contents(folder)


@pytest.mark.parametrize(("total", "count"), [(10, 1), (10, 3), (2, 5), (0, 2)])
def test_shares_are_all_of_the_work_once(total, count):
    shares = [list(Share(index, count).of(total)) for index in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_make_together_what_one_makes(tmp_path, alone, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index, made in enumerate([8, 7]):
        monkeypatch.setenv("RANK", str(index))
        sample(tmp_path)
        assert f"{made} pictures of 8x8 in {tmp_path / '8x8'} by process {index} of 2" in capsys.readouterr().out
    assert contents(tmp_path) == alone


def test_a_killed_run_is_gone_on_with(tmp_path, alone):
    process = subprocess.Popen([sys.executable, "-m", *command(tmp_path)])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("8x8/*.png")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "8x8").glob("*-*.png")}
    assert times
    sample(tmp_path, "--resume")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    # Batches begin elsewhere than in one go, which may round a colour otherwise.
    assert contents(tmp_path).keys() == alone.keys()


def test_what_a_killed_process_of_two_left_out_is_made_by_the_next_run(tmp_path, alone):
    pictures, processes = tmp_path / "8x8", []
    try:
        for index in range(2):
            environment = os.environ | {"RANK": str(index), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
            arguments = [sys.executable, "-m", *command(tmp_path, "--batch-size", "1")]
            processes.append(subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 120
        # The second makes those of odd numbers.
        while not list(pictures.glob("*[13579]-*.png")) and time.monotonic() < deadline:
            time.sleep(0.002)
        processes[1].kill()
        printed, _ = processes[0].communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert f"8 pictures of 8x8 in {pictures} by process 0 of 2" in printed
    times = {path: path.stat().st_mtime_ns for path in pictures.glob("*-*.png")}
    made = sorted(int(path.name.partition("-")[0]) for path in times)
    assert set(range(0, 15, 2)) < set(made) < set(range(15)) and not (tmp_path / "8x8.png").exists()
    sample(tmp_path, "--resume")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert contents(tmp_path).keys() == alone.keys()
    # One picture at a time may round a colour otherwise than two.
    assert all(alike(pictures / name, io.BytesIO(content)) for name, content in alone.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["8x8", "8x8.png", "sample.json"]
    assert not list(pictures.glob(".*"))


def test_kept_latents_are_those_of_the_pictures(tmp_path, alone, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index in range(2):
        monkeypatch.setenv("RANK", str(index))
        sample(tmp_path, "--keep-latents")
    assert f"their latents in {tmp_path / 'latents'}" in capsys.readouterr().out
    assert contents(tmp_path) == alone
    names = sorted(path.name for path in (tmp_path / "latents").iterdir())
    assert names == [f"{index:08d}.safetensors" for index in range(15)]
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    r2id("decode", tmp_path / "latents", "--size", "8x8", "--output", tmp_path / "again")
    again = contents(tmp_path / "again")
    assert again.keys() == alone.keys()
    assert all(alike(tmp_path / "8x8" / name, tmp_path / "again" / "8x8" / name) for name in alone)
    r2id(
        "resample",
        tmp_path / "latents" / "00000004.safetensors",
        "--model",
        "mnist",
        "--size",
        "8x8",
        "--output",
        tmp_path / "4.png",
    )
    assert alike(tmp_path / "4.png", tmp_path / "8x8" / "4-1.png")


def alike(first: Path | io.BytesIO, second: Path | io.BytesIO) -> bool:
    one, other = (numpy.asarray(Image.open(path)).astype(int) for path in (first, second))
    return one.shape == other.shape and bool(abs(one - other).max() <= 1)


def test_going_on_makes_the_latents_that_are_missing(tmp_path, alone, capsys):
    sample(tmp_path)
    sample(tmp_path, "--resume")
    assert "kept all 15 pictures of 8x8 in" in capsys.readouterr().out
    sample(tmp_path, "--resume", "--keep-latents")
    latents = tmp_path / "latents"
    assert len(list(latents.iterdir())) == 15
    (latents / "00000003.safetensors").unlink()
    times = {path: path.stat().st_mtime_ns for path in latents.iterdir()}
    sample(tmp_path, "--resume", "--keep-latents")
    assert len(list(latents.iterdir())) == 15
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_picture_is_resampled_by_way_of_a_file_of_its_latent(tmp_path, capsys):
    picture = tmp_path / "picture.png"
    Image.linear_gradient("L").resize((30, 40)).save(picture)
    latent = tmp_path / "latent.safetensors"
    r2id("resample", picture, "--model", "mnist", "--latent-size", "8x6", "--output", latent)
    assert f"{latent}: 8x6" in capsys.readouterr().out
    for source in (picture, latent):
        output = tmp_path / f"from-{source.stem}.png"
        size = ("--latent-size", "8x6") if source == picture else ()
        r2id("resample", source, "--model", "mnist", *size, "--region", "0,0,20,30", "--output", output)
    assert alike(tmp_path / "from-picture.png", tmp_path / "from-latent.png")
    refused = [
        (picture, latent, ("--size", "9x9"), "no --size"),
        (tmp_path / "two.safetensors", picture, (), "2 latents"),
    ]
    one = Latents.load(latent)
    Latents.joined([one, one]).save(tmp_path / "two.safetensors")
    Latents(one.values, one.canvas, (), one.model + 1).save(tmp_path / "other.safetensors")
    refused.append((tmp_path / "other.safetensors", picture, (), "latents of other weights"))
    before = picture.read_bytes()
    for source, output, more, sentence in refused:
        with pytest.raises(SystemExit):
            r2id("resample", source, "--model", "mnist", "--output", output, *more)
        assert sentence in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_latents_are_not_kept_beside_a_single_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sample(tmp_path / "one.png", "--keep-latents")
    assert "give a folder" in capsys.readouterr().err and not list(tmp_path.iterdir())


def sampling_twice(output: Path, *more: str) -> None:
    """`sample`, and with its first batch half done another `sample` into the same folder, with more options."""
    call, calls = R2Pipeline.__call__, []

    def twice(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            sample(output, *more)
        return call(self, *arguments, **options)

    with patch.object(R2Pipeline, "__call__", twice):
        sample(output)


def test_a_run_with_other_settings_is_refused_while_one_writes_there(tmp_path, alone, capsys):
    with pytest.raises(SystemExit):
        sampling_twice(tmp_path / "out", "--seed", "1")
    assert "another process is writing to" in (error := capsys.readouterr().err) and "seed is 1" in error
    assert not (tmp_path / "out").exists()
    sampling_twice(tmp_path / "out")
    assert contents(tmp_path / "out") == alone
    # So it is later, or the pictures of both would lie there together.
    with pytest.raises(SystemExit):
        sample(tmp_path / "out", "--seed", "1")
    assert "seed is 1" in (error := capsys.readouterr().err) and "was made with 0; give another output" in error
    assert contents(tmp_path / "out") == alone


def test_what_killed_runs_left_is_removed_by_the_next_that_is_alone(tmp_path, alone):
    for folder in (tmp_path, tmp_path / "8x8"):
        (folder / ".writing-left").mkdir(parents=True)
        (folder / ".writing-left" / "3-1.png").write_text("half")
    sample(tmp_path)
    assert contents(tmp_path) == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["8x8", "8x8.png", "sample.json"]
    assert not list((tmp_path / "8x8").glob(".*"))


def test_pictures_made_with_other_settings_are_not_gone_on_with(tmp_path, alone, capsys):
    sample(tmp_path)
    with pytest.raises(SystemExit):
        sample(tmp_path, "--resume", "--seed", "3")
    assert f"seed is 3; what {tmp_path} holds was made with 0" in capsys.readouterr().err
    assert contents(tmp_path) == alone
    assert json.loads((tmp_path / "sample.json").read_text())["seed"] == 0


def test_pictures_that_another_resampler_decoded_are_not_gone_on_with(tmp_path, capsys):
    pipeline = R2Pipeline.from_pretrained("mnist")
    pipeline.resampler.latent_std.mul_(2)
    pipeline.save_pretrained(tmp_path / "model")
    sample(tmp_path / "pictures")
    with pytest.raises(SystemExit):
        sample(tmp_path / "pictures", "--resume", "--model", str(tmp_path / "model"))
    assert "model is" in capsys.readouterr().err


def test_a_damaged_record_is_named(tmp_path, capsys):
    (tmp_path / "sample.json").write_text("[")
    with pytest.raises(SystemExit):
        sample(tmp_path, "--resume")
    assert "sample.json is damaged" in capsys.readouterr().err


DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
ENCODE = ("encode", "--data", str(DIGITS), "--split", "test", "--image-size", "32x32", "--batch-size", "80")


def r2id(*arguments) -> None:
    with patch.object(sys, "argv", ["r2id", *map(str, arguments)]):
        cli.main()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    r2id(*ENCODE, "--output", folder)
    return folder


def test_encoded_digits_are_decoded_at_any_size(encoded, tmp_path):
    r2id("decode", encoded, "--size", "32x32", "--size", "20x12", "--output", tmp_path)
    data = load_images(DIGITS, "test", image_size=(32, 32))
    assert len(list((tmp_path / "20x12").glob("*-*.png"))) == len(data)
    for index in (0, 81, 199):
        picture = read_image(tmp_path / "32x32" / f"{index}-{data.labels[index]}.png", channels=1)
        assert ((picture.float() - data.images[index]) / 127.5).square().mean() < 0.01


def test_processes_encode_each_batch_once(encoded, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index, made in enumerate([120, 80]):
        monkeypatch.setenv("RANK", str(index))
        r2id(*ENCODE, "--output", tmp_path)
        assert f"{made} latents of 8x8 in {tmp_path} by process {index} of 2" in capsys.readouterr().out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["00000000.safetensors", "00000080.safetensors", "00000160.safetensors", "encode.json"]
    assert all((tmp_path / name).read_bytes() == (encoded / name).read_bytes() for name in names)


def test_encoding_goes_on_with_what_is_missing_and_refuses_other_settings(tmp_path, capsys):
    r2id(*ENCODE, "--output", tmp_path)
    (tmp_path / "00000080.safetensors").unlink()
    capsys.readouterr()
    r2id(*ENCODE, "--output", tmp_path, "--resume")
    assert "80 latents of 8x8" in capsys.readouterr().out and (tmp_path / "00000080.safetensors").exists()
    r2id(*ENCODE, "--output", tmp_path, "--resume")
    assert "kept all 200 latents of 8x8 in" in capsys.readouterr().out
    for change in (("--latent-size", "4x4"), ("--batch-size", "50"), ("--split", "train")):
        with pytest.raises(SystemExit):
            r2id(*ENCODE, "--output", tmp_path, "--resume", *change)
        assert "was made with" in capsys.readouterr().err


@pytest.mark.parametrize("large", [False, True])
def test_a_single_picture_is_encoded_even_if_larger_than_memory(tmp_path, monkeypatch, capsys, large):
    picture, output = tmp_path / "picture.tif", tmp_path / "out"
    levels = torch.rand(1, 40, 90, generator=torch.Generator().manual_seed(0)).mul(255).byte()
    tifffile.imwrite(picture, levels[0].numpy(), tile=(32, 16))
    if large:
        monkeypatch.setattr("r2id.files.images.LARGE", 100)
        monkeypatch.setattr("r2id.batch.one_picture.read_image", None)
    r2id("encode", "--data", picture, "--latent-size", "4x6", "--output", output)
    assert f"1 latent of 4x6 in {output}" in capsys.readouterr().out
    latents = Latents.load(output / "00000000.safetensors")
    with torch.inference_mode():
        resampler = R2Pipeline.from_pretrained("mnist").resampler
        torch.testing.assert_close(latents.values, resampler.encode(as_values(levels[None]), (4, 6)), atol=2e-3, rtol=0)
    assert latents.canvas == (40, 90) and latents.labels == ()
    time_of = (output / "00000000.safetensors").stat().st_mtime_ns
    r2id("encode", "--data", picture, "--latent-size", "4x6", "--output", output, "--resume")
    monkeypatch.setenv("RANK", "1")
    r2id("encode", "--data", picture, "--latent-size", "4x6", "--output", output)
    assert (output / "00000000.safetensors").stat().st_mtime_ns == time_of
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "other").mkdir()
    tifffile.imwrite(tmp_path / "other" / "picture.tif", 255 - levels[0].numpy(), tile=(32, 16))
    for change, sentence in (
        (("--latent-size", "4x4"), "latent_size is [4, 4]; what"),
        (("--background", "9"), "background is 9; what"),
        (("--data", str(tmp_path / "other" / "picture.tif")), "images is"),
        (("--image-size", "9x9"), "is one file, which is encoded as it is"),
        (("--latent-size", "9" * 18 + "x" + "9" * 18), "GiB"),
    ):
        with pytest.raises(SystemExit):
            r2id("encode", "--data", picture, "--latent-size", "4x6", "--output", output, "--resume", *change)
        assert sentence in capsys.readouterr().err


def test_a_file_that_is_no_picture_is_not_encoded(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("no picture")
    with pytest.raises(SystemExit):
        r2id("encode", "--data", tmp_path / "text.txt", "--output", tmp_path / "out")
    assert "text.txt cannot be read as an image" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_latents_are_not_decoded_to_a_folder_named_as_a_picture(tmp_path, capsys):
    with pytest.raises(SystemExit):
        r2id("decode", tmp_path, "--output", tmp_path / "out.png")
    assert "out.png is named as a file" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_latents_of_no_pictures_are_decoded_at_the_size_of_the_model(tmp_path):
    model = R2Pipeline.from_pretrained("mnist").resampler.checksum()
    Latents(torch.zeros(1, 64, 4, 7), (9, 16), (), model).save(tmp_path / "wide.safetensors")
    r2id("decode", tmp_path / "wide.safetensors", "--output", tmp_path / "out")
    assert read_image(tmp_path / "out" / "18x32" / "0-picture.png", channels=1).shape == (1, 18, 32)


def test_latents_of_other_weights_are_not_decoded(tmp_path, capsys):
    Latents(torch.zeros(1, 64, 4, 4), (32, 32), ("3",), model=1).save(tmp_path / "one.safetensors")
    with pytest.raises(SystemExit):
        r2id("decode", tmp_path / "one.safetensors", "--output", tmp_path / "out")
    error = capsys.readouterr().err
    assert "latents of other weights than model mnist" in error and "encoded them by --model" in error
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        r2id("decode", tmp_path / "empty", "--output", tmp_path / "out")
    assert "holds no files of latents" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_picture_is_missing_until_every_size_is_there(tmp_path):
    pictures = Pictures(tmp_path, ["a/b", "c"], [(1, 2), (3, 4)])
    assert pictures.missing(range(2)) == [0, 1]
    for size in pictures.sizes:
        pictures.file(0, size).parent.mkdir(exist_ok=True)
        pictures.file(0, size).touch()
    assert pictures.missing(range(2)) == [1] and pictures.file(0, (1, 2)) == tmp_path / "1x2" / "0-a_b.png"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_photograph_larger_than_memory_is_encoded_by_a_pyramid_as_one_that_is_not(tmp_path, monkeypatch, channels):
    levels = torch.rand(70, 90, channels, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    path = tmp_path / "photograph.tif"
    alpha = {"photometric": "rgb", "extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(path, levels[..., 0] if channels == 1 else levels, tile=(32, 16), **alpha)
    widths = {"widths": (12, 48, 64, 64), "encoder_blocks": (1, 0, 0, 0), "decoder_blocks": (1, 0, 0, 0)}
    torch.manual_seed(0)
    resampler = R2IR(image_channels=3, latent_channels=16, attention="pyramid", read_channels=4, read_dim=8, **widths)
    with torch.inference_mode():
        whole = encode_file(resampler, path, None, 9, pixels_per_cell=4)
        psnr = psnr_of(resampler, whole, path, 9)
        monkeypatch.setattr("r2id.files.images.LARGE", 100)
        monkeypatch.setattr("r2id.files.large_reader.fits_at_once", lambda path, size: False)
        monkeypatch.setattr("r2id.batch.one_picture.read_image", None)
        monkeypatch.setattr("r2id.networks.pyramid.BLOCK", 8)
        parts = encode_file(resampler, path, None, 9, pixels_per_cell=4)
        assert psnr_of(resampler, parts, path, 9) == pytest.approx(psnr, abs=0.01)
    torch.testing.assert_close(parts.values, whole.values, rtol=0, atol=1e-5)
    assert parts.canvas == whole.canvas == (17.5, 22.5)
