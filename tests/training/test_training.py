"""Training: it learns, it can be stopped anywhere and goes on as if it never was, and it says what cannot be."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from r2id import cli
from r2id.conditioning.labels import LabelConditioner
from r2id.data.loading import load_images
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import replace_folder, write_whole
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training import loop
from r2id.training.batch_order import batch_indices, bucket_batch, mixed_seed
from r2id.training.checkpoints import Checkpoints
from r2id.training.latent_statistics import measure_latents
from r2id.training.loop import learning_rate
from r2id.training.objectives import DiffusionObjective, ReconstructionObjective
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.settings import DiffuserTraining, ResamplerTraining
from r2id.training.setup import network_arguments, train_diffuser, train_resampler

FIXTURES = Path(__file__).parent.parent / "fixtures"
DIGITS = FIXTURES / "digits"

SMALL = {
    "image_size": (8, 8),
    "latent_sizes": ((2, 2), (3, 3)),
    "steps": 7,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "checkpoint_every": 3,
    "sample_every": 0,
}
POSITIONS = ("num_high=3", "num_low=2")
RESAMPLER = (
    "dim=16", "num_heads=2", "num_blocks=1", "latent_channels=4", "basis=4", "value_dim=4", "pixel_dim=8",
    "pixel_blocks=1", *POSITIONS,
)  # fmt: skip
DIFFUSER = (
    "dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", *POSITIONS,
)  # fmt: skip


def resampler_training(output: Path, **changes) -> ResamplerTraining:
    settings = {"data": str(DIGITS), "output": output, "model": RESAMPLER, "latent_noise": 0.1, "pixel_share": 0.5}
    return ResamplerTraining(**settings | SMALL | changes)


def diffuser_training(output: Path, **changes) -> DiffuserTraining:
    settings = {"data": str(DIGITS), "output": output, "model": DIFFUSER, "resampler": "none"}
    return DiffuserTraining(**settings | SMALL | changes)


@pytest.fixture(params=["resampler", "diffuser"])
def kind(request):
    """A training: its function, its settings, its objective, and the weights that it leaves."""
    if request.param == "resampler":
        return train_resampler, resampler_training, ReconstructionObjective, ""
    return train_diffuser, diffuser_training, DiffusionObjective, "diffuser"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def signal_at(monkeypatch, objective: type, call: int, *numbers: int) -> None:
    """Sends this process signals, such as Ctrl-C, in the midst of the step of the objective's given call (from 0)."""
    forward = objective.forward
    calls = iter(range(10**6))

    def interrupted(self, *arguments):
        loss = forward(self, *arguments)
        if next(calls) == call:
            for number in numbers:
                signal.raise_signal(number)
        return loss

    monkeypatch.setattr(objective, "forward", interrupted)


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
        with pytest.raises(InputError, match="takes 4 channels and what it would learn has 1"):
            train_diffuser(diffuser_training(tmp_path / "fifth", **unmoved))

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


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, even if the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
class TestResuming:
    @pytest.mark.parametrize(
        ("call", "number"), [(0, signal.SIGINT), (3, signal.SIGTERM), (4, signal.SIGINT), (6, signal.SIGINT)]
    )
    def test_an_interrupted_and_resumed_run_ends_bit_for_bit_as_a_whole_one(
        self, tmp_path, kind, monkeypatch, call, number
    ):
        train, settings, objective, part = kind
        whole = train(settings(tmp_path / "whole"))
        handler = signal.getsignal(number)
        with monkeypatch.context() as patch:
            signal_at(patch, objective, call, number)
            with pytest.raises(KeyboardInterrupt, match=f"after step {call + 1}"):
                train(settings(tmp_path / "pieces"))
        assert signal.getsignal(number) == handler
        assert not (tmp_path / "pieces" / whole.name).exists()
        assert Checkpoints(tmp_path / "pieces" / "checkpoints").steps()[-1] == call + 1
        resumed = train(settings(tmp_path / "pieces", resume=True))
        assert same_weights(whole / part, resumed / part)
        if part:
            assert same_weights(whole / "conditioner", resumed / "conditioner")

    def test_a_second_interruption_ends_the_run_at_once_and_leaves_the_last_checkpoint(
        self, tmp_path, kind, monkeypatch
    ):
        train, settings, objective, part = kind
        whole = train(settings(tmp_path / "whole"))
        handler = signal.getsignal(signal.SIGINT)
        with monkeypatch.context() as patch:
            signal_at(patch, objective, 4, signal.SIGINT, signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                train(settings(tmp_path / "pieces"))
        assert signal.getsignal(signal.SIGINT) == handler
        assert Checkpoints(tmp_path / "pieces" / "checkpoints").steps() == [3]
        assert same_weights(whole / part, train(settings(tmp_path / "pieces", resume=True)) / part)

    def test_an_interruption_while_the_network_compiles_gives_the_step_up(self, tmp_path, kind, monkeypatch, capfd):
        train, settings, objective, part = kind
        whole = train(settings(tmp_path / "whole"))
        forward, calls = objective.forward, []

        def interrupting(graph, inputs):
            signal.raise_signal(signal.SIGINT)
            return graph.forward

        def compiling(self, *inputs):
            calls.append(True)
            if len(calls) == 5:
                torch.compile(lambda images: images + 1, backend=interrupting)(inputs[0])
            return forward(self, *inputs)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "compile_network", lambda network: None)
            patch.setattr(objective, "forward", compiling)
            with pytest.raises(KeyboardInterrupt, match="after step 4"):
                train(settings(tmp_path / "pieces", compile=True))
        assert "--no-compile" in capfd.readouterr().err
        assert len(calls) == 5 and Checkpoints(tmp_path / "pieces" / "checkpoints").steps() == [3, 4]
        assert same_weights(whole / part, train(settings(tmp_path / "pieces", resume=True)) / part)

    def test_a_run_killed_between_checkpoints_resumes_from_the_newest(self, tmp_path, kind, monkeypatch):
        train, settings, objective, part = kind
        whole = train(settings(tmp_path / "whole"))
        with monkeypatch.context() as patch:
            patch.setattr(loop, "learning_rate", _failing_at(5))
            with pytest.raises(MemoryError):
                train(settings(tmp_path / "pieces"))
        assert Checkpoints(tmp_path / "pieces" / "checkpoints").steps() == [3]
        assert same_weights(whole / part, train(settings(tmp_path / "pieces", resume=True)) / part)

    def test_only_the_last_two_checkpoints_are_kept(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path, steps=11))
        assert Checkpoints(tmp_path / "checkpoints").steps() == [9, 11]

    def test_a_finished_run_can_be_saved_again(self, tmp_path, kind):
        train, settings, _, part = kind
        before = weights(train(settings(tmp_path)) / part)
        after = weights(train(settings(tmp_path, resume=True)) / part)
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_a_second_run_in_the_same_folder_is_refused_and_changes_nothing(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path))
        before = contents(tmp_path)
        with pytest.raises(InputError, match=f"{tmp_path} already holds a training of 7 steps"):
            train(settings(tmp_path))
        assert contents(tmp_path) == before

    @pytest.mark.parametrize("resume", [False, True])
    def test_while_a_run_is_under_way_another_in_its_folder_is_refused(self, tmp_path, kind, monkeypatch, resume):
        train, settings, _, part = kind
        whole = train(settings(tmp_path / "whole"))
        refused = []

        def another(config, step):
            if step == 4:
                with pytest.raises(InputError, match=f"another training is running in {tmp_path}") as error:
                    train(settings(tmp_path / "run", resume=resume))
                refused.append(error)
            return learning_rate(config, step)

        monkeypatch.setattr(loop, "learning_rate", another)
        folder = train(settings(tmp_path / "run"))
        assert refused and same_weights(whole / part, folder / part)

    def test_what_a_killed_run_left_unfinished_is_removed(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path, steps=3))
        for folder in (tmp_path, tmp_path / "checkpoints"):
            (folder / ".writing-left" / "new").mkdir(parents=True)
            (folder / ".writing-left" / "new" / "weights.safetensors").write_text("half")
        train(settings(tmp_path, steps=4, resume=True))
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]

    def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(self, tmp_path, kind, monkeypatch):
        train, settings, _, part = kind
        whole = train(settings(tmp_path / "whole"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        def filling(config, step):
            if step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            return learning_rate(config, step)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "learning_rate", filling)
            try:
                with pytest.raises(OSError, match="step-000006"):
                    train(settings(tmp_path / "run"))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000003"]
        assert same_weights(whole / part, train(settings(tmp_path / "run", resume=True)) / part)

    def test_with_nothing_to_resume_a_run_is_refused(self, tmp_path, kind):
        train, settings, _, _ = kind
        with pytest.raises(InputError, match=f"{tmp_path} holds no checkpoint"):
            train(settings(tmp_path, resume=True))

    def test_fewer_steps_than_were_done_are_refused(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path))
        with pytest.raises(InputError, match="step 7; steps is 5"):
            train(settings(tmp_path, resume=True, steps=5))

    @pytest.mark.parametrize(
        "change",
        [{"model": ("dim=24",)}, {"model": ("num_high=5",)}, {"channels": 3}, {"seed": 1}, {"batch_size": 3}],
        ids=["dim", "frequencies", "channels", "seed", "batch"],
    )
    def test_resuming_with_other_settings_is_refused(self, tmp_path, kind, change):
        train, settings, _, _ = kind
        train(settings(tmp_path))
        before = contents(tmp_path / "checkpoints")
        if "model" in change:
            name = change["model"][0].partition("=")[0]
            rest = [pair for pair in settings(tmp_path).model if not pair.startswith(f"{name}=")]
            change = {"model": (*rest, *change["model"])}
        with pytest.raises(InputError, match="the training to resume has"):
            train(settings(tmp_path, resume=True, steps=9, **change))
        assert contents(tmp_path / "checkpoints") == before

    def test_a_checkpoint_older_than_a_setting_resumes_with_its_default_only(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path, gradient_accumulation=1))
        progress = tmp_path / "checkpoints" / "step-000007" / "progress.json"
        record = json.loads(progress.read_text())
        del record["settings"]["gradient_accumulation"], record["settings"]["network num_heads"]
        progress.write_text(json.dumps(record))
        with pytest.raises(InputError, match="gradient_accumulation is 2; the training to resume has 1"):
            train(settings(tmp_path, resume=True, steps=9, gradient_accumulation=2))
        with pytest.raises(InputError, match="network num_heads is 2; the training to resume has [68]"):
            train(settings(tmp_path, resume=True, steps=9))
        record["settings"]["network num_heads"] = 2
        progress.write_text(json.dumps(record))
        train(settings(tmp_path, resume=True, steps=9))

    def test_a_resumed_run_may_meet_other_latent_sizes_but_not_in_another_network(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path))
        name = "latent_size" if train is train_resampler else "sample_size"
        with pytest.raises(InputError, match=f"network {name} is 6; the training to resume has"):
            train(settings(tmp_path, resume=True, steps=8, latent_sizes=((6, 6),)))
        train(settings(tmp_path, resume=True, steps=8, latent_sizes=(*SMALL["latent_sizes"], (2, 3))))

    def test_resuming_with_other_images_is_refused(self, tmp_path, kind):
        train, settings, _, _ = kind
        train(settings(tmp_path / "run"))
        same, others = shutil.copytree(DIGITS, tmp_path / "same"), tmp_path / "others"
        others.mkdir()
        for path in DIGITS.glob("t10k-*"):
            shutil.copy(path, others / path.name.replace("t10k", "train"))
        with pytest.raises(InputError, match="data_checksum"):
            train(settings(tmp_path / "run", resume=True, steps=9, data=str(others)))
        train(settings(tmp_path / "run", resume=True, steps=9, data=str(same)))

    def test_resuming_with_another_resampler_is_refused_wherever_it_lies(self, tmp_path):
        first, other = (
            train_resampler(resampler_training(tmp_path / name, steps=1, seed=seed))
            for name, seed in (("a", 0), ("b", 1))
        )
        train_diffuser(diffuser_training(tmp_path / "run", resampler=str(first)))
        with pytest.raises(InputError, match="frozen_weights_checksum"):
            train_diffuser(diffuser_training(tmp_path / "run", resampler=str(other), resume=True, steps=9))
        first.rename(tmp_path / "moved")
        train_diffuser(diffuser_training(tmp_path / "run", resampler=str(tmp_path / "moved"), resume=True, steps=9))

    @pytest.mark.parametrize(
        "file", ["weights.safetensors", "average.safetensors", "optimizer.safetensors", "progress.json"]
    )
    @pytest.mark.parametrize("harm", ["truncated", "missing"])
    def test_a_damaged_checkpoint_is_refused_by_name(self, tmp_path, kind, file, harm):
        train, settings, _, _ = kind
        train(settings(tmp_path, steps=2))
        path = tmp_path / "checkpoints" / "step-000002" / file
        whole = path.read_bytes()
        path.unlink()
        if harm == "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="step-000002"):
            train(settings(tmp_path, steps=4, resume=True))

    def test_after_removing_a_damaged_checkpoint_the_earlier_one_resumes(self, tmp_path, kind):
        train, settings, _, part = kind
        whole = train(settings(tmp_path / "whole"))
        train(settings(tmp_path / "run"))
        for path in sorted((tmp_path / "run" / "checkpoints" / "step-000007").iterdir()):
            path.unlink()
        (tmp_path / "run" / "checkpoints" / "step-000007").rmdir()
        assert same_weights(whole / part, train(settings(tmp_path / "run", resume=True)) / part)

    def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_learning_rate(self, tmp_path, kind):
        train, settings, _, part = kind
        with pytest.raises(InputError, match="learning rate, 1e\\+30"):
            train(settings(tmp_path, learning_rate=1e30, final_learning_rate=1e30, log_every=1, steps=20))
        assert not (tmp_path / "resampler").exists() and not (tmp_path / "pipeline").exists()


