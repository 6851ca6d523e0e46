"""The command line, end to end on the bundled weights, and every bad input a user may give it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from running import FIXTURES, QUICK, files, run, unwrapped
from safetensors.torch import load_file

from r2id.cli import models
from r2id.files.latents import Latents
from r2id.networks.loading import PRETRAINED


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


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "--class", "3,11", "--output", "out"),
        ("demo", "--labels", "11", "--output", "out"),
        ("outpaint", "photo.png", "--left", "3", "--label", "11"),
    ],
)
@pytest.mark.parametrize("bundled", [True, False])
def test_an_unknown_label_is_told_before_the_networks_are_loaded(
    arguments, bundled, capsys, monkeypatch, tmp_path, make_pipeline
):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("photo.png")
    make_pipeline().save_pretrained("model")
    monkeypatch.setattr("r2id.diffusion.pipeline.R2Pipeline.from_pretrained", None)
    status, _, error = run(capsys, monkeypatch, *arguments, "--model", "mnist" if bundled else "model")
    assert status == 2 and "label '11' is not known to this model; it knows 0, 1, 2" in error
    assert len(error.splitlines()) == 1 and not Path("out").exists()


def test_a_folder_of_joint_samples_takes_no_others(capsys, monkeypatch, tmp_path, make_pipeline):
    make_pipeline(canvas=(16, 16)).save_pretrained(tmp_path / "model")
    sizes = ("--latent-size", "2x2", "--size", "8x8", "--size", "8x16", "--output", tmp_path / "out")
    sample = ("sample", "--model", tmp_path / "model", "--class", "3", *QUICK, *sizes)
    assert run(capsys, monkeypatch, *sample, "--joint")[0] == 0
    status, _, error = run(capsys, monkeypatch, *sample, "--resume")
    assert status == 2 and "joint is False; what" in error and "holds was made with True" in error


def test_a_picture_does_not_depend_on_what_is_generated_beside_it(capsys, monkeypatch, tmp_path):
    common = ("sample", "--latent-size", "4x4", "--size", "16x16", *QUICK)
    run(capsys, monkeypatch, *common, "--labels", "4", "--output", tmp_path / "alone")
    run(capsys, monkeypatch, *common, "--labels", "4,5,6", "--batch-size", "2", "--output", tmp_path / "three")
    alone = Image.open(tmp_path / "alone" / "16x16" / "0-4.png")
    beside = Image.open(tmp_path / "three" / "16x16" / "0-4.png")
    assert max(abs(a - b) for a, b in zip(alone.tobytes(), beside.tobytes(), strict=True)) <= 1


def test_ctrl_c_says_that_it_stopped(capsys, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("r2id.cli.program.read", interrupted)
    assert run(capsys, monkeypatch, "info") == (130, "", "r2id: stopped\n")


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


@pytest.mark.parametrize(("gpu", "precision"), [(True, "high"), (False, "highest")])
def test_only_a_gpu_multiplies_as_tensor_float32(monkeypatch, gpu, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    try:
        models.choose_device("cpu")
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


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
