"""Bundling a pipeline: in half precision, without its R2IR, and with defaults of its own."""

import sys
from pathlib import Path

import torch

from r2id import R2ID, R2IR, R2Pipeline
from r2id.conditioning.labels import LabelConditioner

RECIPE = Path(__file__).parents[2] / "benchmarks" / "recipe"


def test_the_bundle_makes_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    import bundle

    diffuser = R2ID(64, 16, 2, 1, 1, token_dim=8, time_dim=8, sample_size=2, canvas=(1, 1))
    resampler = R2IR.from_pretrained("pictures")
    resampler.latent_std.fill_(2.0)
    defaults = {"size": (16, 16), "latent_size": (2, 2)}
    pipeline = R2Pipeline(diffuser, LabelConditioner(("a", "b"), 2, 8), resampler, generation_defaults=defaults)
    pipeline.save_pretrained(tmp_path / "trained")
    monkeypatch.setattr(sys, "argv", ["bundle", str(tmp_path / "trained"), str(tmp_path / "made"), "--size", "48"])
    bundle.main()
    assert sum(file.stat().st_size for file in (tmp_path / "made").rglob("*.safetensors")) < 200_000
    made = R2Pipeline.from_pretrained(tmp_path / "made", torch_dtype=torch.float32)
    assert made.generation_defaults.size == (48, 48) and made.generation_defaults.latent_size == (2, 2)
    arguments = {"num_inference_steps": 2, "output_type": "pt", "size": (16, 16)}
    one, other = (
        each(["a"], generator=torch.Generator().manual_seed(0), **arguments).images for each in (pipeline, made)
    )
    torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=0.02)
