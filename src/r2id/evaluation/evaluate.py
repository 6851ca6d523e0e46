"""All figures of `r2id evaluate`, in order, each seeded."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from r2id.errors import InputError
from r2id.evaluation.generation import Reference, digit_classifier, measure_generation, seen_size
from r2id.evaluation.reconstruction import measure_consistency, measure_reconstruction
from r2id.evaluation.report import Report
from r2id.evaluation.t_scrape import measure_t_scrape, plot_t_scrape
from r2id.files import write_whole
from r2id.pipeline import R2Pipeline
from r2id.sizes import Size, size_text
from r2id.training.data import ImageDataset

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]


def evaluate_reconstruction(
    pipeline: R2Pipeline,
    data: ImageDataset,
    latent_sizes: Sequence[Size],
    sizes: Sequence[Size],
    report: Report,
    progress: Progress,
) -> None:
    """Add the rows of reconstruction, and of consistency between sizes."""
    resampler = pipeline.resampler
    if resampler is None:
        print("this model works on pixels: there is nothing to reconstruct")
        return
    for latent_size in latent_sizes:
        with progress(len(data), f"latents {size_text(latent_size)}") as on_batch:
            for row in measure_reconstruction(resampler, data, latent_size, sizes, on_batch):
                report.add(f"reconstruction of {len(data)} images, in [-1, 1]", row)
    # Decoding at four times the size costs as much as twenty reconstructions, and a few images tell.
    few = data.some(500)
    for latent_size in latent_sizes:
        with progress(len(few), f"latents {size_text(latent_size)}") as on_batch:
            row = measure_consistency(resampler, few, latent_size, on_batch)
        report.add(f"mean squared error of {len(few)} images between sizes, and at the border", row)


def evaluate_generation(
    pipeline: R2Pipeline,
    data: ImageDataset,
    latent_sizes: Sequence[Size],
    sizes: Sequence[Size],
    count: int,
    seed: int,
    arguments: Mapping[str, Any],
    report: Report,
    progress: Progress,
) -> None:
    """Add the rows of generation; says why there are none if no classifier knows the model's labels.

    `arguments` are those of the pipeline's call that say how to sample.
    """
    try:
        classifier = digit_classifier(pipeline, data)
    except InputError as error:
        print(f"generation is not measured: {error}")
        return
    section = f"{count} generated pictures"
    own = (data.images.shape[-2], data.images.shape[-1])
    references: dict[Size, Reference] = {}
    for seen in dict.fromkeys(seen_size(own, size) for size in sizes):
        with progress(len(data), f"real ones at {size_text(seen)}") as on_batch:
            references[seen] = Reference.of(classifier, data, seen, on_batch)
        report.add(section, references[seen].row(count))
    by_size = {size: references[seen_size(own, size)] for size in sizes}
    for latent_size in latent_sizes:
        with progress(count, f"latents {size_text(latent_size)}") as on_batch:
            for row in measure_generation(pipeline, classifier, by_size, latent_size, count, seed, arguments, on_batch):
                report.add(section, row)


def evaluate_t_scrape(
    pipeline: R2Pipeline,
    data: ImageDataset,
    latent_sizes: Sequence[Size],
    seed: int,
    folder: Path | None,
    report: Report,
    progress: Progress,
) -> None:
    """Add the rows of the t-scrape; write them to `folder` as t-scrape.csv and t-scrape.png."""
    rows: list[dict[str, Any]] = []
    for latent_size in latent_sizes:
        with progress(len(data), f"latents {size_text(latent_size)}") as on_batch:
            for row in measure_t_scrape(pipeline, data, latent_size, seed, on_batch):
                rows.append(row)
                report.add(f"t-scrape of {len(data)} images", row)
    if folder:
        write_whole(folder / "t-scrape.csv", lambda path: _write_csv(rows, path))
        write_whole(folder / "t-scrape.png", lambda path: plot_t_scrape(rows, path))


def _write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
