"""Training of R2IR's pyramid on photographs and drawings."""

import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from r2id import cli
from r2id.data.dataset import ImageDataset
from r2id.errors import InputError
from r2id.networks.resampler import R2IR
from r2id.runtime.processes import Share
from r2id.training import loop
from r2id.training.batch_order import bucket_batch, seen_counts
from r2id.training.pictures import (
    LEAST,
    MOST,
    PictureObjective,
    drawing_plan,
    oriented_crops,
    photograph_plan,
    resized,
)
from r2id.training.presets import RESAMPLER_PRESETS
from r2id.training.settings import PictureTraining
from r2id.training.setup import network_arguments, train_resampler

TINY = {
    "latent_channels": 8,
    "widths": (12, 12, 16, 16),
    "encoder_blocks": (1, 0, 0, 1),
    "decoder_blocks": (1, 0, 0, 1),
    "read_channels": 4,
    "read_dim": 8,
}
ARGUMENTS = tuple(f"{name}={value}".replace(" ", "") for name, value in TINY.items())


def pyramid() -> R2IR:
    torch.manual_seed(0)
    network = R2IR(image_channels=3, attention="pyramid", **TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return network.train()


def images(count: int = 8, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


class TestCrops:
    def test_plans_give_3_to_16_pixels_a_cell_and_fit_the_picture(self):
        chance = random.Random(0)
        for plan_of, stored in ((photograph_plan, 256), (drawing_plan, 512)):
            plans = [plan_of(8, stored, chance) for _ in range(500)]
            assert all(LEAST * 8 - 1 <= plan.given <= MOST * 8 for plan in plans)
            assert all(max(plan.given, plan.wanted) <= plan.side <= stored for plan in plans)
            assert len({plan.given for plan in plans}) > 30
        assert all(plan.wanted == plan.side > plan.given for plan in plans)

    def test_photographs_are_enlarged_and_kept(self):
        chance = random.Random(0)
        plans = [photograph_plan(8, 256, chance) for _ in range(1000)]
        scales = [plan.wanted / plan.given for plan in plans]
        assert sum(scale > 1 for scale in scales) > 500
        assert sum(scale == 1 for scale in scales) > 200 and sum(scale < 1 for scale in scales) > 50
        assert {2.0, 3.0, 4.0} <= set(scales)

    def test_crops_lie_anywhere_in_each_of_eight_orientations(self):
        picture = images(1, 6).expand(4000, -1, -1, -1)
        crops = oriented_crops(picture, 4, torch.rand(4000, 5, generator=torch.Generator().manual_seed(0)))
        found = {tuple(crop.flatten().tolist()) for crop in crops}
        expected = set()
        for y in range(3):
            for x in range(3):
                part = picture[0, :, y : y + 4, x : x + 4]
                for turns in range(4):
                    turned = part.rot90(turns, (1, 2))
                    expected |= {tuple(one.flatten().tolist()) for one in (turned, turned.flip(2))}
        assert found == expected and len(expected) == 72

    @pytest.mark.parametrize("by_area", [False, True])
    def test_a_smaller_picture_is_antialiased_and_has_the_levels_of_a_file(self, by_area):
        ramp = torch.linspace(-1, 1, 60).expand(1, 3, 60, 60)
        small = resized(ramp, 24, by_area)
        levels = (small + 1) * 127.5
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        inner = slice(2, -2)
        expected = (torch.arange(24) + 0.5) / 24 * 60 / 59 * 2 - 1 - 1 / 59
        assert torch.allclose(small[0, 0, 12, inner], expected[inner], atol=1.5 / 127.5)
        stripes = torch.tensor([-1.0, 1.0]).repeat(30).expand(1, 3, 60, 60)
        assert resized(stripes, 20, by_area)[..., inner, inner].abs().max() < 0.4
        if by_area:
            areas = resized(images(2, 60), 20, True)
            assert torch.allclose(areas, torch.nn.functional.avg_pool2d(images(2, 60), 3), atol=0.51 / 127.5)

    def test_what_is_given_shows_what_is_wanted(self):
        smooth = torch.nn.functional.interpolate(images(8, 5), (64, 64), mode="bicubic").clamp(-1, 1)
        for tile_size in (64, 63):
            torch.manual_seed(3)
            groups = PictureObjective(pyramid(), tile_size).crops(smooth, 4)
            assert sum(len(given) for given, _ in groups) == 8
            for given, wanted in groups:
                side = min(given.shape[-1], wanted.shape[-1])
                assert (resized(given, side) - resized(wanted, side)).abs().mean() < 0.02


class TestPictureObjective:
    def loss(self, network: R2IR, *, done: float = 0.0, seed: int = 0, **settings) -> float:
        objective = PictureObjective(network, settings.pop("tile_size", 64), **settings)
        objective.done_share = done
        torch.manual_seed(seed)
        return objective(images(), torch.zeros(8), (4, 4)).item()

    def test_an_untrained_pyramid_that_keeps_all_numbers_keeps_a_picture(self):
        """Of a smooth picture, a cosine transform that is cut off loses little, at any density."""
        network = R2IR(image_channels=3, attention="pyramid", **TINY | {"latent_channels": 16})
        objective = PictureObjective(network, 64)
        torch.manual_seed(0)
        assert objective(torch.full((8, 3, 64, 64), 0.5), torch.zeros(8), (4, 4)).item() < 0.01

    def test_the_seed_decides(self):
        network = pyramid()
        assert self.loss(network) == self.loss(network) != self.loss(network, seed=1)

    def test_every_setting_matters(self):
        network = pyramid()
        plain = self.loss(network)
        assert self.loss(network, latent_noise=0.5) != plain
        assert self.loss(network, tile_size=63) != plain

    def test_errors_are_absolute_and_then_squared(self):
        network = pyramid()
        first, late = (self.loss(network, done=done, squared_from=0.5) for done in (0.49, 0.5))
        assert first == self.loss(network, squared_from=1) and late == self.loss(network, squared_from=0)
        assert first != late

    @pytest.mark.parametrize("batch", [8, 6])
    def test_processes_share_a_batch(self, batch, monkeypatch):
        """The loss of a batch is the mean of its shares'."""
        network = pyramid()
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda moments: moments.mul_(2))
        with torch.no_grad():
            whole = PictureObjective(network, 64)
            torch.manual_seed(0)
            expected = whole(images(batch), torch.zeros(batch), (4, 4)).item()
            losses = []
            for index in range(2):
                part = PictureObjective(network, 64)
                part.share = Share(index, 2)
                torch.manual_seed(0)
                losses.append(part(part.share.take(images(batch)), torch.zeros(batch // 2), (4, 4)).item())
        assert sum(losses) / 2 == pytest.approx(expected, rel=1e-4)

    def test_every_weight_is_learnt(self):
        network = pyramid()
        PictureObjective(network, 64, 0.03)(images(), torch.zeros(8), (4, 4)).backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())

    def test_a_network_of_another_form_is_refused(self, make_resampler):
        with pytest.raises(InputError, match="attention is 'local'"):
            PictureObjective(make_resampler(), 64)


def test_data_sets_are_seen_by_their_weights():
    data = [ImageDataset(torch.zeros(n, 1, 1, 1), None, (), None, "", weight=w) for n, w in ((40, 1.75), (40, 0.25))]
    buckets = [bucket_batch(seen_counts(data), 8, step, seed=0)[0] for step in range(800)]
    assert sum(buckets) == 100


@pytest.fixture
def sources(tmp_path) -> tuple[Path, Path]:
    """Some smooth photographs and a few drawings."""
    photographs, drawings = tmp_path / "photographs", tmp_path / "drawings"
    photographs.mkdir()
    drawings.mkdir()
    chance = numpy.random.default_rng(0)
    for number in range(3):
        small = Image.fromarray(chance.integers(0, 256, (9, 12, 3), numpy.uint8))
        small.resize((96, 72), Image.Resampling.BICUBIC).save(photographs / f"{number}.png")
    (photographs / "torn.jpg").write_bytes(b"no picture")
    icons = {f"dot{r}": {"body": f'<circle cx="8" cy="8" r="{r}" fill="#c03"/>'} for r in range(2, 8)}
    (drawings / "icons.json").write_text(json.dumps({"prefix": "dots", "icons": icons}))
    return photographs, drawings


def training(sources: tuple[Path, Path], output: Path, **changes) -> PictureTraining:
    settings = {
        "data": str(sources[0]), "drawings": (sources[1],), "output": output, "model": ARGUMENTS, "tile_size": 64,
        "drawing_size": 80, "drawing_share": 0.3, "latent_sizes": ((4, 4),), "steps": 6, "batch_size": 8,
        "learning_rate": 3e-3, "warmup_steps": 2, "checkpoint_every": 3, "sample_every": 0,
    }  # fmt: skip
    return PictureTraining(**settings | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


class TestTraining:
    def test_it_learns_on_both_and_one_line_tells_of_both(self, sources, tmp_path, capsys, monkeypatch):
        losses = []
        step = loop._step
        monkeypatch.setattr(loop, "_step", lambda *a: losses.append(step(*a)) or losses[-1])
        folder = train_resampler(training(sources, tmp_path / "run", steps=40, sample_every=40, squared_from=1.0))
        values = [loss.item() for loss, _ in losses]
        assert sum(values[-10:]) < 0.8 * sum(values[:10])
        said = capsys.readouterr().err
        assert "3 photographs, cut into 12 tiles of 64x64; left out 1 photograph that cannot be read" in said
        assert "6 drawings of dots, rendered at 80x80" in said
        trained = R2IR.from_pretrained(folder)
        assert trained.config.attention == "pyramid" and trained.config.training["steps"] == 40
        assert "6 drawings of dots" in trained.config.training["data"] and "drawings" not in trained.config.training
        assert (trained.latent_std != 1).all() and (trained.latent_mean != 0).all()
        assert list((tmp_path / "run" / "logs").rglob("events*"))

    def test_a_resumed_training_is_as_if_it_had_never_stopped(self, sources, tmp_path):
        whole = train_resampler(training(sources, tmp_path / "whole"))
        settings = training(sources, tmp_path / "parts")
        real = loop.learning_rate

        def stopping(config, step):
            if step == 4:
                raise MemoryError
            return real(config, step)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryError):
            patch.setattr(loop, "learning_rate", stopping)
            train_resampler(settings)
        parts = train_resampler(replace(settings, resume=True))
        one, other = weights(whole), weights(parts)
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_it_goes_on_from_trained_weights(self, sources, tmp_path):
        first = train_resampler(training(sources, tmp_path / "first"))
        after = train_resampler(training(sources, tmp_path / "more", steps=1, learning_rate=0.0, init_from=str(first)))
        one, other = weights(first), weights(after)
        assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)

    def test_the_command_goes_on_from_the_bundled_weights(self, sources, tmp_path, monkeypatch):
        photographs, drawings = sources
        arguments = (
            f"train resampler pictures --data {photographs} --drawings {drawings} {drawings} --init-from pictures "
            f"--tile-size 64 --drawing-size 80 --latent-sizes 4x4 --steps 1 --batch-size 2 --warmup-steps 1 "
            f"--learning-rate 1e-9 --num-workers 0 --precision fp32 --output {tmp_path / 'run'}"
        )
        monkeypatch.setattr("sys.argv", ["r2id", *arguments.split()])
        cli.main()
        one, other = weights(tmp_path / "run" / "resampler"), R2IR.from_pretrained("pictures").state_dict()
        same = [name for name in one if not name.startswith("latent_")]
        assert all(torch.allclose(one[name], other[name].float(), atol=1e-6) for name in same)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"latent_sizes": ((4, 5),)}, "latent_sizes has 4x5"),
            ({"latent_sizes": ((5, 5),)}, "tile_size is 64; the largest crop has 80"),
            ({"drawing_size": 64}, "drawing_size is 64"),
            ({"drawing_share": 1.5}, "drawing_share is 1.5"),
            ({"seconds": 0.0}, "seconds is 0.0"),
            ({"model": (*ARGUMENTS, "attention=local")}, "attention is 'local'"),
            ({"init_from": "mnist"}, "attention is 'local'"),
            ({"model": (*ARGUMENTS, "image_channels=1")}, "image_channels is 1"),
            ({"drawings": (Path("nothing"),)}, "nothing cannot be read"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, sources, tmp_path, change, named):
        with pytest.raises(InputError, match=named):
            train_resampler(training(sources, tmp_path, **change))

    @pytest.mark.parametrize("name", ["pictures", "pictures-large"])
    def test_the_presets_build_pyramids(self, name):
        preset = RESAMPLER_PRESETS[name]
        assert isinstance(preset, PictureTraining)
        with torch.device("meta"):
            network = R2IR(image_channels=3, attention="pyramid", **network_arguments(preset.model))
        assert network.config.attention == "pyramid"


