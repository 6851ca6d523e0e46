"""Variants of pictures at several canvases, as latents to train on."""

import json
import sys

import pytest
import torch
from PIL import Image

from r2id import R2IR
from r2id.data.latents import load_latents
from r2id.data.loading import load_images


@pytest.fixture
def made(recipe_variants, tmp_path, monkeypatch):
    def run(kind: str, *options: str) -> dict:
        arguments = [kind, tmp_path / "data", tmp_path / "out", "--device", "cpu", *options]
        monkeypatch.setattr(sys, "argv", ["variants.py", *map(str, arguments)])
        recipe_variants.main()
        sets = load_latents(sorted((tmp_path / "out").rglob("*.safetensors")))
        return {(one.size, one.mirrored): one for one in sets}

    return run


def test_photographs_keep_their_class_and_are_cut_only_to_canvases_that_suit_them(tmp_path, made):
    for name, size in (("rose", (180, 140)), ("lotus", (140, 180)), ("lotus", (150, 150))):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{size[0]}.png")
    sets = made("photographs")
    counts = {key: len(one) for key, one in sets.items()}
    assert counts == {
        ((8, 8), False): 12, ((8, 8), True): 9, ((16, 16), False): 6, ((16, 16), True): 3,
        ((8, 12), False): 1, ((8, 12), True): 1, ((12, 8), False): 1, ((12, 8), True): 1,
    }  # fmt: skip
    wide = sets[(8, 12), False]
    assert [wide.label_names[label] for label in wide.labels] == ["rose"] and wide.image_size == (64, 96)


def test_the_first_variant_of_a_drawing_is_the_drawing_on_its_background(tmp_path, made):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    picture = Image.new("RGBA", (128, 128))
    picture.paste((200, 30, 30, 255), (16, 32, 96, 112))
    picture.save(folder / "square.png")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "square.png", "text": ["a square", "red"]}))
    sets = made("drawings", "--background", "255")
    square = sets[(8, 8), False]
    assert len(square) == 3 and square.captions == ("a square",) * 3 and square.more_captions == (("red",),) * 3
    whole = load_images(str(tmp_path / "data"), "train", image_size=(64, 64), channels=3, background=255)
    encoder = R2IR.from_pretrained("pictures")
    with torch.inference_mode():
        expected = encoder.encode(whole.batch(slice(None)), pixels_per_cell=8)
        decoded = encoder.decode(sets[(8, 12), False].batch([0]), (64, 96))
    assert (square.batch([0]) - expected).abs().max() < 0.15 * expected.abs().max()
    # White at both sides, and the square in the middle.
    assert decoded[..., :16].mean() > 0.95 and decoded[..., -16:].mean() > 0.95
    assert decoded[0, 1, 30:40, 34:54].mean() < -0.5


def test_varied_photographs_have_canvases_in_their_own_direction(tmp_path, made):
    for name, size in (("wide", (180, 140)), ("high", (140, 180))):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True)
        Image.effect_noise(size, 80).convert("RGB").save(folder / "one.png")
    sets = made("photographs", "--varied", "6").values()
    assert sum(map(len, sets)) == 12 and len(sets) > 4
    for one in sets:
        height, width = one.size
        names = {one.label_names[label] for label in one.labels}
        assert height == width or names == {"wide" if width > height else "high"}
