"""Training learns: both networks, from and with whatever settings say, and what is kept tells of it."""

import json

import pytest
import torch
from PIL import Image
from small_trainings import (
    DIFFUSER,
    DIGITS,
    POSITIONS,
    RESAMPLER,
    diffuser_training,
    resampler_training,
    same_weights,
    weights,
)

from r2id.conditioning.labels import LabelConditioner
from r2id.data.loading import load_images
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.pipeline import R2Pipeline
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.latent_statistics import measure_latents
from r2id.training.objectives import DiffusionObjective, ReconstructionObjective
from r2id.training.presets import DIFFUSER_PRESETS
from r2id.training.settings import ResamplerTraining
from r2id.training.setup import train_diffuser, train_resampler


class TestReconstructionObjective:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def loss(self, resampler: R2IR, **settings: float) -> float:
        torch.manual_seed(0)
        return ReconstructionObjective(resampler, **settings)(self.images, torch.zeros(3), (3, 4)).item()

    @torch.no_grad()
    def test_it_is_the_error_of_decoding_what_was_encoded(self, make_resampler):
        resampler = make_resampler(sample_size=8)
        decoded = resampler.decode(resampler.encode(self.images, (3, 4)), (8, 8))
        expected = (decoded - self.images).square().mean().item()
        assert self.loss(resampler) == pytest.approx(expected, rel=1e-4)

    @torch.no_grad()
    @pytest.mark.parametrize("setting", ["latent_noise", "latent_jitter", "pixel_share"])
    def test_every_setting_matters(self, make_resampler, setting):
        resampler = make_resampler()
        assert self.loss(resampler, **{setting: 0.5}) != self.loss(resampler)


