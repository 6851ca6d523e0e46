"""Seams of outpainting, and one subject on several canvases, by judges that see colours."""

import pytest
import torch

from r2id.data.dataset import ImageDataset
from r2id.evaluation.canvases import measure_joint, measure_outpainting, proportions, seam_ratio
from r2id.evaluation.judge import Judged

SAMPLING = {"num_inference_steps": 2}


def slow_ratio(pictures, seams, near):
    across, beside = [], []
    for column in range(1, pictures.shape[-1]):
        step = float((pictures[..., column] - pictures[..., column - 1]).square().mean())
        if column in seams:
            across.append(step)
        elif near is None or any(seam - near <= column < seam + near for seam in seams):
            beside.append(step)
    return sum(across) / len(across) / (sum(beside) / len(beside))


class TestSeams:
    @pytest.mark.parametrize(("seams", "near"), [([5], None), ([4, 12], 3), ([1, 15], 8)])
    def test_the_ratio_is_that_of_a_loop(self, seams, near):
        pictures = torch.rand(3, 2, 5, 16)
        assert seam_ratio(pictures, seams, near) == pytest.approx(slow_ratio(pictures, seams, near), rel=1e-5)

    def test_a_ramp_has_no_seam_and_an_edge_is_one(self):
        ramp = torch.linspace(-1, 1, 16).expand(1, 3, 8, 16).clone()
        assert seam_ratio(ramp, [8]) == pytest.approx(1, abs=1e-4)
        ramp[..., 8:] += 0.4
        assert seam_ratio(ramp, [8]) > 9 and seam_ratio(ramp, [5]) < 1
        assert seam_ratio(ramp.transpose(-1, -2).mT, [8], 4) == seam_ratio(ramp, [8], 4)

    def test_nothing_to_compare_with_is_no_figure(self):
        assert seam_ratio(torch.rand(1, 1, 4, 2), [1]) != seam_ratio(torch.rand(1, 1, 4, 2), [1])


@pytest.fixture
def pictures() -> ImageDataset:
    """Even ramps in both directions, with three labels that the test pipelines know."""
    steps = 7 * torch.arange(16)
    shade = 3 * torch.arange(6)[:, None, None, None]
    images = (steps + steps[:, None] + shade).expand(6, 1, 16, 16).byte()
    return ImageDataset(images, torch.arange(6) % 3, ("3", "7", "1"), None, "ramps")


def test_outpainting_keeps_the_middle_and_is_measured_across_its_edges(make_pipeline, pictures, monkeypatch):
    pipeline = make_pipeline(canvas=(16, 16))
    calls = []

    def perfect(known, labels, **how):
        calls.append((known.shape[-2:], labels, how["generator"].initial_seed()))
        sides = [how.get(side, 0) for side in ("left", "right", "top", "bottom")]
        grown = torch.nn.functional.pad(known, sides, mode="replicate")
        return type("Result", (), {"images": grown})

    monkeypatch.setattr(pipeline, "outpaint", perfect)
    row = measure_outpainting(pipeline, pictures, 2, 5, SAMPLING)
    assert [call[0] for call in calls] == [(16, 8), (8, 16)] and [call[2] for call in calls] == [5, 6]
    assert row["pictures"] == "16x16" and row["latents"] == "2x2"
    # Replicated pixels step nowhere, and the ramp is even.
    assert row["seam / inside"] == 0 and row["of real ones"] == pytest.approx(1, abs=1e-3)


def test_outpainting_of_an_untrained_model_has_finite_figures(make_pipeline, pictures):
    row = measure_outpainting(make_pipeline(canvas=(16, 16)), pictures, 3, 0, SAMPLING)
    assert 0 <= row["seam / inside"] < 100


class FixedJudge:
    """Takes pictures for what `found` says, one picture after the other, and keeps their sizes."""

    subjects, device = ("3", "7", "1"), torch.device("cpu")

    def __init__(self, found):
        self.found, self.sizes = list(found), []

    def labels(self, data):
        return torch.arange(len(data)) % 3

    def look(self, pictures, labels):
        self.sizes.append(tuple(pictures.shape[-2:]))
        taken = torch.tensor([self.found.pop(0) for _ in pictures])
        nothing = torch.zeros(len(pictures), 2)
        return Judged(nothing, nothing, labels, taken, nothing)


def test_subjects_of_joint_samples_are_compared_over_all_canvases(make_pipeline, pictures):
    assert proportions((64, 64)) == ((64, 64), (36, 64), (64, 36)) and proportions((1, 1))[1] == (1, 1)
    # Real pictures, then four of the labels 0, 1, 2, 0 on each of three canvases, sampled jointly and then alone.
    some = len(pictures.some(4))
    judge = FixedJudge(
        [1] * some + [1] * some + [0] + [1] * (some - 1) + [0, 1, 2, 0] + [0, 1, 1, 0] + [0, 2, 1, 0] + [1] * 12
    )
    real, jointly, alone = measure_joint(make_pipeline(canvas=(16, 16)), judge, pictures, 4, 0, SAMPLING)
    assert real["latents"] == "real" and real["sampled"] == "real, cut"
    assert real["same subject"] == pytest.approx(1 - 1 / some) and real["right subject"] == pytest.approx(1 / some)
    assert jointly["sampled"] == "jointly" and jointly["same subject"] == 0.5 and jointly["right subject"] == 0.5
    assert alone["sampled"] == "each alone" and alone["same subject"] == 1 and alone["right subject"] == 0.25
    assert judge.sizes == [(16, 16), (9, 16), (16, 9)] * 3 and jointly["pictures"] == "16x16, 9x16, 16x9"
