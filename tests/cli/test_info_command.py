"""`r2id info`: parts, settings and trainings of a model, without torch."""

import shutil
import subprocess
import sys

import pytest
from running import run

from r2id.networks.loading import PRETRAINED


def test_info_names_the_parts_what_they_learnt_from_and_the_resolution_limit(capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, "info")
    assert status == 0
    for expected in ("R2IR", "R2ID", "parameters", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9", "60000 images", "512 samples"):
        assert expected in out


def test_info_shows_what_a_pipeline_generates_by_default(capsys, monkeypatch):
    _, out, _ = run(capsys, monkeypatch, "info", "flowers")
    shown = " ".join(out.split())
    assert "guidance_scale=3.0" in shown and "latent_size=12x12, most_latents=16" in shown and "sunflower" in shown
    _, out, _ = run(capsys, monkeypatch, "info", "pictures")
    assert "by default" not in out


def test_info_takes_a_name_too(capsys, monkeypatch):
    named, optional = (run(capsys, monkeypatch, "info", *how) for how in (("pictures",), ("--model", "pictures")))
    assert named == optional and named[0] == 0 and named[1].startswith("model pictures\n")
    status, _, error = run(capsys, monkeypatch, "info", "mnist", "--model", "pictures")
    assert status == 2 and "mnist and --model pictures are given" in error


def test_info_of_a_pyramid_tells_what_a_pyramid_has(capsys, monkeypatch):
    _, out, _ = run(capsys, monkeypatch, "info", "--model", "pictures")
    assert "widths=" in out and "pixels_per_cell=16" in out
    assert "position frequency" not in out and "num_high" not in out and "sample_size" not in out


def test_info_ends_quietly_when_nobody_reads_on():
    with subprocess.Popen(
        [sys.executable, "-m", "r2id", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as told:
        told.stdout.close()
        assert told.stderr.read() == b"" and told.wait() == 0


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