def _failing_at(step: int):
    def failing(config, now):
        if now == step:
            raise MemoryError
        return learning_rate(config, now)

    return failing


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"steps": 0}, "steps is 0"),
            ({"batch_size": 0}, "batch_size is 0"),
            ({"log_every": 0}, "log_every is 0"),
            ({"checkpoint_every": 0}, "checkpoint_every is 0"),
            ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be at least 0"),
            ({"beta2": 1.5}, "beta2 is 1.5; it must be from 0 to 1"),
            ({"ema_decay": float("nan")}, "ema_decay is nan"),
            ({"seed": -1}, "seed is -1"),
            ({"latent_sizes": ((4, 0),)}, "latent_sizes"),
            ({"latent_sizes": ()}, "latent_sizes"),
            ({"data": "/no/such/folder"}, "/no/such/folder"),
            ({"model": ("dim",)}, "'dim' is not NAME=VALUE"),
            ({"model": ("depth=3",)}, "the model has no argument 'depth'; choose from .*dim"),
            ({"model": ("dim=many",)}, "cannot be built"),
            ({"model": ("dim=-4",)}, "cannot be built"),
            ({"model": ("feature_map=relu",)}, "relu"),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_what_cannot_be_is_named_before_anything_is_written(self, tmp_path, kind, change, named):
        train, settings, _, _ = kind
        with pytest.raises(InputError, match=named):
            train(settings(tmp_path / "run", **change))
        assert not (tmp_path / "run").exists()

    def test_without_a_compiler_there_is_no_compiling(self, tmp_path, kind):
        import torch._inductor.config

        train, settings, _, _ = kind
        with (
            torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
            pytest.raises(InputError, match="no C\\+\\+ compiler.*--no-compile"),
        ):
            train(settings(tmp_path / "run", compile=True))

    def test_blocks_and_grids_share_what_is_compiled_and_pictures_add_nothing_to_it(self, tmp_path, monkeypatch):
        compiled, compile_module = [], nn.Module.compile

        def backend(graph, _):
            compiled.append(torch.is_grad_enabled())
            return graph.forward

        monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend=backend))
        grids = {"latent_sizes": ((2, 2), (2, 3), (3, 3), (3, 4), (4, 4), (4, 5)), "steps": 12, "sample_every": 4}
        more = {"model": (*DIFFUSER, "encoder_blocks=2", "decoder_blocks=3")}
        torch.compiler.reset()
        fast, plain = (
            train_diffuser(diffuser_training(tmp_path / str(one), compile=one, **grids, **more)) / "diffuser"
            for one in (True, False)
        )
        torch.compiler.reset()
        assert same_weights(fast, plain)
        assert all(compiled) and 0 < len(compiled) <= 6

    def test_a_resampler_that_is_not_there_or_of_another_kind_is_named(self, tmp_path):
        with pytest.raises(InputError, match="no-such-resampler"):
            train_diffuser(diffuser_training(tmp_path / "run", resampler=str(tmp_path / "no-such-resampler")))
        folder = train_resampler(resampler_training(tmp_path / "grey", steps=1))
        with pytest.raises(InputError, match="set channels to 1"):
            train_diffuser(diffuser_training(tmp_path / "run", resampler=str(folder), channels=3))

    def test_pixels_cannot_move(self, tmp_path):
        with pytest.raises(InputError, match="latent_jitter is 0.3; pixels cannot move"):
            train_diffuser(diffuser_training(tmp_path / "run", latent_jitter=0.3))
        with pytest.raises(InputError, match="latent_jitter is -1"):
            train_diffuser(diffuser_training(tmp_path / "run", latent_jitter=-1.0, resampler="folder"))

    def test_model_arguments_become_numbers_texts_and_tuples(self):
        pairs = ("dim=128", "radius=1.5", "attention=global", "canvas=(4, 6)", "training=None", "jitter='none'")
        assert network_arguments(pairs) == {
            "dim": 128,
            "radius": 1.5,
            "attention": "global",
            "canvas": (4, 6),
            "training": None,
            "jitter": "none",
        }

    @pytest.mark.parametrize("pair", ["dim", "=3", "a b=3", ""])
    def test_model_arguments_of_another_form_are_refused(self, pair):
        with pytest.raises(InputError, match="NAME=VALUE"):
            network_arguments(("dim=3", pair))

    def test_the_reference_presets_build_models_of_the_published_size(self):
        def parameters(network) -> int:
            return sum(parameter.numel() for parameter in network.parameters())

        resampler = R2IR(**network_arguments(RESAMPLER_PRESETS["mnist-reference"].model))
        assert 3.3e6 <= parameters(resampler) <= 3.7e6
        diffuser = R2ID(**network_arguments(DIFFUSER_PRESETS["mnist-reference"].model))
        assert 10.2e6 <= parameters(diffuser) <= 10.6e6

    def test_the_rgb_presets_build_models_of_about_the_published_size(self):
        with torch.device("meta"):
            resampler = R2IR(image_channels=3, **network_arguments(RESAMPLER_PRESETS["rgb-16x"].model))
            diffuser = R2ID(channels=768, **network_arguments(DIFFUSER_PRESETS["rgb-16x"].model))
        assert sum(parameter.numel() for parameter in resampler.parameters()) == pytest.approx(27e6, rel=0.15)
        assert sum(parameter.numel() for parameter in diffuser.parameters()) == pytest.approx(270e6, rel=0.15)

    @pytest.mark.parametrize("network", ["resampler", "diffuser"])
    def test_every_preset_names_arguments_that_its_network_has(self, network):
        presets, build = (RESAMPLER_PRESETS, R2IR) if network == "resampler" else (DIFFUSER_PRESETS, R2ID)
        for preset in presets.values():
            with torch.device("meta"):
                build(**network_arguments(preset.model))


