"""Where bfloat16 is computed with, and where float32 stands in for it."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from r2id.cli import main
from r2id.data.loading import load_images
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.plan import Plan
from r2id.runtime import precision
from r2id.runtime.precision import autocast, usable_precision

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without"])
def has_bfloat16(request, monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda device: request.param)
    return request.param


def test_bfloat16_is_computed_with_where_the_device_has_it(has_bfloat16):
    kept = torch.bfloat16 if has_bfloat16 else torch.float32
    with autocast("bf16", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kept
    with autocast("fp32", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert usable_precision("fp32", "cpu") == "fp32"


@pytest.mark.parametrize(
    ("units", "kernels", "usable"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_cpu_needs_units_and_kernels(monkeypatch, units, kernels, usable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": units}, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: kernels, raising=False)
    assert usable_precision("bf16", "cpu") == ("bf16" if usable else "fp32")


def test_an_older_torch_is_asked_for_kernels_alone(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert usable_precision("bf16", "cpu") == "bf16"


@pytest.mark.parametrize("answer", [True, False])
def test_of_several_gpus_the_one_that_computes_is_asked(monkeypatch, answer):
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: asked.append(device) or nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: answer or including_emulation)
    assert usable_precision("bf16", "cuda:1") == ("bf16" if answer else "fp32")
    assert asked == [torch.device("cuda:1")]


def test_what_knows_no_better_computes_as_asked():
    assert usable_precision("bf16", "meta") == "bf16"


def test_the_command_line_says_once_what_stands_in(has_bfloat16, capsys, monkeypatch, tmp_path):
    command = (
        "sample",
        "--labels",
        "1",
        "--num-inference-steps",
        "2",
        "--latent-size",
        "2x2",
        "--size",
        "8x8",
        "--device",
        "cpu",
    )
    monkeypatch.setattr("sys.argv", ["r2id", *command, "--precision", "bf16", "--output", str(tmp_path / "one.png")])
    main()
    assert capsys.readouterr().err.count(precision.REPLACED) == (not has_bfloat16)


def test_figures_name_the_precision_that_they_were_measured_in(has_bfloat16, make_pipeline):
    pictures = load_images(DIGITS, "test", image_size=(16, 16), limit=4)
    plan = Plan(count=0, limit=0, denoising_error=2, latent_size=((2, 2),), precision="bf16")
    report = evaluate(make_pipeline(), pictures, plan)
    assert report.settings["precision"] == ("bf16" if has_bfloat16 else "fp32")


def test_a_training_keeps_the_precision_that_it_had(has_bfloat16, tmp_path):
    from r2id.training.settings import ResamplerTraining
    from r2id.training.setup import train_resampler

    small = ("dim=16", "num_heads=2", "num_blocks=1", "latent_channels=4", "value_dim=4", "pixel_dim=8")
    settings = {"data": str(DIGITS), "steps": 1, "batch_size": 4, "warmup_steps": 1, "sample_every": 0, "model": small}
    folder = train_resampler(ResamplerTraining(output=tmp_path, precision="bf16", **settings))
    kept = json.loads((folder / "config.json").read_text())
    assert kept["training"]["precision"] == ("bf16" if has_bfloat16 else "fp32")
