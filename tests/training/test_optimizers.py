"""Muon beside AdamW, gradients in parts, and weights that stay in float32."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import usable_precision
from r2id.training import loop, optimizers
from r2id.training.objectives import DiffusionObjective
from r2id.training.optimizers import Muon, hidden_matrices, orthogonal
from r2id.training.settings import DiffuserTraining, ResamplerTraining
from r2id.training.setup import train_diffuser, train_resampler

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
MODEL = ("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", "num_high=3")
SMALL = {
    "data": str(DIGITS), "image_size": (8, 8), "latent_sizes": ((3, 3),), "steps": 6, "batch_size": 16,
    "warmup_steps": 2, "sample_every": 0, "learning_rate": 3e-3,
}  # fmt: skip


def training(output: Path, **changes) -> DiffuserTraining:
    return DiffuserTraining(**SMALL | {"output": output, "model": MODEL, "resampler": "none"} | changes)


def state(folder: Path, kind=R2ID) -> dict[str, torch.Tensor]:
    return kind.from_pretrained(folder).state_dict()


class TestMuon:
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_directions_keep_singular_vectors_and_have_singular_values_near_1(self, precision, monkeypatch):
        monkeypatch.setattr(optimizers, "usable_precision", lambda *_: precision)
        matrices = [torch.randn(12, 30), torch.randn(30, 12)]
        for matrix, direction in zip(matrices, orthogonal(matrices), strict=True):
            assert direction.shape == matrix.shape and direction.dtype == torch.float32
            values = torch.linalg.svdvals(direction)
            assert values.min() > 0.6 and values.max() < 1.3
            left, _, right = torch.linalg.svd(matrix, full_matrices=False)
            between = left.mT @ direction @ right.mT
            assert (between - between.diag().diag()).abs().max() < (1e-3 if precision == "fp32" else 0.1)

    def test_a_step_is_that_of_torch_and_of_adamw_for_the_rest(self, monkeypatch):
        monkeypatch.setattr(optimizers, "usable_precision", lambda *_: "bf16")
        hidden, rest = nn.Parameter(torch.randn(6, 20)), nn.Parameter(torch.randn(5))
        twins = [nn.Parameter(one.detach().clone()) for one in (hidden, rest)]
        common = {"lr": 0.01, "weight_decay": 0.1}
        ours = Muon([hidden], [rest], **common)
        theirs = (
            torch.optim.Muon([twins[0]], adjust_lr_fn="match_rms_adamw", **common),
            torch.optim.AdamW([twins[1]], **common),
        )
        for _ in range(4):
            for one, twin in zip((hidden, rest), twins, strict=True):
                one.grad = torch.randn_like(one)
                twin.grad = one.grad.clone()
            ours.step()
            for optimizer in theirs:
                optimizer.step()
        torch.testing.assert_close(hidden, twins[0], rtol=0, atol=1e-3)
        assert torch.equal(rest, twins[1]) and (hidden - twins[0]).abs().max() < 0.1 * 0.01 * 0.2 * 20**0.5

    def test_hidden_are_the_matrices_of_attention_and_feed_forward(self, make_pipeline):
        objective = DiffusionObjective(make_pipeline(attention="softmax", qk_norm=True, local_radius=0.3), 0.1)
        hidden = {id(one) for one in hidden_matrices(objective)}
        names = [name for name, one in objective.named_parameters() if id(one) in hidden]
        assert all(".encoder." in name or ".decoder." in name for name in names)
        assert not any("resampler" in name for name in names)
        # One encoder block, and one decoder block with cross-attention.
        assert {name.split(".")[-2] for name in names} == {"0", "2", "to_query", "to_key_value", "to_out"}
        assert len(names) == (3 + 2) + (3 + 3 + 2)
        assert not any(word in name for name in names for word in ("modulation", "kernel", "temperature", "norm"))

    def test_it_learns_and_a_resumed_training_ends_as_a_whole_one(self, tmp_path):
        config = {"optimizer": "muon", "checkpoint_every": 3}
        whole = train_diffuser(training(tmp_path, **config)) / "diffuser"
        expected = state(whole)
        shutil.rmtree(tmp_path / "checkpoints" / "step-000006")
        resumed = state(train_diffuser(training(tmp_path, resume=True, **config)) / "diffuser")
        assert all(torch.equal(one, resumed[name]) for name, one in expected.items())
        adamw = state(train_diffuser(training(tmp_path / "adamw")) / "diffuser")
        name = "encoder.0.feed.0.weight"
        assert not torch.allclose(adamw[name], expected[name], atol=1e-4)

    def test_sharded_matrices_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="optimizer is muon and shard is on; muon needs whole matrices"):
            train_diffuser(training(tmp_path, optimizer="muon", shard=True))


class TestAccumulation:
    def test_gradients_in_parts_add_up_to_those_of_the_batch(self, tmp_path):
        model = ("dim=16", "num_heads=2", "num_blocks=1", "latent_channels=4", "basis=4", "value_dim=4")
        trained = []
        for parts in (1, 4):
            config = ResamplerTraining(**SMALL, output=tmp_path / str(parts), model=model, gradient_accumulation=parts)
            trained.append(state(train_resampler(config), R2IR))
        for name, one in trained[0].items():
            torch.testing.assert_close(trained[1][name], one, rtol=1e-2, atol=1e-4)

    def test_parts_of_different_sizes_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="gradient_accumulation is 3; it must divide the 16 images"):
            train_diffuser(training(tmp_path, gradient_accumulation=3))


def test_weights_averages_and_moments_stay_in_float32_while_products_are_in_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr("r2id.runtime.precision._multiplies_bfloat16", lambda device: True)
    assert usable_precision("bf16", "cpu") == "bf16"
    seen, kinds = [], set()
    forward = R2ID.forward

    def noted(self, *arguments):
        prediction = forward(self, *arguments)
        seen.append(prediction.dtype)
        return prediction

    save = loop.Checkpoints.save

    def kept(self, step, seconds, settings, parameters, average, optimizer, *rest):
        moments = [value for one in optimizer.state_dict()["state"].values() for value in one.values()]
        kinds.update(one.dtype for one in (*parameters, *average, *moments))
        return save(self, step, seconds, settings, parameters, average, optimizer, *rest)

    monkeypatch.setattr(R2ID, "forward", noted)
    monkeypatch.setattr(loop.Checkpoints, "save", kept)
    folder = train_diffuser(training(tmp_path, precision="bf16", model=(*MODEL, "local_radius=0.4", "qk_norm=True")))
    assert set(seen) == {torch.bfloat16} and kinds == {torch.float32}
    assert {one.dtype for one in state(folder / "diffuser").values()} == {torch.float32}
