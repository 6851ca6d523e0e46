"""Denoising error by timestep: the error of the predicted noise, from clean to pure noise.

The original project calls it t-scrape.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.diffusion.prediction import predicted_noise, signal_and_spread
from r2id.diffusion.schedule import cosine_alpha_bar
from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.geometry.sizes import Size, size_text
from r2id.networks.batches import clean_samples
from r2id.runtime.progress import uncounted

TIMES = tuple(step / 20 for step in range(21))
TIMES_SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Times in the printed table."""

COLUMNS = {"given": "with label", "dropped": "without", "shuffled": "another's"}
CURVES = {"given": ("-", ""), "dropped": (":", ", no label"), "shuffled": ("--", ", another's")}
"""Line style and end of the name in the plot."""

BATCH = 64


def conditions_of(pipeline: R2Pipeline, data: ImageDataset) -> Sequence[str]:
    """Return the condition of each image: its label, or its caption for a model of texts.

    Raises:
        InputError: the data has none, or a label that the model does not know.
    """
    if pipeline.shows_texts:
        if data.captions is None:
            raise InputError(f"the data ({data.source}) has no captions")
        return data.captions
    if data.labels is None:
        raise InputError(f"the data ({data.source}) has no labels")
    for name in data.label_names:
        pipeline.conditioner.index(name)
    return [data.label_names[index] for index in data.labels]


@torch.inference_mode()
def measure_denoising_error(
    pipeline: R2Pipeline,
    data: ImageDataset,
    latent_size: Size,
    seed: int,
    on_batch: Callable[[int], object] = uncounted,
) -> Iterator[dict[str, object]]:
    """Yield rows of E‖ε̂ − ε‖² per value at times t from 0 to 1, with the label and without.

    For a model of texts there are rows with the caption of another image too. A model that reads its texts has less
    error with the right ones.

    ᾱ = cos²(πt/2), shifted by the grid's density as in training. ε̂ follows from any prediction
    (`diffusion.prediction`). An image has the same noise at all times. `on_batch` receives the number of images of each
    batch.

    Raises:
        InputError: the data has no labels, or one that the model does not know; for a model of texts, no captions.
    """
    names = conditions_of(pipeline, data)
    diffuser = pipeline.diffuser
    generator = torch.Generator().manual_seed(seed)
    given: dict[str, Sequence[str | None]] = {"given": names, "dropped": [None] * len(names)}
    if pipeline.shows_texts:
        given["shuffled"] = _of_others(names, seed)
    sums = {label: [0.0] * len(TIMES) for label in given}
    canvas = (data.images.shape[-2], data.images.shape[-1])
    for indices in torch.arange(len(data)).split(BATCH):
        clean = clean_samples(pipeline.resampler, data.batch(indices).to(pipeline.device), latent_size)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        branches = [pipeline.tokens([some[index] for index in indices]) for some in given.values()]
        for index, time in enumerate(TIMES):
            times = torch.full((len(clean),), time, device=clean.device)
            alpha_bar = cosine_alpha_bar(times, latent_size, diffuser.config.noise_reference_size)
            signal, spread = signal_and_spread(alpha_bar)
            noisy = signal * clean + spread * noise
            predictions = diffuser.guidance_branches(noisy, alpha_bar, branches, canvas)
            for name, prediction in zip(sums, predictions, strict=True):
                found = predicted_noise(prediction.float(), noisy, alpha_bar, diffuser.config.prediction_type)
                sums[name][index] += (found - noise).square().mean().item() * len(clean)
        on_batch(len(indices))
    for name, totals in sums.items():
        for time, total in zip(TIMES, totals, strict=True):
            yield {"latents": size_text(latent_size), "label": name, "t": time, "error": total / len(data)}


def _of_others(names: Sequence[str], seed: int) -> list[str]:
    """Return the name of another image, drawn at random, for each image."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    next_one = dict(zip(order, order[1:] + order[:1], strict=True))
    return [names[next_one[index]] for index in range(len(names))]


def side_by_side(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of TIMES_SHOWN for one latent size, with the errors with, without and with a wrong label side by
    side."""
    errors = {(row["label"], row["t"]): row["error"] for row in rows}
    return [
        {"latents": row["latents"], "t": row["t"]}
        | {title: errors[label, row["t"]] for label, title in COLUMNS.items() if (label, row["t"]) in errors}
        for row in rows
        if row["label"] == "given" and row["t"] in TIMES_SHOWN
    ]


def plot_denoising_error(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot a curve for every latent size, with the label and without, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    latents = list(dict.fromkeys(row["latents"] for row in rows))
    for index, latent_size in enumerate(latents):
        for label, (style, end) in CURVES.items():
            curve = [row for row in rows if row["latents"] == latent_size and row["label"] == label]
            times, errors = [row["t"] for row in curve], [row["error"] for row in curve]
            if curve:
                axes.plot(times, errors, style, color=f"C{index}", label=f"{latent_size} latents{end}")
    axes.set(xlabel="t, from clean to noise", ylabel="mean squared error of the noise")
    axes.set_yscale("log", nonpositive="mask")
    # At t = 1 the sample is the noise, and a velocity model returns it up to rounding.
    axes.set_ylim(bottom=min(float(row["error"]) for row in rows if row["t"] != 1) / 3)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def write_denoising_error(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write rows of `measure_denoising_error` to `folder` as denoising-error.csv and a plot, denoising-error.png."""

    def write_csv(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write_whole(folder / "denoising-error.csv", write_csv)
    write_whole(folder / "denoising-error.png", lambda path: plot_denoising_error(rows, path))
