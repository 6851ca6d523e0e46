"""Figures and drawings of splats: refined ones are closer to the digits, and each is drawn where it is."""

from dataclasses import replace
from pathlib import Path

import numpy
import torch

from r2id import R2IR, Splats

SMALL = {"dim": 16, "num_heads": 2, "basis": 4, "value_dim": 4, "num_high": 4, "num_low": 2, "sample_size": 12}
DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"


def test_figures_are_those_of_the_pictures(splat_figures, tmp_path):
    torch.manual_seed(0)
    splats = {"attention": "splats", "latent_channels": 14, "num_blocks": 1}
    R2IR(**splats, **SMALL).save_pretrained(tmp_path)
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
    R2IR(attention="splats", latent_channels=14, num_blocks=1, **SMALL).save_pretrained(tmp_path / "splats")
    R2IR(latent_channels=8, num_blocks=1, pixel_dim=8, **SMALL).save_pretrained(tmp_path / "local")
    config = splat_figures.Measure(
        str(tmp_path / "splats"), str(DIGITS), (12, 12), (4, 4), 4, 2, 1, str(tmp_path / "splats"), 24
    )
    assert splat_figures.measure(config)["over that beside"] == 1
    other = splat_figures.measure(replace(config, beside=str(tmp_path / "local")))
    assert other["over that beside"] != 1 and other["width of edges"] > 0


def test_psnr_is_of_each_picture(splat_figures):
    pictures = torch.stack([torch.full((1, 2, 2), 0.2), torch.full((1, 2, 2), 2.0)])
    torch.testing.assert_close(splat_figures.psnr(pictures, torch.zeros(2, 1, 2, 2)), torch.tensor([20.0, 0.0]))


def test_a_splat_is_drawn_as_its_ellipse(splat_drawings):
    # Twice as long along y as along x, a quarter of the side below and left of the middle.
    splats = Splats.of_ellipses(
        centres=torch.tensor([[[0.25, -0.25]]]), scales=torch.tensor([[[0.1, 0.05]]]),
        rotations=torch.tensor([[torch.pi / 2]]), colours=torch.ones(1, 1, 1), weights=torch.ones(1, 1), canvas=(1, 1),
    )  # fmt: skip
    picture = torch.from_numpy(numpy.array(splat_drawings.drawn(splats, 200))).float()
    y, x = ((picture - torch.tensor(splat_drawings.GROUND)).abs().sum(-1) > 60).nonzero().unbind(-1)
    edges = torch.stack([y.min(), y.max(), x.min(), x.max()]).float()
    torch.testing.assert_close(edges, torch.tensor([130.0, 170.0, 40.0, 60.0]), rtol=0, atol=1.5)


def test_splats_are_drawn_from_noise_to_the_picture(splat_drawings, make_pipeline):
    resampler = R2IR(attention="splats", latent_channels=14, num_blocks=1, **SMALL)
    pipeline = make_pipeline(resampler, channels=14)
    drawings = splat_drawings.out_of_noise(pipeline, "3", (0, 1, 3), 24)
    assert [one.size for one in drawings] == [(24, 24)] * 6 and drawings[3] != drawings[5]