def test_preset_rgb_16x_trains_on_pictures_and_what_it_learnt_is_sampled(monkeypatch, tmp_path):
    """The commands of docs/train.md with all that the preset says, but for channels and blocks."""
    small = ("dim=32", "num_heads=2")
    few = ("--data", FIXTURES / "emoji", "--no-compile", "--steps", "2", "--batch-size", "2")
    resampler = (*RESAMPLER_PRESETS["rgb-16x"].model, *small, "pixel_dim=8", "basis=4")
    diffuser = (*DIFFUSER_PRESETS["rgb-16x"].model, *small, "encoder_blocks=1", "decoder_blocks=1")
    learnt = tmp_path / "resampler" / "resampler", tmp_path / "diffuser" / "pipeline"
    for command in (
        ("train", "resampler", "rgb-16x", *few, "--output", learnt[0].parent, "--model", *resampler),
        ("train", "diffuser", "rgb-16x", *few, "--resampler", learnt[0], "--output", learnt[1].parent)
        + ("--model", *diffuser),
        (
            "sample",
            "--model",
            learnt[1],
            "--latent-size",
            "16x16",
            "--num-inference-steps",
            "2",
            "--output",
            tmp_path / "one.png",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["r2id", *map(str, command)])
        cli.main()
    config = json.loads((learnt[1] / "diffuser" / "config.json").read_text())
    assert (config["channels"], config["canvas"], config["noise_reference_size"]) == (768, [256, 256], 16)
    with Image.open(tmp_path / "one.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (256, 256))


LARGER_THAN_MEMORY = """
import os
import resource
import sys
from pathlib import Path

import tensorboard.summary.writer.event_file_writer  # what takes memory by itself
from accelerate import Accelerator
from r2id.training.settings import ResamplerTraining
from r2id.training.setup import train_resampler

kilobytes = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
limit = int(kilobytes) * 1024 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
model = ("dim=8", "num_heads=2", "num_blocks=1", "latent_channels=4", "basis=2", "value_dim=4", "pixel_dim=4")
train_resampler(
    ResamplerTraining(
        data="images", output=Path("run"), image_size=None, latent_sizes=((2, 2),), steps=2, batch_size=2,
        pixel_share=0.05, sample_every=0, num_workers=2, model=(*model, "num_high=2", "num_low=2"),
    )
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_data_larger_than_memory_can_be_trained_on(tmp_path):
    folder, count, size = tmp_path / "images", 1100, (512, 384)
    folder.mkdir()
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "image.png")
    for index in range(count):
        os.link(tmp_path / "image.png", folder / f"{index}.png")
    limit = 300 << 20
    assert count * size[0] * size[1] * 3 > 2 * limit
    run = subprocess.run(
        [sys.executable, "-c", LARGER_THAN_MEMORY, str(limit)],
        cwd=tmp_path,
        # Every thread has memory of its own, which would count.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "run" / "resampler" / "config.json").is_file()


class TestSchedule:
    def test_every_image_comes_once_per_epoch(self):
        batches = torch.cat([batch_indices(10, 4, step, seed=1) for step in range(5)])
        for epoch in (batches[:10], batches[10:]):
            assert sorted(epoch.tolist()) == list(range(10))
        assert batches[:10].tolist() != batches[10:].tolist()

    def test_a_batch_larger_than_the_data_goes_through_them_several_times(self):
        batch = batch_indices(3, 9, batch=2, seed=0)
        assert torch.equal(batch.bincount(), torch.tensor([3, 3, 3]))

    def test_a_batch_is_decided_by_its_step_and_the_seed_alone(self):
        torch.manual_seed(7)
        first = batch_indices(100, 10, batch=13, seed=5)
        batch_indices(100, 10, batch=4, seed=5)
        torch.manual_seed(8)
        assert torch.equal(batch_indices(100, 10, batch=13, seed=5), first)
        assert not torch.equal(batch_indices(100, 10, batch=13, seed=6), first)
        assert not torch.equal(batch_indices(100, 10, batch=14, seed=5), first)

    def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end(self):
        config = ResamplerTraining(steps=101, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
        rates = [learning_rate(config, step) for step in range(101)]
        assert rates[0] == pytest.approx(0.1) and rates[4] == pytest.approx(0.5) and rates[9] == pytest.approx(1.0)
        assert rates[10] == pytest.approx(1.0)
        assert rates[55] == pytest.approx(0.55)
        assert rates[100] == pytest.approx(0.1) and rates[99] == pytest.approx(0.1, abs=1e-3)
        assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)

    def test_the_last_step_takes_the_final_learning_rate(self):
        for steps, warmup in ((8, 2), (24_000, 600), (2, 0)):
            config = ResamplerTraining(steps=steps, warmup_steps=warmup)
            assert learning_rate(config, steps - 1) == pytest.approx(config.final_learning_rate, rel=1e-9)

    def test_an_epoch_over_several_sizes_sees_every_image_once(self):
        counts = [64, 32, 16, 16]
        for epoch in range(3):
            seen = [torch.zeros(count, dtype=torch.long) for count in counts]
            for step in range(16 * epoch, 16 * (epoch + 1)):
                bucket, batch = bucket_batch(counts, 8, step, seed=3)
                seen[bucket] += batch_indices(counts[bucket], 8, batch, seed=3).bincount(minlength=counts[bucket])
            assert all(torch.equal(one, torch.ones_like(one)) for one in seen)

    @pytest.mark.parametrize("counts", [[600, 301, 99, 3, 1], [7]])
    def test_sizes_of_any_count_are_seen_equally_often(self, counts):
        batches = [bucket_batch(counts, 16, step, seed=3) for step in range(1000)]
        for index, count in enumerate(counts):
            own = [batch for bucket, batch in batches if bucket == index]
            assert own == list(range(len(own)))
            # Both ends of the run may cut an epoch.
            expected = 1000 * count / sum(counts)
            assert abs(len(own) - expected) <= 2 + count / 16
        if len(counts) > 1:
            assert batches[:60] != sorted(batches[:60])

    def test_steps_and_epochs_and_uses_draw_differently(self):
        seeds = {mixed_seed(seed, use, number) for seed in (0, 1) for use in ("step", "images") for number in range(50)}
        assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)

    def test_the_learning_rate_can_do_without_a_warm_up(self):
        config = replace(ResamplerTraining(), steps=10, warmup_steps=0, learning_rate=1.0, final_learning_rate=0.0)
        assert learning_rate(config, 0) == 1.0 and math.isfinite(learning_rate(config, 9))


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


class TestFiles:
    @staticmethod
    def fill(text: str, fail: bool = False):
        def write(folder: Path) -> None:
            folder.mkdir(exist_ok=True)
            (folder / "first").write_text(text)
            if fail:
                raise OSError("no space left")
            (folder / "second").write_text(text)

        return write

    def test_a_folder_is_replaced_as_a_whole(self, tmp_path):
        folder = tmp_path / "deep" / "model"
        assert replace_folder(folder, self.fill("old")) == folder
        (folder / "extra").write_text("old")
        replace_folder(folder, self.fill("new"))
        assert contents(folder) == {"first": b"new", "second": b"new"}
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_a_save_that_fails_halfway_leaves_the_old_folder_whole(self, tmp_path):
        folder = tmp_path / "model"
        replace_folder(folder, self.fill("old"))
        with pytest.raises(OSError, match="no space"):
            replace_folder(folder, self.fill("new", fail=True))
        assert contents(folder) == {"first": b"old", "second": b"old"}
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_replacement_that_fails_between_its_two_renames_brings_the_old_folder_back(self, tmp_path, monkeypatch):
        folder = tmp_path / "model"
        replace_folder(folder, self.fill("old"))
        rename, calls = Path.rename, []

        def fail_second(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail_second)
            with pytest.raises(KeyboardInterrupt):
                replace_folder(folder, self.fill("new"))
        assert contents(folder) == {"first": b"old", "second": b"old"}
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_first_save_that_fails_halfway_leaves_nothing(self, tmp_path):
        with pytest.raises(OSError, match="no space"):
            replace_folder(tmp_path / "model", self.fill("new", fail=True))
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_fails_halfway_leaves_the_old_one_whole(self, tmp_path):
        path = tmp_path / "deep" / "picture.txt"
        write_whole(path, lambda temporary: temporary.write_text("old"))

        def fail(temporary: Path) -> None:
            temporary.write_text("ne")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_whole(path, fail)
        assert contents(tmp_path) == {"deep/picture.txt": b"old"}
        assert list(path.parent.iterdir()) == [path]

    def test_an_interrupted_save_of_a_trained_model_leaves_the_earlier_one_whole(self, tmp_path, monkeypatch):
        folder = train_resampler(resampler_training(tmp_path))
        before = contents(folder)

        def fail(self, place, **options):
            (Path(place) / "config.json").write_text("{")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(R2IR, "save_pretrained", fail)
            with pytest.raises(KeyboardInterrupt):
                train_resampler(resampler_training(tmp_path, resume=True, steps=9))
        assert contents(folder) == before
