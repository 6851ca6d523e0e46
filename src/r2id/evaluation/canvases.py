"""Pictures on several canvases: seams of outpainting, and whether a joint sample shows one subject on all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.evaluation.denoising_error import conditions_of
from r2id.evaluation.judge import Judge, Judged
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import uncounted

NEAR = 8
"""Columns on either side of a seam that count as near it."""
BATCH = 25


def seam_ratio(pictures: Tensor, seams: Sequence[int], near: int | None = None) -> float:
    """Return the mean squared step across vertical seams of pictures [N, C, H, W] over that between other columns.

    A seam s lies between the columns s − 1 and s. Pictures without visible seams have a ratio near 1. For horizontal
    seams, give the transposed pictures.

    Args:
        near: columns on either side of a seam whose steps are compared with its own; None for all columns.
    """
    steps = (pictures[..., 1:] - pictures[..., :-1]).float().square().mean((0, 1, 2))
    # Step i is between the columns i and i + 1.
    places = torch.arange(1, len(steps) + 1, device=steps.device)
    offsets = places[:, None] - torch.tensor(seams, device=steps.device)
    across, compared = (offsets == 0).any(1), (offsets != 0).all(1)
    if near is not None:
        compared &= ((offsets >= -near) & (offsets < near)).any(1)
    if not across.any() or not compared.any():
        return math.nan
    return (steps[across].mean() / steps[compared].mean()).item()


@torch.no_grad()
def measure_outpainting(
    pipeline: R2Pipeline,
    data: ImageDataset,
    count: int,
    seed: int,
    sampling: Mapping[str, Any],
    on_batch: Callable[[int], object] = uncounted,
) -> dict[str, object]:
    """Return a row on the seams of `count` test pictures whose middle half was continued, with their conditions.

    The first picture goes on to the left and the right, the second to the top and the bottom, and so on. The figures
    are `seam_ratio` of the made pictures, and of the real ones at the same places.

    Args:
        data: real pictures, with labels or captions that the model knows.
        seed: seed of the first picture.
        sampling: arguments of the pipeline's call.
        on_batch: receives the number of pictures of each batch.
    """
    data = data.some(count)
    conditions, (height, width) = conditions_of(pipeline, data), data.image_size
    latent_size = pipeline.latents_beside((height, width), (height, width))
    # By whether they went on upwards; seams are vertical after a transposition.
    made: dict[bool, list[Tensor]] = {False: [], True: []}
    real: dict[bool, list[Tensor]] = {False: [], True: []}
    for number in range(len(data)):
        picture, upwards = data.batch([number]), number % 2 == 1
        edges: dict[str, Any]
        quarter = (height if upwards else width) // 4
        if upwards:
            known, edges = picture[..., quarter : height - quarter, :], {"top": quarter, "bottom": quarter}
        else:
            known, edges = picture[..., quarter : width - quarter], {"left": quarter, "right": quarter}
        generator = torch.Generator().manual_seed(seed + number)
        how = {"latent_size": latent_size, "generator": generator, "output_type": "pt", **sampling}
        result = pipeline.outpaint(known, [conditions[number]], **edges, **how).images.float().cpu()
        made[upwards].append(result.mT if upwards else result)
        real[upwards].append(picture.mT if upwards else picture)
        on_batch(1)
    ratios = []
    for pictures in (made, real):
        found = [
            seam_ratio(torch.cat(some), _seams(some[0].shape[-1]), NEAR) for some in pictures.values() if len(some)
        ]
        ratios.append(sum(found) / len(found))
    return {
        "latents": size_text(latent_size),
        "pictures": size_text((height, width)),
        "seam / inside": ratios[0],
        "of real ones": ratios[1],
    }


def _seams(width: int) -> tuple[int, int]:
    """Return where the known middle of a picture of some width begins and ends."""
    return width // 4, width - width // 4


def proportions(size: Size) -> tuple[Size, Size, Size]:
    """Return a size, and the sizes that are 9/16 as high and as wide."""
    height, width = size
    return size, (max(1, round(height * 9 / 16)), width), (height, max(1, round(width * 9 / 16)))


def middle(pictures: Tensor, size: Size) -> Tensor:
    """Return the middle of `size` (h, w) of pictures [N, C, H, W] that are no smaller."""
    top, left = ((whole - part) // 2 for whole, part in zip(pictures.shape[-2:], size, strict=True))
    return pictures[..., top : top + size[0], left : left + size[1]]


@torch.no_grad()
def measure_joint(
    pipeline: R2Pipeline,
    judge: Judge,
    data: ImageDataset,
    count: int,
    seed: int,
    sampling: Mapping[str, Any],
    on_batch: Callable[[int], object] = uncounted,
) -> list[dict[str, object]]:
    """Return rows on pictures of a size and of both other `proportions`, sampled jointly and each by itself.

    "same subject" is the share whose three pictures the judge takes for the same label or caption. "right subject" is
    the share that it takes for the given one. Pictures sampled by themselves show what is due to the joint sample. Real
    pictures and their middles in these proportions show how often the judge itself knows a subject again.

    Args:
        data: real pictures of the size of the first one.
        count: joint samples; the i-th shows the judge's subject i, modulo their number, with the seed `seed` + i.
        sampling: arguments of the pipeline's call.
        on_batch: receives the number of samples of each batch.
    """
    size, data = data.image_size, data.some(count)
    sizes = proportions(size)
    latent_size = pipeline.defaults_on(size).latent_size
    truth = judge.labels(data)
    cut: list[Tensor] = []
    for numbers in torch.arange(len(data)).split(BATCH):
        parts = [middle(data.batch(numbers), one).to(judge.device) for one in sizes]
        cut.append(torch.stack([Judged.of(judge, part, truth[numbers]).taken_for for part in parts], 1))
    taken: dict[str, list[Tensor]] = {"real, cut": cut, "jointly": [], "each alone": []}
    every = torch.arange(count) % len(judge.subjects)

    def draw(numbers: Tensor, canvases: Sequence[Size], first: int) -> list[Tensor]:
        """Return what each canvas of a joint sample is taken for; picture i has the seed `first` + i."""
        labels = every[numbers]
        images = pipeline(
            [judge.subjects[label] for label in labels],
            latent_size,
            canvases,
            joint=True,
            generator=[torch.Generator().manual_seed(first + number) for number in numbers.tolist()],
            output_type="pt",
            **sampling,
        ).images
        return [Judged.of(judge, some.to(judge.device), labels).taken_for for some in images]

    for numbers in torch.arange(count).split(BATCH):
        taken["jointly"].append(torch.stack(draw(numbers, sizes, seed), 1))
        # Other seeds, because the same noise shows much the same picture on every canvas.
        alone = [draw(numbers, [one], seed + place * count)[0] for place, one in enumerate(sizes)]
        taken["each alone"].append(torch.stack(alone, 1))
        on_batch(len(numbers))
    rows: list[dict[str, object]] = []
    for how, judged in taken.items():
        found, right = torch.cat(judged), truth if how == "real, cut" else every
        same = (found == found[:, :1]).all(1)
        rows.append(
            {
                "latents": "real" if how == "real, cut" else size_text(latent_size),
                "pictures": ", ".join(map(size_text, sizes)),
                "sampled": how,
                "same subject": same.float().mean().item(),
                "right subject": (found == right[:, None]).all(1).float().mean().item(),
            }
        )
    return rows