class TestLearning:
    def test_a_resampler_learns_to_reconstruct(self, tmp_path):
        model = ("dim=32", "num_heads=2", "num_blocks=1", "latent_channels=8", "basis=4", "value_dim=4", "pixel_dim=16")
        settings = {"model": (*model, *POSITIONS), "latent_sizes": ((4, 4),), "learning_rate": 5e-3, "batch_size": 32}
        folder = train_resampler(resampler_training(tmp_path, steps=100, latent_noise=0.0, pixel_share=1.0, **settings))
        trained = R2IR.from_pretrained(folder)
        fresh = R2IR.from_config(trained.config).eval()
        data = load_images(DIGITS, "test", image_size=(8, 8), limit=50)
        images = data.batch(slice(None))
        for size in ((4, 4), (4, 3)):
            before, after = (
                ReconstructionObjective(one, 0.0, 1.0)(images, data.labels, size).item() for one in (fresh, trained)
            )
            assert after < 0.6 * before
        with torch.no_grad():
            decoded = trained.decode(trained.encode(images, (4, 4)), (8, 8))
        # Not just a digit, but this one.
        own, another = ((decoded - target).square().mean() for target in (images, images.roll(1, dims=0)))
        assert own < 0.75 * another

    @pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
    def test_a_diffuser_learns_to_denoise(self, tmp_path, prediction_type):
        model = (*DIFFUSER, f"prediction_type={prediction_type}")
        train_diffuser(diffuser_training(tmp_path, steps=60, model=model))
        diffuser = R2ID.from_pretrained(tmp_path / "pipeline" / "diffuser")
        conditioner = LabelConditioner.from_pretrained(tmp_path / "pipeline" / "conditioner")
        data = load_images(DIGITS, "test", image_size=(8, 8), limit=100)
        fresh = R2ID.from_config(diffuser.config)
        losses = []
        for one in (fresh, diffuser):
            torch.manual_seed(0)
            objective = DiffusionObjective(R2Pipeline(one, conditioner), 0.1).eval()
            losses.append(objective(data.batch(slice(None)), data.labels, (3, 3)).item())
        assert losses[1] < 0.8 * losses[0]

    def test_latents_that_move_are_denoised_where_they_were_encoded(self, tmp_path, monkeypatch):
        encoded, denoised = [], []
        encode, forward = R2IR.encode, R2ID.forward
        monkeypatch.setattr(R2IR, "encode", lambda *arguments: encoded.append(arguments[2]) or encode(*arguments))
        monkeypatch.setattr(R2ID, "forward", lambda *arguments: denoised.append(arguments[5]) or forward(*arguments))
        folder = train_resampler(resampler_training(tmp_path / "first", steps=1))
        encoded.clear()
        train_diffuser(diffuser_training(tmp_path / "second", steps=3, resampler=str(folder), latent_jitter=0.3))
        assert len(encoded) == 3 and all(one is other for one, other in zip(encoded, denoised, strict=True))
        assert all(one.axes[0].diff().std() > 0 for one in encoded if one.size[0] > 2)
        assert not torch.equal(encoded[0].axes[1], encoded[1].axes[1])

    def test_a_diffuser_of_latents_keeps_the_resampler_it_was_given(self, tmp_path):
        folder = train_resampler(resampler_training(tmp_path / "first", steps=2))
        pipeline = train_diffuser(diffuser_training(tmp_path / "second", steps=2, resampler=str(folder)))
        assert pipeline == tmp_path / "second" / "pipeline"
        assert same_weights(pipeline / "resampler", folder)
        assert json.loads((pipeline / "diffuser" / "config.json").read_text())["channels"] == 4

    def test_what_is_kept_tells_how_it_came_about(self, tmp_path):
        record = R2IR.from_pretrained(train_resampler(resampler_training(tmp_path))).config.training
        assert record["steps"] == 7 and record["learning_rate"] == 3e-3 and record["model"] == list(RESAMPLER)
        assert "400 images" in record["data"] and record["seconds"] >= 0 and "torch" in record["machine"]
        assert str(tmp_path) not in json.dumps(record)

    def test_noise_and_reach_are_those_of_the_first_latent_size(self, tmp_path):
        folder = train_diffuser(diffuser_training(tmp_path, latent_sizes=((8, 8), (6, 6)), steps=1))
        config = R2ID.from_pretrained(folder / "diffuser").config
        assert config.noise_reference_size == 8 and config.radius == 1.5 / 8
        of_digits = R2Pipeline.from_pretrained("mnist").diffuser.config
        first = DIFFUSER_PRESETS["mnist"].latent_sizes[0]
        assert of_digits.noise_reference_size == max(first) and of_digits.radius == 1.5 / max(first)

    def test_a_training_starts_from_trained_weights(self, tmp_path, kind):
        train, settings, _, part = kind
        first = train(settings(tmp_path / "first", steps=3, learning_rate=1e-2))
        unmoved = {"steps": 1, "learning_rate": 0.0, "weight_decay": 0.0, "init_from": str(first)}
        again = train(settings(tmp_path / "again", model=(), **unmoved))
        assert same_weights(first / part, again / part)
        config = json.loads((again / part / "config.json").read_text())
        assert config["dim"] == 16 and config["training"]["started_from"]["steps"] == 3
        assert str(tmp_path) not in json.dumps(config["training"])
        if part:
            assert same_weights(first / "conditioner", again / "conditioner")

    def test_what_it_was_trained_for_is_stored_as_the_models_defaults(self, tmp_path):
        folder = train_diffuser(diffuser_training(tmp_path, latent_sizes=((4, 4), (8, 4), (6, 6), (8, 8)), steps=1))
        pipeline = R2Pipeline.from_pretrained(folder)
        index = json.loads((folder / "model_index.json").read_text())
        assert index["generation_defaults"]["latent_size"] == [6, 6]
        assert pipeline.generation_defaults == GenerationDefaults(size=(8, 8), latent_size=(6, 6))

    def test_a_resampler_starts_from_that_of_a_pipeline_and_a_diffuser_learns_its_latents(self, tmp_path):
        folder = train_resampler(resampler_training(tmp_path / "first", steps=2))
        pipeline = train_diffuser(diffuser_training(tmp_path / "second", steps=2, resampler=str(folder)))
        unmoved = {"steps": 1, "learning_rate": 0.0, "weight_decay": 0.0, "init_from": str(pipeline)}
        again = train_resampler(resampler_training(tmp_path / "third", **unmoved))
        learnt = {name: value for name, value in weights(folder).items() if not name.startswith("latent_")}
        assert all(torch.equal(value, weights(again)[name]) for name, value in learnt.items())
        third = train_diffuser(diffuser_training(tmp_path / "fourth", resampler=str(pipeline), **unmoved))
        assert same_weights(third / "resampler", folder)

    def test_a_diffuser_goes_on_to_latents_of_other_channels(self, tmp_path):
        first = train_diffuser(diffuser_training(tmp_path / "first", steps=3, learning_rate=1e-2))
        resampler = train_resampler(resampler_training(tmp_path / "resampler", steps=2))
        unmoved = {"steps": 1, "learning_rate": 0.0, "weight_decay": 0.0, "init_from": str(first)}
        again = train_diffuser(diffuser_training(tmp_path / "again", resampler=str(resampler), **unmoved))
        before, after = R2ID.from_pretrained(first / "diffuser"), R2ID.from_pretrained(again / "diffuser")
        assert before.config.channels == 1 and after.config.channels == 4
        weights = after.state_dict()
        other = [name for name, one in before.state_dict().items() if not torch.equal(one, weights[name])]
        assert {name.partition(".")[0] for name in other} == {"sample_in", "neighbourhood", "out"}

    def test_other_labels_than_those_of_the_start_are_learnt_anew(self, tmp_path):
        first = train_diffuser(diffuser_training(tmp_path / "first", steps=1))
        for name in ("cat", "dog"):
            (tmp_path / "images" / name).mkdir(parents=True)
            Image.new("L", (8, 8), 100).save(tmp_path / "images" / name / "1.png")
        again = train_diffuser(
            diffuser_training(tmp_path / "again", init_from=str(first), data=str(tmp_path / "images"))
        )
        assert LabelConditioner.from_pretrained(again / "conditioner").label_names == ["cat", "dog"]

    def test_pictures_on_the_way_do_not_change_the_training(self, tmp_path, kind):
        train, settings, _, part = kind
        silent = train(settings(tmp_path / "silent"))
        watched = train(settings(tmp_path / "watched", sample_every=2))
        assert same_weights(silent / part, watched / part)
        assert any((tmp_path / "watched").rglob("events.out.tfevents*"))

    @pytest.mark.parametrize("labelled", [True, False])
    def test_images_with_and_without_labels_can_be_learnt(self, tmp_path, kind, labelled):
        train, settings, _, part = kind
        digits = load_images(DIGITS, limit=20).images[:, 0].numpy()
        for index, digit in enumerate(digits):
            folder = tmp_path / "images" / (f"class-{index % 2}" if labelled else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digit).save(folder / f"{index}.png")
        folder = train(settings(tmp_path / "run", data=str(tmp_path / "images")))
        assert all(tensor.isfinite().all() for tensor in weights(folder / part).values())
        if part:
            names = LabelConditioner.from_pretrained(folder / "conditioner").label_names
            assert len(names) == (2 if labelled else 1)

    def test_what_was_found_is_told_in_one_line(self, tmp_path, kind, capsys):
        train, settings, _, part = kind
        for index in range(4):
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.new("L", (8, 8), 20 * index).save(tmp_path / "images" / f"{index}.png")
            (tmp_path / "images" / f"{index}.caption").write_text("a square")
        (tmp_path / "images" / "4.heic").write_bytes(b"heic")
        train(settings(tmp_path / "run", data=str(tmp_path / "images"), steps=1, num_workers=2))
        (line,) = (line for line in capsys.readouterr().err.splitlines() if "4 images, grey" in line)
        assert line.startswith("r2id: image folder images") and "captions such as 'a square'" in line
        assert "left out files in no format that can be read (1 of .heic)" in line
        assert line.endswith("captions are learnt only with --text-encoder") == bool(part)

    def test_labels_that_no_image_has_are_not_learnt(self, tmp_path):
        rows = []
        for label in (1, 2, 3, 7):
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.new("L", (8, 8), 20 * label).save(tmp_path / "images" / f"{label}.png")
            rows.append({"file_name": f"{label}.png", "label": label})
        (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        folder = train_diffuser(diffuser_training(tmp_path / "run", data=str(tmp_path / "images"), steps=1))
        assert R2Pipeline.from_pretrained(folder).conditioner.label_names == ["1", "2", "3", "7"]

    def test_colour_images_can_be_learnt_with_pictures_on_the_way(self, tmp_path, kind):
        train, settings, _, part = kind
        folder = train(settings(tmp_path, channels=3, steps=2, sample_every=1))
        assert all(tensor.isfinite().all() for tensor in weights(folder / part).values())

    def test_images_of_several_sizes_are_learnt_with_latents_in_their_proportions(self, tmp_path, kind, monkeypatch):
        train, settings, objective, part = kind
        for index in range(12):
            size = ((16, 16), (32, 8), (8, 32))[index % 3]
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.new("L", size, 20 * index).save(tmp_path / "images" / f"{index}.png")
        seen, forward = set(), objective.forward

        def watched(self, images, labels, latent_size):
            seen.add((tuple(images.shape[-2:]), latent_size))
            assert len(images) == 16
            return forward(self, images, labels, latent_size)

        monkeypatch.setattr(objective, "forward", watched)
        settings = settings(
            tmp_path / "run", data=str(tmp_path / "images"), keep_proportions=True, latent_sizes=((4, 4),),
            steps=20, sample_every=10,
        )  # fmt: skip
        folder = train(settings)
        assert seen == {((8, 8), (4, 4)), ((4, 16), (2, 8)), ((16, 4), (8, 2))}
        assert all(tensor.isfinite().all() for tensor in weights(folder / part).values())
        config = json.loads((folder / part / "config.json").read_text())
        assert config.get("canvas") is None and config["sample_size"] == (8 if part else 16)
        assert "12 images of 3 sizes" in config["training"]["data"]

    def test_mixed_precision_trains(self, tmp_path, kind):
        train, settings, _, part = kind
        folder = train(settings(tmp_path, precision="bf16"))
        assert all(
            tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in weights(folder / part).values()
        )

    def test_trainings_of_different_precision_may_follow_each_other(self, tmp_path):
        train_resampler(resampler_training(tmp_path / "low", precision="bf16", steps=1))
        exact = train_resampler(resampler_training(tmp_path / "exact", precision="fp32"))
        torch.manual_seed(123)
        again = train_resampler(resampler_training(tmp_path / "again", precision="fp32"))
        assert same_weights(exact, again)


def test_measured_statistics_standardise_the_latents(make_resampler):
    resampler = make_resampler(sample_size=8)
    data = load_images(DIGITS, image_size=(8, 8))
    measure_latents(resampler, ResamplerTraining(latent_sizes=((2, 2), (4, 3))), [data])
    with torch.no_grad():
        latents = [resampler.standardise(resampler.encode(data.batch(slice(None)), size)) for size in ((2, 2), (4, 3))]
    means = torch.stack([one.mean(dim=(0, 2, 3)) for one in latents])
    squares = torch.stack([one.square().mean(dim=(0, 2, 3)) for one in latents])
    torch.testing.assert_close(means.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(squares.mean(0), torch.ones(3), atol=1e-2, rtol=0)
