"""benchmarks/splats: refined splats are closer to the digits than those of one pass."""

from dataclasses import replace
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


def test_edges_are_as_wide_as_they_rise(splat_figures):
    y, x = torch.meshgrid(torch.arange(400.0), torch.arange(400.0), indexing="ij")
    away = 120 - torch.stack([y - 200, x - 200]).square().sum(0).sqrt()
    # From -1 to 1 over 20 and 50 pixels, of which the middle 80 % count.
    discs = torch.stack([(away / 10).clamp(-1, 1), (away / 25).clamp(-1, 1)])[:, None]
    torch.testing.assert_close(splat_figures.edge_width(discs), torch.tensor([16.0, 40.0]), rtol=0.03, atol=0)


def test_edges_are_compared_with_those_of_another(splat_figures, tmp_path, monkeypatch):
    # Untrained networks show no edges.
    monkeypatch.setattr(splat_figures, "edge_width", lambda pictures: pictures.std((1, 2, 3)))
    torch.manual_seed(0)
    small = {"dim": 16, "num_heads": 2, "basis": 4, "value_dim": 4, "num_high": 4, "num_low": 2, "sample_size": 12}
    R2IR(attention="splats", latent_channels=14, num_blocks=1, **small).save_pretrained(tmp_path / "splats")
    R2IR(latent_channels=8, num_blocks=1, pixel_dim=8, **small).save_pretrained(tmp_path / "local")
    config = splat_figures.Measure(
        str(tmp_path / "splats"), str(DIGITS), (12, 12), (4, 4), 4, 2, 1, str(tmp_path / "splats"), 24
    )
    assert splat_figures.measure(config)["over that beside"] == 1
    other = splat_figures.measure(replace(config, beside=str(tmp_path / "local")))
    assert other["over that beside"] != 1 and other["width of edges"] > 0


def test_psnr_is_of_each_picture(splat_figures):
    pictures = torch.stack([torch.full((1, 2, 2), 0.2), torch.full((1, 2, 2), 2.0)])
    torch.testing.assert_close(splat_figures.psnr(pictures, torch.zeros(2, 1, 2, 2)), torch.tensor([20.0, 0.0]))
