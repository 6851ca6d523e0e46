"""Settings of trainings: what cannot be is named, presets build, and data may be larger than memory."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from small_trainings import (
    DIFFUSER,
    FIXTURES,
    diffuser_training,
    resampler_training,
    same_weights,
)
from torch import nn

from r2id import cli
from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.setup import network_arguments, train_diffuser, train_resampler


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
