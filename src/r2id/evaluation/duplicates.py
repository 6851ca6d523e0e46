"""How many subjects a picture shows, by a judge that tells whole pictures from parts of them.

Half a picture of one subject shows half of it. Where both halves look like whole pictures, the subject is there twice.
The judge is trained on real pictures and their parts. Its rates of false alarms and of detection, on real pictures and
on tiled ones that it was not trained on, stand beside every result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.evaluation.colour_features import Features
from r2id.evaluation.colour_heads import linear_probe
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import uncounted

Layout = tuple[int, int]
"""Rows and columns of subjects."""
LAYOUTS: tuple[Layout, ...] = ((1, 2), (2, 1), (2, 2))
SCALES = (1, 2, 4)
"""Multiples of the trained size at which subjects are counted."""
LEARNT, HELD_OUT = 200, 100
"""Training pictures that the judge learns wholes and parts from, and that set its thresholds."""
FALSE_ALARMS = 0.02
"""Share of the held-out training pictures above the threshold of each layout."""
TILED = (0.42, 0.58)
"""Where tiles meet, as a share of a side."""
BATCH = 10


def parts_of(pictures: Tensor, layout: Layout) -> list[Tensor]:
    """Cut pictures [N, C, H, W] into rows and columns of equal parts; returns one tensor for each place."""
    bounds = [[i * side // n for i in range(n + 1)] for side, n in zip(pictures.shape[-2:], layout, strict=True)]
    rows, columns = (list(zip(some, some[1:], strict=False)) for some in bounds)
    return [pictures[..., top:bottom, left:right] for top, bottom in rows for left, right in columns]


def tiled(pictures: Tensor, layout: Layout, seed: int = 0) -> Tensor:
    """Return pictures [N, C, 2H, 2W] that show each picture [N, C, H, W] several times, in rows and columns.

    Two tiles meet anywhere within TILED of a side, so that they are not the parts that are counted.
    """
    chance = torch.Generator().manual_seed(seed)
    height, width = (2 * side for side in pictures.shape[-2:])
    meeting = TILED[0] + (TILED[1] - TILED[0]) * torch.rand(2, generator=chance)
    lengths = []
    for side, n, place in zip((height, width), layout, meeting.tolist(), strict=True):
        first = max(1, round(side * place))
        lengths.append([side] if n == 1 else [first, side - first])
    rows = [
        torch.cat(
            [functional.interpolate(pictures, (h, w), mode="bicubic", antialias=True) for w in lengths[1]], dim=-1
        )
        for h in lengths[0]
    ]
    return torch.cat(rows, dim=-2).clamp(-1, 1)


@dataclass(frozen=True)
class SubjectCounter:
    """Counts the subjects of pictures.

    Attributes:
        features: of the judge.
        device: of the features.
        whole: from features [N, F] to the log-odds [N] that they are of a whole picture, not of a part.
        thresholds: for each of LAYOUTS, the least log-odds of the parts above which every part has its own subject.
    """

    features: Features
    device: torch.device
    whole: Callable[[Tensor], Tensor]
    thresholds: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        features: Features,
        device: torch.device,
        train: ImageDataset,
        on_batch: Callable[[int], object] = uncounted,
    ) -> SubjectCounter:
        """Train a counter on whole pictures of `train`, and on one half, quarter and sixteenth of each.

        `on_batch` receives the number of pictures of each batch, LEARNT + HELD_OUT in all, or as many as there are.
        """
        data = train.some(LEARNT + HELD_OUT)
        learnt = len(data) * LEARNT // (LEARNT + HELD_OUT)
        chance = torch.Generator().manual_seed(0)
        seen, kinds = [], []
        for indices in torch.arange(learnt).split(BATCH):
            pictures = data.batch(indices).to(device)
            for kind, some in ((1, pictures), *((0, _drawn(pictures, one, chance)) for one in (*LAYOUTS, (4, 4)))):
                seen.append(features(some).float().cpu())
                kinds += [kind] * len(some)
            on_batch(len(indices))
        logits = linear_probe(torch.cat(seen), torch.tensor(kinds), 2)
        untuned = cls(features, device, lambda given: logits(given).diff(dim=1)[:, 0], torch.zeros(len(LAYOUTS)))
        found = []
        for indices in torch.arange(learnt, len(data)).split(BATCH):
            found.append(untuned.scores(data.batch(indices)))
            on_batch(len(indices))
        # No part that rather looks like one is a subject.
        thresholds = torch.cat(found).quantile(1 - FALSE_ALARMS, dim=0).clamp_min(0)
        return cls(features, device, untuned.whole, thresholds)

    @torch.no_grad()
    def scores(self, pictures: Tensor) -> Tensor:
        """Return for each of LAYOUTS the least log-odds of the parts of pictures [N, C, H, W], [N, layouts].

        The least, because a subject in one half of a picture does not make the other half a subject.
        """
        scores = []
        with torch.autocast(self.device.type, enabled=False):
            for layout in LAYOUTS:
                each = [self.features(part.to(self.device).float()) for part in parts_of(pictures, layout)]
                scores.append(torch.stack([self.whole(one.float().cpu()) for one in each]).amin(0))
        return torch.stack(scores, 1)

    def count(self, pictures: Tensor) -> Tensor:
        """Return the number of subjects of pictures [N, C, H, W] in [−1, 1] of any size: 1, 2 or 4 [N].

        It is that of the layout furthest above its threshold.
        """
        above = self.scores(pictures) - self.thresholds
        counts = torch.tensor([rows * columns for rows, columns in LAYOUTS])[above.argmax(1)]
        return torch.where(above.amax(1) > 0, counts, 1)


def _drawn(pictures: Tensor, layout: Layout, chance: torch.Generator) -> Tensor:
    """Return a part of each picture, drawn at random."""
    parts = torch.stack([functional.interpolate(one, pictures.shape[-2:], mode="bicubic", antialias=True)
                         for one in parts_of(pictures, layout)])  # fmt: skip
    places = torch.randint(len(parts), (len(pictures),), generator=chance).to(parts.device)
    return parts[places, torch.arange(len(pictures), device=parts.device)]


def measure_counter(
    counter: SubjectCounter, data: ImageDataset, on_batch: Callable[[int], object] = uncounted
) -> list[dict[str, object]]:
    """Return rows of the counts of real pictures, which are false alarms above 1, and of the same ones tiled.

    `on_batch` receives the number of pictures of each batch.
    """
    kinds: dict[str, list[Tensor]] = {"once": [], **{_text(layout): [] for layout in LAYOUTS}}
    for indices in torch.arange(len(data)).split(BATCH):
        pictures = data.batch(indices)
        kinds["once"].append(counter.count(pictures))
        for layout in LAYOUTS:
            kinds[_text(layout)].append(counter.count(tiled(pictures, layout, int(indices[0]))))
        on_batch(len(indices))
    sizes = [data.image_size, *[(2 * data.image_size[0], 2 * data.image_size[1])] * len(LAYOUTS)]
    return [
        _row("real", size, name, torch.cat(counts)) for (name, counts), size in zip(kinds.items(), sizes, strict=True)
    ]


@torch.no_grad()
def measure_duplicates(
    pipeline: R2Pipeline,
    counter: SubjectCounter,
    subjects: Sequence[str],
    size: Size,
    scale: int,
    count: int,
    seed: int,
    sampling: Mapping[str, Any],
    on_batch: Callable[[int], object] = uncounted,
) -> dict[str, object]:
    """Return a row of the counts of generated pictures `scale` times as high and as wide as in training.

    They have as many latents for each pixel as in training, which is where subjects are doubled.

    Args:
        subjects: labels or texts; picture i shows subject i, modulo their number, with the seed `seed` + i.
        size: height and width in training.
        count: number of pictures.
        sampling: arguments of the pipeline's call.
        on_batch: receives the number of pictures of each batch.
    """
    grid = pipeline.defaults_on(size).latent_size
    latent_size, large = ((scale * one[0], scale * one[1]) for one in (grid, size))
    counts = []
    for numbers in torch.arange(count).split(BATCH):
        pictures = pipeline(
            [subjects[number % len(subjects)] for number in numbers.tolist()],
            latent_size,
            large,
            generator=[torch.Generator().manual_seed(seed + number) for number in numbers.tolist()],
            output_type="pt",
            **sampling,
        ).images
        counts.append(counter.count(pictures))
        on_batch(len(numbers))
    return _row(size_text(latent_size), large, "generated", torch.cat(counts))


def _row(latents: str, size: Size, shown: str, counts: Tensor) -> dict[str, object]:
    return {
        "latents": latents,
        "pictures": size_text(size),
        "shown": shown,
        "more than one": (counts > 1).float().mean().item(),
        "subjects": counts.float().mean().item(),
    }


def _text(layout: Layout) -> str:
    return f"tiled {layout[0]}x{layout[1]}"
