"""Where bfloat16 is computed with, and where float32 stands in for it."""

from pathlib import Path

import pytest
import torch

from r2id import precision
from r2id.cli import main
from r2id.evaluation.evaluate import Plan, evaluate
from r2id.precision import autocast, usable_precision
from r2id.training.data import load_images

DIGITS = Path(__file__).parent / "fixtures" / "digits"


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without"])
def has_bfloat16(request, monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda device: request.param)
    return request.param


def test_bfloat16_is_computed_with_where_the_device_has_it(has_bfloat16):
    kept = torch.bfloat16 if has_bfloat16 else torch.float32
    with autocast("bf16", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kept
    with autocast("no", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert usable_precision("no", "cpu") == "no"


@pytest.mark.parametrize("answer", [True, False])
def test_a_processor_is_asked_by_onednn_and_a_gpu_by_cuda(monkeypatch, answer):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: answer, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: answer or including_emulation)
    expected = "bf16" if answer else "no"
    assert usable_precision("bf16", "cpu") == usable_precision("bf16", torch.device("cuda:1")) == expected
    assert usable_precision("bf16", "meta") == "bf16"


def test_the_command_line_says_once_what_stands_in(has_bfloat16, capsys, monkeypatch, tmp_path):
    command = ("sample", "--labels", "1", "--steps", "2", "--latent-size", "2x2", "--size", "8x8", "--device", "cpu")
    monkeypatch.setattr("sys.argv", ["r2id", *command, "--precision", "bf16", "--output", str(tmp_path / "one.png")])
    main()
    assert capsys.readouterr().err.count(precision.REPLACED) == (not has_bfloat16)


def test_figures_name_the_precision_that_they_were_measured_in(has_bfloat16, make_pipeline):
    pictures = load_images(DIGITS, "test", image_size=(16, 16), limit=4)
    plan = Plan(count=0, limit=0, t_scrape=2, latent_size=((2, 2),), precision="bf16")
    report = evaluate(make_pipeline(), pictures, plan)
    assert report.settings["precision"] == ("bf16" if has_bfloat16 else "no")
