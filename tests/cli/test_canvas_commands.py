"""Canvases on the command line."""

import json

import pytest
import torch
from PIL import Image

from r2id.diffusion.pipeline import R2Pipeline

QUICK = ("--num-inference-steps", "2")
SIZES = ("--size", "24x24", "--size", "14x24")


class TestJoint:
    def test_each_size_gets_the_picture_composed_for_it(self, command, tmp_path):
        sample = ("sample", "--labels", "3,4", *QUICK, *SIZES)
        assert command(*sample, "--joint", "--output", tmp_path / "joint")[0] == 0
        assert command(*sample, "--output", tmp_path / "stretched")[0] == 0
        assert json.loads((tmp_path / "joint" / "sample.json").read_text())["joint"] is True
        assert "joint" not in json.loads((tmp_path / "stretched" / "sample.json").read_text())
        pipeline = R2Pipeline.from_pretrained("mnist")
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        sizes = [(24, 24), (14, 24)]
        images = pipeline([3, 4], None, sizes, joint=True, num_inference_steps=2, generator=generators).images
        for size, expected in zip(("24x24", "14x24"), images, strict=True):
            written = Image.open(tmp_path / "joint" / size / "1-4.png")
            assert written.tobytes() == expected[1].tobytes()
            assert written.tobytes() != Image.open(tmp_path / "stretched" / size / "1-4.png").tobytes()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--size", "24x24"), "--joint is given without several sizes"),
            ((), "--joint is given without several sizes"),
            ((*SIZES, "--keep-latents"), "--keep-latents keeps those of one"),
        ],
    )
    def test_what_cannot_be_joint_is_said_in_one_sentence(self, command, tmp_path, options, sentence):
        status, _, error = command("sample", "--labels", "3", "--joint", *options, "--output", tmp_path / "out")
        assert status == 2 and sentence in error and len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