class TestClock:
    def test_a_training_by_the_clock_ends_with_it_at_the_final_rate(self, sources, tmp_path, monkeypatch):
        rates, shares = [], []
        real = loop.clocked_rate

        def noting(config, step, share):
            rates.append(real(config, step, share))
            shares.append(share)
            return rates[-1]

        monkeypatch.setattr(loop, "clocked_rate", noting)
        clock = iter(range(10**6))
        start = time.monotonic()
        monkeypatch.setattr(loop.time, "monotonic", lambda: start + next(clock))
        folder = train_resampler(training(sources, tmp_path, seconds=60.0, steps=1))
        record = R2IR.from_pretrained(folder).config.training
        assert record["steps"] == len(rates) > 5 and 60 <= record["seconds"] < 75
        assert shares == sorted(shares) and shares[0] > 0 and 0.8 < shares[-1] < 1
        peak = rates.index(max(rates))
        assert rates[peak:] == sorted(rates[peak:], reverse=True) and rates[-1] < 0.1 * max(rates)
        checkpoints = [int(path.name.removeprefix("step-")) for path in (tmp_path / "checkpoints").iterdir()]
        assert max(checkpoints) == record["steps"]

    def test_a_stopped_one_goes_on_with_the_time_that_is_left(self, sources, tmp_path, monkeypatch):
        clock = iter(range(10**6))
        start = time.monotonic()
        monkeypatch.setattr(loop.time, "monotonic", lambda: start + next(clock))
        train_resampler(training(sources, tmp_path, seconds=20.0))
        record = R2IR.from_pretrained(train_resampler(training(sources, tmp_path, seconds=60.0, resume=True)))
        assert 60 <= record.config.training["seconds"] < 75
