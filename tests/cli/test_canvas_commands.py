"""Canvases on the command line."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline

FIXTURES = Path(__file__).parents[1] / "fixtures"
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


@pytest.fixture
def digit(tmp_path):
    """A digit of 32×32 in the file photo.png."""
    levels = load_images(FIXTURES / "digits", "test", image_size=(32, 32), limit=1).images[0, 0]
    Image.fromarray(levels.numpy()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


class TestGivenPictures:
    def test_outpainting_writes_a_larger_picture_beside_the_given_one(self, command, digit):
        status, printed, error = command("outpaint", digit, "--left", "8", "--bottom", "4", "--label", "7", *QUICK)
        output = digit.with_name("photo-outpainted.png")
        assert (status, printed) == (0, f"{output}: 36x40\n"), error
        assert Image.open(output).crop((8, 0, 40, 32)).tobytes() == Image.open(digit).tobytes()

    def test_inpainting_paints_the_white_part_of_the_mask(self, command, digit, tmp_path):
        mask = Image.new("L", (32, 32))
        mask.paste(255, (16, 0, 32, 32))
        mask.save(tmp_path / "mask.png")
        arguments = ("inpaint", digit, "--mask", tmp_path / "mask.png", *QUICK)
        pictures = []
        for seed in ("0", "1"):
            assert command(*arguments, "--seed", seed, "--output", tmp_path / f"{seed}.png")[0] == 0
            pictures.append(Image.open(tmp_path / f"{seed}.png"))
        left, right = (0, 0, 16, 32), (16, 0, 32, 32)
        assert pictures[0].crop(left).tobytes() == pictures[1].crop(left).tobytes()
        assert pictures[0].crop(left).tobytes() == Image.open(digit).crop(left).tobytes()
        assert pictures[0].crop(right).tobytes() != pictures[1].crop(right).tobytes()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("outpaint", "photo.png"), "left, right, top, bottom are all 0"),
            (("outpaint", "photo.png", "--left", "97"), "left 97 would make a side of 32 pixels 129"),
            (("outpaint", "photo.png", "--left", "-3"), "left is -3"),
            (("outpaint", "photo.png", "--left", "1.5"), "'1.5' is not a whole number"),
            (("outpaint", "none.png", "--left", "3"), "none.png is not a file"),
            (("outpaint", "photo.png", "--left", "3", "--output", "photo.png"), "is the picture that is given"),
            (("outpaint", "photo.png", "--left", "3", "--output", "out.txt"), "out.txt has no suffix of an image"),
            (("outpaint", "photo.png", "--left", "3", "--label", "cat"), "'cat'"),
            (("outpaint", "photo.png", "--left", "3", "--label", "3", "--prompt", "3"), "both given"),
            (("inpaint", "photo.png", "--mask", "small.png"), "mask is 31x32 and the image 32x32"),
            (("inpaint", "photo.png", "--mask", "none.png"), "none.png is not a file"),
        ],
    )
    def test_what_cannot_be_is_said_in_one_sentence(self, command, digit, monkeypatch, arguments, sentence):
        monkeypatch.chdir(digit.parent)
        Image.new("L", (32, 31)).save("small.png")
        before = sorted(digit.parent.iterdir())
        status, _, error = command(*arguments)
        assert status == 2 and sentence in error and len(error.splitlines()) == 1, error
        assert sorted(digit.parent.iterdir()) == before


class TestPanorama:
    def test_it_goes_to_a_folder_or_a_file(self, command, tmp_path):
        sample = ("sample", "--labels", "3", "--panorama", "--size", "16x60", "--latent-size", "4x4", *QUICK)
        assert command(*sample, "--output", tmp_path / "out")[0] == 0
        status, printed, error = command(*sample, "--output", tmp_path / "wide.png")
        assert (status, printed) == (0, f"{tmp_path / 'wide.png'}: 16x60\n"), error
        wide = Image.open(tmp_path / "wide.png")
        assert wide.tobytes() == Image.open(tmp_path / "out" / "16x60" / "0-3.png").tobytes()
        pipeline = R2Pipeline.from_pretrained("mnist")
        how = {"num_inference_steps": 2, "generator": [torch.Generator().manual_seed(0)]}
        assert wide.tobytes() == pipeline.panorama([3], (16, 60), (4, 4), **how).images[0].tobytes()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ((), "--panorama is given with 0 sizes"),
            (SIZES, "--panorama is given with 2 sizes"),
            ((*SIZES, "--joint"), "--panorama is given with 2 sizes"),
            (("--size", "8x40", "--keep-latents"), "--panorama and --keep-latents are both given"),
            (("--size", "9000000000x10"), "1 times 9000000000x10"),
            (("--size", "1x10000000"), "1 times 1x10000000, with 8x80000000 latents, needs"),
        ],
    )
    def test_what_cannot_be_is_said_in_one_sentence(self, command, tmp_path, options, sentence):
        status, _, error = command("sample", "--labels", "3", "--panorama", *options, "--output", tmp_path / "out")
        assert status == 2 and sentence in error and len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
