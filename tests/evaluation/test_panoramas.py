"""Seams and repeats of panoramas, by a judge that sees the colours of 16 areas."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from r2id.data.dataset import ImageDataset
from r2id.evaluation.judge import Judged
from r2id.evaluation.panoramas import likeness, measure_panoramas

SAMPLING = {"num_inference_steps": 2}


class AreaJudge:
    subjects, device = ("3", "7", "1"), torch.device("cpu")

    def labels(self, data):
        return data.labels

    def look(self, pictures, labels):
        areas = functional.adaptive_avg_pool2d(pictures, 4).flatten(1)
        return Judged(areas, areas, labels, labels, areas[:, :0])


@pytest.fixture
def pictures() -> ImageDataset:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, 1, 16, 16), generator=chance).byte()
    return ImageDataset(images, torch.arange(6) % 3, ("3", "7", "1"), None, "noise")


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawing(repeats: bool, step: float):
    """Return a stand-in for `R2Pipeline.panorama`: noise, tiled or not, with a step in the middle."""

    def panorama(labels, size, generator, output_type, **sampling):
        seed = generator.initial_seed()
        drawn = noise(seed, 1, 1, 16, 16).repeat(1, 1, 1, 4) if repeats else noise(seed, 1, 1, 16, 64)
        drawn[..., 32:] += step
        return SimpleNamespace(images=drawn)

    return panorama


def measured(pipeline, pictures, monkeypatch, repeats, step):
    monkeypatch.setattr(pipeline, "panorama", drawing(repeats, step))
    return measure_panoramas(pipeline, AreaJudge(), pictures, 3, 0, SAMPLING)


def test_repeats_and_seams_show_in_the_figures(make_pipeline, pictures, monkeypatch):
    pipeline = make_pipeline(canvas=(16, 16))
    assert 32 in pipeline.panorama_windows((16, 64)).borders(64)
    real, free, alone = measured(pipeline, pictures, monkeypatch, False, 0)
    assert [row["sampled"] for row in (real, free, alone)] == ["real", "panorama", "each alone"]
    assert free["pictures"] == "16x64" and real["pictures"] == alone["pictures"] == "16x16"
    assert abs(free["likeness"]) < 0.3 and 0.7 < free["seam / beside"] < 1.4
    _, repeated, _ = measured(pipeline, pictures, monkeypatch, True, 0)
    assert repeated["likeness"] == pytest.approx(1, abs=1e-4)
    _, broken, _ = measured(pipeline, pictures, monkeypatch, False, 6)
    assert broken["seam / beside"] > 2 * free["seam / beside"]


def test_panoramas_of_an_untrained_model_have_figures_beside_real_ones(make_pipeline, pictures):
    rows = measure_panoramas(make_pipeline(canvas=(16, 16)), AreaJudge(), pictures, 2, 0, SAMPLING)
    assert all(-1 <= row["likeness"] <= 1 and 0 <= row["seam / beside"] < 100 for row in rows)


def test_likeness_is_the_mean_over_pairs_and_none_without_one():
    features = torch.tensor([[1.0, 0], [0, 2], [3, 0]])
    assert likeness(features, [(0, 1), (0, 2)]) == pytest.approx(0.5)
    assert math.isnan(likeness(features, []))
