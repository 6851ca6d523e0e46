"""Counting of subjects, by features that stand in for those of a large network: the colours of 64 areas."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from r2id.data.dataset import ImageDataset
from r2id.evaluation import duplicates
from r2id.evaluation.duplicates import (
    LAYOUTS,
    SubjectCounter,
    measure_counter,
    measure_duplicates,
    parts_of,
    tiled,
)

CPU = torch.device("cpu")


def areas(pictures: Tensor) -> Tensor:
    large = functional.interpolate(pictures, (32, 32), mode="bicubic", antialias=True)
    return functional.adaptive_avg_pool2d(large, 8).flatten(1)


def discs(count: int, seed: int, side: int = 32) -> ImageDataset:
    """A disc near the middle of each picture, of any colour and size, with noise."""
    chance = torch.Generator().manual_seed(seed)
    place = torch.linspace(-1, 1, side)
    middle = 0.15 * torch.randn(2, count, 1, 1, generator=chance)
    away = ((place[:, None] - middle[0]).square() + (place - middle[1]).square()).sqrt()
    inside = away < 0.45 + 0.3 * torch.rand(count, 1, 1, generator=chance)
    colour = 160 * torch.rand(count, 3, 1, 1, generator=chance)
    images = torch.where(inside[:, None], colour, 240.0) + 8 * torch.randn(count, 3, side, side, generator=chance)
    return ImageDataset(images.clamp(0, 255).byte(), None, (), None, f"discs {seed}")


@pytest.fixture(scope="module")
def counter() -> SubjectCounter:
    return SubjectCounter.of(areas, CPU, discs(150, 0))


class TestPictures:
    @pytest.mark.parametrize("layout", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 4)])
    def test_parts_cover_a_picture_in_order(self, layout):
        pictures, (rows, columns) = torch.rand(2, 3, 13, 10), layout
        parts = parts_of(pictures, layout)
        assert len(parts) == rows * columns
        joined = [torch.cat(parts[row * columns : (row + 1) * columns], -1) for row in range(rows)]
        assert torch.equal(torch.cat(joined, -2), pictures)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_tiles_show_the_whole_picture_and_meet_near_the_middle(self, layout):
        # Dark above and on the left, so that the first lines of a tile are told from the last of the one before.
        ramp = torch.linspace(-1, 1, 32)
        for picture, axis, n in ((ramp[:, None].expand(1, 3, 32, 32), -2, layout[0]),
                                 (ramp.expand(1, 3, 32, 32), -1, layout[1])):  # fmt: skip
            meeting = set()
            for seed in range(8):
                one = tiled(picture, layout, seed)
                assert one.shape == (1, 3, 64, 64) and torch.equal(one, tiled(picture, layout, seed))
                line = one.mean((0, 1, -1 if axis == -2 else -2))
                falls = [place for place in range(1, 64) if line[place] < line[place - 1] - 0.5]
                assert len(falls) == n - 1 and all(26 <= place <= 38 for place in falls)
                assert line.max() > 0.9 and line.min() < -0.9
                meeting |= set(falls)
            assert n == 1 or len(meeting) > 2


class TestCounter:
    def test_scores_are_the_least_log_odds_of_the_parts(self, counter):
        picture = discs(1, 5).batch([0])
        for number, (rows, columns) in enumerate(LAYOUTS):
            each = []
            for row in range(rows):
                for column in range(columns):
                    part = picture[
                        ...,
                        row * 32 // rows : (row + 1) * 32 // rows,
                        column * 32 // columns : (column + 1) * 32 // columns,
                    ]
                    each.append(counter.whole(areas(part)).item())
            assert counter.scores(picture)[0, number].item() == pytest.approx(min(each), rel=1e-4)

    def test_a_count_is_that_of_the_layout_furthest_above_its_threshold(self, counter, monkeypatch):
        scores = torch.tensor([[-1.0, -1, -1], [0.5, -1, -1], [0.5, 0.2, 0.9], [-1, 0.1, 0.0]])
        fixed = SubjectCounter(areas, CPU, counter.whole, torch.tensor([0.0, 0.0, 0.2]))
        monkeypatch.setattr(SubjectCounter, "scores", lambda self, pictures: scores)
        assert fixed.count(torch.zeros(4, 3, 8, 8)).tolist() == [1, 2, 4, 2]

    def test_single_subjects_are_one_and_tiled_ones_are_more(self, counter):
        rows = measure_counter(counter, discs(60, 1))
        assert [row["shown"] for row in rows] == ["once", "tiled 1x2", "tiled 2x1", "tiled 2x2"]
        assert [row["pictures"] for row in rows] == ["32x32", "64x64", "64x64", "64x64"]
        once, *more = [row["more than one"] for row in rows]
        assert once < 0.15 and min(more) > 0.8
        assert rows[0]["subjects"] < 1.3 and rows[3]["subjects"] > 2.5

    def test_neither_size_nor_place_nor_an_empty_half_makes_two(self, counter):
        moved = discs(30, 2).batch(slice(None))
        half = torch.cat([moved, torch.ones_like(moved) * 0.88], -1)
        larger = functional.interpolate(moved, (96, 96), mode="bicubic", antialias=True)
        for pictures in (moved, larger, half):
            assert (counter.count(pictures) > 1).float().mean() < 0.2

    def test_a_few_training_pictures_alarm_falsely(self, counter):
        held_out = discs(150, 0).some(300).batch(slice(100, None))
        share = (counter.scores(held_out) > counter.thresholds).float().mean(0)
        assert (share <= duplicates.FALSE_ALARMS + 0.02).all()


def test_generated_pictures_grow_with_their_latents(counter, make_pipeline, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        SubjectCounter, "count", lambda self, pictures: sizes.append(pictures.shape) or torch.ones(len(pictures))
    )
    pipeline = make_pipeline(canvas=(16, 16))
    row = measure_duplicates(pipeline, counter, ["3", "7"], (16, 16), 2, 3, 0, {"num_inference_steps": 1})
    assert row == {"latents": "4x4", "pictures": "32x32", "shown": "generated", "more than one": 0, "subjects": 1}
    assert sizes == [(3, 1, 32, 32)]
