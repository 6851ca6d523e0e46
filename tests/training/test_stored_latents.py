"""Training on latents that were encoded once: as on the images, without an encoder, and of their own R2IR alone."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from safetensors.torch import load

from r2id import cli
from r2id.data.captions import labelled_by_captions, one_of_each
from r2id.data.latents import load_latents
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.images import load_test_images
from r2id.files.latents import Latents, latent_files
from r2id.networks.resampler import R2IR
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser

FIXTURES = Path(__file__).parents[1] / "fixtures"
DIGITS = FIXTURES / "digits"
MODEL = (
    "dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", "num_high=3",
    "num_low=2",
)  # fmt: skip


def r2id(*arguments: object) -> None:
    with patch.object(sys, "argv", ["r2id", *map(str, arguments)]):
        cli.main()


@pytest.fixture(scope="module")
def resampler(make_resampler, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resampler")
    make_resampler(sample_size=8).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoded(resampler, tmp_path_factory) -> Path:
    """The 400 training digits at two grids, in files of at most 150."""
    folder = tmp_path_factory.mktemp("encoded")
    for grid in ("2x2", "2x3"):
        encode = ("encode", "--model", resampler, "--data", DIGITS, "--image-size", "8x8", "--latent-size", grid)
        r2id(*encode, "--batch-size", "150", "--output", folder / grid)
    return folder


@pytest.fixture
def captioned(tmp_path) -> Path:
    folder, rows = tmp_path / "captioned", []
    folder.mkdir()
    for index, texts in enumerate((["a red square", "red"], "blue", ["green", "a green square", "grass"])):
        Image.new("L", (8, 8), 80 * index).save(folder / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "text": texts})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def training(data: Path, trained: Path, output: Path, **changes) -> DiffuserTraining:
    settings = {
        "data": str(data), "resampler": str(trained), "output": output, "model": MODEL, "image_size": (8, 8),
        "latent_sizes": ((2, 2),), "steps": 6, "batch_size": 16, "warmup_steps": 2, "sample_every": 0,
    }  # fmt: skip
    return DiffuserTraining(**settings | changes)


def losses_of(config: DiffuserTraining, monkeypatch) -> list[float]:
    losses, forward = [], DiffusionObjective.forward

    def noted(self, *arguments):
        loss = forward(self, *arguments)
        losses.append(loss.item())
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionObjective, "forward", noted)
        train_diffuser(config)
    return losses


def test_they_are_learnt_as_the_images_are_and_nothing_is_encoded(encoded, resampler, tmp_path, monkeypatch, capsys):
    expected = losses_of(training(DIGITS, resampler, tmp_path / "images"), monkeypatch)
    monkeypatch.setattr(R2IR, "encode", None)
    stored = training(encoded / "2x2", resampler, tmp_path / "latents", sample_every=3)
    # In half precision: close, and not the same.
    assert losses_of(stored, monkeypatch) == pytest.approx(expected, rel=0.01)
    assert "r2id: latents 2x2, 400 latents of 2x2; 10 labels; no captions" in capsys.readouterr().err
    pipeline = R2Pipeline.from_pretrained(tmp_path / "latents" / "pipeline")
    assert pipeline.conditioner.label_names == list("0123456789")
    assert tuple(pipeline.diffuser.config.canvas) == (8, 8)
    defaults = pipeline.generation_defaults
    assert (defaults.size, defaults.latent_size) == ((8, 8), (2, 2))
    assert defaults.most_latents is None


def test_several_grids_are_learnt_by_turns_and_a_resumed_training_goes_on(encoded, resampler, tmp_path, monkeypatch):
    met, forward = [], DiffusionObjective.forward

    def noted(self, latents, labels, grid):
        met.append(tuple(latents.shape[2:]))
        return forward(self, latents, labels, grid)

    monkeypatch.setattr(DiffusionObjective, "forward", noted)
    config = training(encoded, resampler, tmp_path, latent_sizes=((2, 3),), checkpoint_every=3)
    train_diffuser(config)
    weights = tmp_path / "pipeline" / "diffuser" / "diffusion_pytorch_model.safetensors"
    expected = weights.read_bytes()
    shutil.rmtree(tmp_path / "checkpoints" / "step-000006")
    train_diffuser(replace(config, resume=True))
    after = load(weights.read_bytes())
    assert all(torch.equal(tensor, after[name]) for name, tensor in load(expected).items())
    pipeline = R2Pipeline.from_pretrained(tmp_path / "pipeline")
    assert set(met) == {(2, 2), (2, 3)} and met[6:] == met[3:6]
    assert pipeline.diffuser.config.noise_reference_size == 3 and pipeline.generation_defaults.latent_size == (2, 3)


def test_latents_of_several_proportions_are_learnt_at_a_square_scale(resampler, tmp_path, capsys):
    model = R2IR.from_pretrained(resampler).checksum()
    for count, canvas, grid in ((4, (9, 16), (2, 4)), (2, (16, 9), (4, 2)), (1, (8, 8), (3, 3))):
        latents = Latents(torch.rand(count, 3, *grid) * 2 - 1, canvas, (), model)
        latents.save(tmp_path / "latents" / f"{count}.safetensors")
    train_diffuser(training(tmp_path / "latents", resampler, tmp_path, steps=9, batch_size=1, sample_every=9))
    pipeline = R2Pipeline.from_pretrained(tmp_path / "pipeline")
    assert pipeline.diffuser.config.canvas is None and pipeline.diffuser.config.noise_reference_size == 3
    assert pipeline.generation_defaults.latent_size == (3, 3) and pipeline.generation_defaults.size == (8, 8)
    r2id("info", "--model", tmp_path / "pipeline")
    assert "stored_grids=2x4 4x2 3x3" in " ".join(capsys.readouterr().out.split())


def test_latents_of_no_pictures_give_the_size_that_the_resampler_learnt(resampler, tmp_path):
    model = R2IR.from_pretrained(resampler).checksum()
    Latents(torch.rand(4, 3, 2, 4) * 2 - 1, (1, 2), (), model).save(tmp_path / "one.safetensors")
    train_diffuser(training(tmp_path / "one.safetensors", resampler, tmp_path, steps=1, sample_every=1))
    pipeline = R2Pipeline.from_pretrained(tmp_path / "pipeline")
    assert tuple(pipeline.diffuser.config.canvas) == (1, 2) and pipeline.generation_defaults.size == (4, 8)


def test_latents_of_a_pyramid_give_as_many_pixels_as_its_cells_have(make_pyramid, tmp_path):
    pyramid = make_pyramid()
    pyramid.save_pretrained(tmp_path / "pyramid")
    latents = Latents(torch.rand(4, 24, 2, 3), (1.5, 2.5), (), pyramid.checksum())
    latents.save(tmp_path / "one.safetensors")
    config = training(tmp_path / "one.safetensors", tmp_path / "pyramid", tmp_path, steps=1, sample_every=1)
    train_diffuser(config)
    pipeline = R2Pipeline.from_pretrained(tmp_path / "pipeline")
    assert tuple(pipeline.diffuser.config.canvas) == (1.5, 2.5) and pipeline.generation_defaults.size == (24, 40)
    assert pipeline.generation_defaults.most_latents == max(pipeline.generation_defaults.latent_size)
    # Test images are of that size too, whatever the canvas is measured in.
    data = load_test_images(pipeline, str(FIXTURES / "emoji"), "train", None)
    assert data.images.shape[1:] == (3, 24, 40)


def test_one_file_is_enough(encoded, resampler, tmp_path):
    train_diffuser(training(encoded / "2x2" / "00000300.safetensors", resampler, tmp_path, steps=1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resampler": "mnist"}, "holds latents of other weights than the resampler mnist; give the R2IR that encoded"),
        ({"resampler": "none"}, "resampler is none and .* holds latents; give the R2IR that encoded them"),
        ({"latent_jitter": 0.3}, "latent_jitter is 0.3; stored latents cannot move, so with them it is 0"),
        ({"text_encoder": "clip"}, "text_encoder is clip and latents 2x2, 400 latents has no captions"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(encoded, resampler, tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        train_diffuser(training(encoded / "2x2", resampler, tmp_path, **changes))


def test_a_batch_is_of_the_latents_asked_for_wherever_they_lie(encoded):
    (data, *_) = load_latents(latent_files(encoded / "2x2"))
    together = Latents.joined([Latents.load(file) for file in latent_files(encoded / "2x2")])
    chosen = torch.tensor([399, 0, 149, 150, 299, 300, 7])
    assert len(data) == 400 and [len(part) for part in data.parts] == [150, 150, 100]
    batch = data.batch(chosen)
    assert torch.equal(batch, together.values[chosen]) and batch.canvas == (8, 8) and data.image_size == (8, 8)
    assert [data.label_names[index] for index in data.labels[chosen]] == [together.labels[index] for index in chosen]


def test_they_are_mapped_and_not_read(tmp_path):
    file = tmp_path / "large.safetensors"
    Latents(torch.zeros(64, 64, 64, 64), (8, 8), (), 7).save(file)

    (data,) = load_latents([file])
    assert data.batch([3]).shape == (1, 64, 64, 64)
    # Memory that a process takes says little, since its allocator keeps what others freed.
    mapped = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if file.name in line]
    (values,) = data.parts
    assert any(
        int(first, 16) <= values.data_ptr() < int(last, 16) for first, last in (one.split("-") for one in mapped)
    )


def test_files_of_different_kinds_are_refused(tmp_path):
    one = Latents(torch.zeros(2, 3, 2, 2), (8, 8), ("a", "b"), 7)
    for name, other in (
        ("weights", replace(one, model=8)),
        ("channels", replace(one, values=torch.zeros(2, 4, 2, 2))),
        ("labels", replace(one, labels=())),
        ("captions", replace(one, captions=(("a",), ("b", "c")))),
    ):
        for file, latents in (("0", one), ("1", other)):
            latents.save(tmp_path / f"{file}.safetensors")
        with pytest.raises(InputError, match=f"1.safetensors has other {name}.* than .*0.safetensors"):
            load_latents(latent_files(tmp_path))


def test_a_folder_of_anything_else_is_none_of_latents(encoded, tmp_path):
    assert latent_files(DIGITS) == latent_files(tmp_path) == latent_files(tmp_path / "gone") == []
    assert len(latent_files(encoded)) == 6
    (tmp_path / "one.safetensors").touch()
    (tmp_path / "picture.png").touch()
    assert latent_files(tmp_path) == []


def test_encoding_keeps_all_captions_and_the_names_of_the_files(captioned, resampler, tmp_path):
    common = ("--model", resampler, "--latent-size", "2x2", "--output", tmp_path / "latents")
    r2id("encode", "--data", captioned, "--batch-size", "2", *common)
    kept = Latents.joined([Latents.load(file) for file in latent_files(tmp_path / "latents")])
    assert kept.names == ("0.png", "1.png", "2.png") and kept.labels == ()
    assert kept.captions == (("a red square", "red"), ("blue",), ("green", "a green square", "grass"))
    (data,) = load_latents(latent_files(tmp_path / "latents"))
    assert data.captions == ("a red square", "blue", "green") and data.more_captions[2] == ("a green square", "grass")
    assert data.found.endswith("no labels; captions such as 'a red square', up to 3 of an image")


def test_encoding_does_not_go_on_beside_latents_of_other_captions(captioned, resampler, tmp_path, capsys):
    encode = ("encode", "--model", resampler, "--latent-size", "2x2", "--data", captioned, "--output", tmp_path / "out")
    r2id(*encode)
    metadata = captioned / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("blue", "azure").replace('"text"', '"long"'))
    for more in ((), ("--resume",)):
        with pytest.raises(SystemExit):
            r2id(*encode, "--caption-column", "long", *more)
        assert "labels_and_captions is" in capsys.readouterr().err


class TestSeveralCaptions:
    def test_one_of_them_is_drawn_of_each_image_alike_for_one_seed(self, captioned):
        (data,) = labelled_by_captions([load_images(captioned)])
        names = [[data.label_names[index] for index in one_of_each(data.labels, seed)] for seed in range(200)]
        for number, texts in enumerate((["a red square", "red"], ["blue"], ["a green square", "grass", "green"])):
            drawn = [some[number] for some in names]
            assert sorted(set(drawn)) == sorted(texts)
            assert all(drawn.count(text) > 120 / len(texts) for text in texts)
        assert torch.equal(one_of_each(data.labels, 5), one_of_each(data.labels, 5))

    def test_images_of_one_caption_are_labelled_as_before(self, captioned):
        rows = [{"file_name": f"{index}.png", "text": text} for index, text in enumerate("bab")]
        (captioned / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (data,) = labelled_by_captions([load_images(captioned)])
        assert data.labels.tolist() == [1, 0, 1] and one_of_each(data.labels, 3) is data.labels

    @pytest.mark.parametrize("stored", [False, True])
    def test_all_of_them_are_learnt(self, captioned, resampler, encoders, tmp_path, monkeypatch, stored):
        learnt = []
        forward = DiffusionObjective.forward

        def noted(self, images, labels, latent_size):
            learnt.append(labels.tolist())
            return forward(self, images, labels, latent_size)

        monkeypatch.setattr(DiffusionObjective, "forward", noted)
        data = captioned
        if stored:
            data = tmp_path / "latents"
            r2id("encode", "--model", resampler, "--data", captioned, "--latent-size", "2x2", "--output", data)
        config = training(data, resampler, tmp_path, text_encoder=encoders["bert"], sample_every=10, steps=10)
        train_diffuser(config)
        assert {label for labels in learnt for label in labels} == set(range(6))
        before = list(learnt)
        train_diffuser(replace(config, output=tmp_path / "again"))
        assert learnt[len(before) :] == before
