"""Panoramas: seams where windows end, and repeats, which are distant parts too much alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.evaluation.canvases import NEAR, seam_ratio
from r2id.evaluation.judge import Judge, Judged
from r2id.geometry.sizes import size_text
from r2id.runtime.progress import uncounted

TIMES = 4
"""Width of a panorama, in widths of a picture."""
ALONE = 2
"""Pictures sampled by themselves for each panorama."""
BATCH = 25


@torch.no_grad()
def measure_panoramas(
    pipeline: R2Pipeline,
    judge: Judge,
    data: ImageDataset,
    count: int,
    seed: int,
    sampling: Mapping[str, Any],
    on_batch: Callable[[int], object] = uncounted,
) -> list[dict[str, object]]:
    """Return rows on panoramas TIMES as wide as pictures, on pictures each sampled alone, and on real pictures.

    "seam / beside" is `seam_ratio` where windows begin and end; other pictures are measured at the same places.
    "likeness" is the mean `likeness` of parts of one panorama that do not touch. With repeats, it is above that of
    pictures of one label or caption sampled alone. Their variety is another than that of real ones.

    Args:
        data: real pictures of the height of the panoramas.
        count: panoramas; the i-th shows the judge's subject i, modulo their number, with the seed `seed` + i.
        sampling: arguments of the pipeline's call.
        on_batch: receives the number of panoramas of each batch.
    """
    (height, width), truth = data.image_size, judge.labels(data)
    size = height, TIMES * width
    windows = pipeline.panorama_windows(size)
    borders = windows.borders(size[1])
    within = [border for border in borders if border < width]
    every = torch.arange(count) % len(judge.subjects)
    apart = [(one, other) for one, other in combinations(range(TIMES), 2) if other > one + 1]
    panoramas, alone, likenesses, seen_alone = [], [], [], []
    for number, label in enumerate(every.tolist()):
        how: dict[str, Any] = {
            "size": size,
            "generator": torch.Generator().manual_seed(seed + number),
            "output_type": "pt",
        }
        panorama = pipeline.panorama([judge.subjects[label]], **how, **sampling).images.to(judge.device)
        parts = torch.cat(panorama.float().split(width, dim=-1))
        found = Judged.of(judge, parts, torch.full((TIMES,), label)).features
        likenesses.append(likeness(found, apart))
        seeds = [seed + count + ALONE * number + place for place in range(ALONE)]
        each = pipeline(
            [judge.subjects[label]] * ALONE,
            windows.size,
            (height, width),
            generator=[torch.Generator().manual_seed(one) for one in seeds],
            output_type="pt",
            **sampling,
        ).images.to(judge.device)
        seen_alone.append(Judged.of(judge, each, torch.full((ALONE,), label)).features)
        panoramas.append(panorama.float().cpu())
        alone.append(each.float().cpu())
        on_batch(1)
    some = torch.arange(len(data)).split(BATCH)
    real = torch.cat([Judged.of(judge, data.batch(each).to(judge.device), truth[each]).features for each in some])
    real_seams = seam_ratio(data.batch(slice(None)), within, NEAR)
    grid, pictures = size_text(windows.size), size_text((height, width))
    return [
        _row("real", pictures, "real", real_seams, likeness(real, _pairs(truth))),
        _row(size_text(windows.grid), size_text(size), "panorama", seam_ratio(torch.cat(panoramas), borders, NEAR),
             sum(likenesses) / count),
        _row(grid, pictures, "each alone", seam_ratio(torch.cat(alone), within, NEAR),
             likeness(torch.cat(seen_alone), _pairs(every.repeat_interleave(ALONE)))),
    ]  # fmt: skip


def likeness(features: Tensor, pairs: list[tuple[int, int]]) -> float:
    """Return the mean cosine similarity of pairs of features [N, D]; NaN without a pair."""
    if not pairs:
        return math.nan
    first, second = (features[list(some)] for some in zip(*pairs, strict=True))
    return functional.cosine_similarity(first, second).mean().item()


def _pairs(labels: Tensor) -> list[tuple[int, int]]:
    """Return the pairs of different pictures with one label."""
    same = (labels[:, None] == labels).triu(1)
    return [(one, other) for one, other in same.nonzero().tolist()]


def _row(latents: str, pictures: str, sampled: str, seam: float, alike: float) -> dict[str, object]:
    return {"latents": latents, "pictures": pictures, "sampled": sampled, "seam / beside": seam, "likeness": alike}
