"""A training can be stopped anywhere and goes on as if it never was, and says what it cannot go on with."""

import json
import resource
import shutil
import signal

import pytest
import torch
from small_trainings import (
    DIGITS,
    SMALL,
    contents,
    diffuser_training,
    resampler_training,
    same_weights,
    signal_at,
    weights,
)

from r2id.errors import InputError
from r2id.training import loop
from r2id.training.checkpoints import Checkpoints
from r2id.training.loop import learning_rate
from r2id.training.setup import train_diffuser, train_resampler


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
