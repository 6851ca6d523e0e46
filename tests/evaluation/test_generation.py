"""Figures of generated digits, against slow formulas and against sets whose answer is known."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from r2id.conditioning.labels import LabelConditioner
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.classifier import load_classifier
from r2id.evaluation.generation import (
    Judged,
    Reference,
    check_digits,
    distance_within_labels,
    frechet_distance,
    measure_generation,
    precision_and_recall,
    seen_size,
)

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"


def normal(count: int, seed: int, channels: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_frechet_distance_is_that_of_the_two_gaussians():
    first, second = normal(500, 0), normal(300, 1) * torch.linspace(0.5, 2, 8) + 0.3
    covariances = [(part - part.mean(0)).T @ (part - part.mean(0)) / (len(part) - 1) for part in (first, second)]
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).sqrt().sum().real
    trace = sum(covariance.trace() for covariance in covariances) - 2 * root
    expected = (first.mean(0) - second.mean(0)).square().sum() + trace
    assert frechet_distance(first, second) == pytest.approx(expected.item(), rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


class TestPrecisionAndRecall:
    def test_a_set_covers_itself(self):
        assert precision_and_recall(normal(100, 0), normal(100, 0)) == (1, 1)

    def test_sets_far_apart_cover_nothing_of_each_other(self):
        assert precision_and_recall(normal(100, 0), normal(100, 1) + 100) == (0, 0)

    def test_one_good_picture_again_and_again_has_precision_and_no_recall(self):
        real = normal(100, 0)
        precision, recall = precision_and_recall(real, real[:1] + 1e-3 * normal(100, 1))
        assert precision == 1 and recall <= 0.05

    def test_they_are_what_the_definition_says(self):
        real, generated = normal(30, 0, 2), normal(30, 1, 2) * 1.5
        inside = 0
        for point in generated:
            for center in real:
                third_nearest = sorted((center - other).norm().item() for other in real)[3]
                if (point - center).norm().item() <= third_nearest:
                    inside += 1
                    break
        assert precision_and_recall(real, generated)[0] == pytest.approx(inside / 30)


def test_the_distance_within_labels_is_the_mean_over_pairs():
    pixels, labels = normal(12, 0), torch.arange(12) % 3
    means = []
    for label in range(3):
        same = pixels[labels == label]
        pairs = [(same[i] - same[j]).norm() for i in range(4) for j in range(4) if i != j]
        means.append(sum(pairs) / len(pairs))
    assert distance_within_labels(pixels, labels) == pytest.approx((sum(means) / 3).item())
    assert distance_within_labels(pixels[:1].expand(12, -1), labels) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def reference():
    return Reference.of(load_classifier(), load_images(DIGITS, "test", image_size=(32, 32)), (32, 32))


def test_real_digits_are_compared_at_the_size_of_the_pictures_unless_that_is_larger(reference):
    assert seen_size((32, 32), (64, 64)) == (32, 32) and seen_size((32, 32), (16, 40)) == (16, 32)
    digits = load_images(DIGITS, "test", image_size=(32, 32))
    small = Reference.of(load_classifier(), digits, (8, 8))
    assert small.row(50)["pictures"] == "8x8" and reference.row(50)["pictures"] == "32x32"
    # Strokes that are smeared over more pixels differ less.
    assert small.distance < 0.9 * reference.distance


def test_the_judge_is_as_precise_under_autocast():
    pictures = load_images(DIGITS, "test", image_size=(32, 32)).batch(slice(0, 10))
    exact = Judged.of(load_classifier(), pictures, torch.zeros(10))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Judged.of(load_classifier(), pictures, torch.zeros(10)).features, exact.features)


def test_the_judge_sees_pictures_of_any_size_as_32x32():
    classifier = load_classifier()
    judged = Judged.of(classifier, torch.rand(3, 3, 10, 50) * 2 - 1, torch.zeros(3))
    assert judged.pixels.shape == (3, 1024) and judged.features.shape == (3, 64)


def test_a_model_that_knows_nothing_is_found_out(make_pipeline, reference):
    pipeline = make_pipeline()
    references, sampling = {(32, 32): reference, (16, 8): reference}, {"num_inference_steps": 2}
    rows = list(
        measure_generation(pipeline, load_classifier(), references, (2, 2), count=60, seed=0, sampling=sampling)
    )
    assert [row["pictures"] for row in rows] == ["32x32", "16x8"]
    for row in rows:
        assert row["accuracy"] < 0.4 and row["recall"] < 0.1 and row["intra-class distance ratio"] < 0.6
        assert row["Fréchet"] > 20 * reference.halves
        assert row["distance"] == pytest.approx(row["intra-class distance ratio"] * reference.distance)
    assert reference.row(60)["distance"] == reference.distance and reference.row(60)["intra-class distance ratio"] == 1


def test_figures_that_need_two_pictures_are_not_told_of_one(make_pipeline, reference):
    def figures(count):
        sampling = {"num_inference_steps": 1, "guidance_scale": 1.0}
        judged = measure_generation(
            make_pipeline(), load_classifier(), {(8, 8): reference}, (2, 2), count=count, seed=0, sampling=sampling
        )
        return next(judged)

    one, nineteen, twenty = (figures(count) for count in (1, 19, 20))
    assert all(
        math.isnan(one[name]) for name in ("Fréchet", "precision", "recall", "intra-class distance ratio", "distance")
    )
    # One label has a single picture, which differs from no other.
    assert math.isnan(nineteen["intra-class distance ratio"]) and nineteen["Fréchet"] > 0
    assert twenty["intra-class distance ratio"] > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_real_digits_are_measured_as_far_as_they_can_be(count):
    digits = load_images(DIGITS, "test", image_size=(32, 32)).some(count)
    row = Reference.of(load_classifier(), replace(digits, labels=digits.labels * 0), (32, 32)).row(100)
    assert math.isnan(row["Fréchet"]) == math.isnan(row["precision"]) == (count < 4)
    assert math.isnan(row["intra-class distance ratio"]) == math.isnan(row["distance"]) == (count < 2)


def test_a_model_of_other_labels_has_no_judge(make_pipeline):
    tiny = make_pipeline()
    pets = R2Pipeline(tiny.diffuser, LabelConditioner(["cat", "dog"], dim=8), tiny.resampler)
    digits = load_images(DIGITS, "test", image_size=(32, 32))
    with pytest.raises(InputError, match="classifier of the digits.* cat, dog"):
        check_digits(pets, digits)
    with pytest.raises(InputError, match="labels cat, dog; they must be digits"):
        check_digits(tiny, replace(digits, labels=digits.labels % 2, label_names=("cat", "dog")))
