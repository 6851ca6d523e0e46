"""benchmarks/splats: refined splats are closer to the digits than those of one pass."""

from pathlib import Path

import torch

from r2id import R2IR

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"


def test_figures_are_those_of_the_pictures(splat_figures, tmp_path):
    torch.manual_seed(0)
    splats = {"attention": "splats", "latent_channels": 14, "num_blocks": 1}
    small = {"dim": 16, "num_heads": 2, "basis": 4, "value_dim": 4, "num_high": 4, "num_low": 2}
    R2IR(sample_size=12, **splats, **small).save_pretrained(tmp_path)
    config = splat_figures.Measure(
        str(tmp_path), str(DIGITS), image_size=(12, 12), latent_size=(4, 4), count=6, refined=2, steps=40
    )
    figures = splat_figures.measure(config)
    assert figures["splats"] == 32 and figures["images"] == 6
    assert figures["refined"] > figures["of these in one pass"] + 5


def test_psnr_is_of_each_picture(splat_figures):
    pictures = torch.stack([torch.full((1, 2, 2), 0.2), torch.full((1, 2, 2), 2.0)])
    torch.testing.assert_close(splat_figures.psnr(pictures, torch.zeros(2, 1, 2, 2)), torch.tensor([20.0, 0.0]))
