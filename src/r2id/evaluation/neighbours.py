"""Generated pictures beside the training pictures most like them, to see what was copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.evaluation.colour_judge import ColourJudge
from r2id.evaluation.judge import Judged
from r2id.evaluation.metrics import nearest
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import overview
from r2id.files.images import as_output
from r2id.geometry.sizes import Size

COLUMNS = 12
TITLES = ("generated", "nearest training", "real test", "nearest training")


@torch.inference_mode()
def write_neighbours(
    pipeline: R2Pipeline,
    judge: ColourJudge,
    data: ImageDataset,
    latent_size: Size,
    path: Path,
    *,
    seed: int,
    sampling: Mapping[str, Any],
) -> None:
    """Write a sheet of the judge's first subjects, and of real test pictures, above the training pictures nearest.

    Args:
        data: real test pictures.
        latent_size: height and width of the latents of the generated pictures; their own size is that of `data`.
        path: the PNG to write.
        seed: seed of the first picture.
        sampling: arguments of the pipeline's call.
    """
    count = min(COLUMNS, len(data))
    labels = torch.arange(count) % len(judge.subjects)
    generators = [torch.Generator().manual_seed(seed + number) for number in range(count)]
    names = [judge.subjects[label] for label in labels]
    generated = pipeline(names, latent_size, data.image_size, generator=generators, output_type="pt", **sampling).images
    some = data.some(count)
    rows: list[list[Image.Image]] = []
    for pictures, shown in ((generated, labels), (some.batch(slice(None)), judge.labels(some))):
        features = Judged.of(judge, pictures.to(judge.device), shown).features
        alike = judge.source.train.batch(nearest(features, judge.training)[1])
        rows += [as_output(pictures.float().cpu(), "pil"), as_output(alike, "pil")]
    sheet = overview(rows, TITLES, max(data.image_size))
    write_whole(path, sheet.save)
