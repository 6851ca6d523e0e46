"""Accuracy of generated pictures by a judge, and their distance from the distribution of real ones."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.classifier import DigitClassifier, digit_labels, load_classifier
from r2id.evaluation.judge import Judge, Judged
from r2id.evaluation.metrics import distance_within_labels, frechet_distance, precision_and_recall
from r2id.evaluation.reconstruction import lanczos
from r2id.files.atomic import write_whole
from r2id.files.record import first_difference
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.progress import uncounted

BATCH = 100
KEEP_EVERY = 60.0
"""Most seconds of generation that an interruption loses."""


def seen_size(data_size: Size, size: Size) -> Size:
    """Return the size for comparing real pictures of `data_size` with those of `size`. They are never enlarged."""
    return min(data_size[0], size[0]), min(data_size[1], size[1])


@dataclass(frozen=True)
class Reference:
    """Figures of real pictures: a test set in random order, and one half of it against the other.

    The order is random because other people wrote MNIST's first 5,000 test digits, more neatly than the last.
    """

    size: Size
    judged: Judged
    distance: float
    halves: float
    further: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, judge: Judge, data: ImageDataset, size: Size, on_batch: Callable[[int], object] = uncounted
    ) -> Reference:
        """Judge pictures resized to `size` by `lanczos`; `on_batch` receives the number of pictures of each batch.

        Raises:
            InputError: the data has no labels, or others than the judge knows.
        """
        labels, parts = judge.labels(data), []
        for some in torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).split(500):
            images = lanczos(data.batch(some), size).to(judge.device)
            parts.append(Judged.of(judge, images, labels[some]))
            on_batch(len(some))
        judged = Judged.join(parts)
        distance = distance_within_labels(judged.pixels, judged.labels)
        first, second = judged.halves()
        halves = frechet_distance(first.features, second.features)
        return cls(size, judged, distance, halves, judge.further(first, second))

    def row(self, count: int) -> dict[str, object]:
        """Return the row of real pictures, one half against the other; precision and recall use `count` of each."""
        first, second = self.judged.halves()
        precision, recall = precision_and_recall(first.features[:count], second.features[:count])
        return {
            "latents": "real",
            "pictures": size_text(self.size),
            "accuracy": self.judged.accuracy(),
            "Fréchet": self.halves,
            "precision": precision,
            "recall": recall,
            "intra-class distance ratio": _ratio(self.distance, self.distance),
            "distance": self.distance,
            **self.further,
        }


def _ratio(distance: float, real: float) -> float:
    """Return the ratio, or NaN if all real pictures are equal."""
    return distance / real if real else math.nan


def check_digits(pipeline: R2Pipeline, data: ImageDataset) -> None:
    """Raise InputError unless both the pipeline's labels and `data` are digits."""
    digit_labels(data)
    names = pipeline.conditioner.label_names
    if names != [str(digit) for digit in range(10)]:
        shown = f"the labels {', '.join(names)}" if names else "what a text says"
        raise InputError(f"pictures are judged by a classifier of the digits 0 to 9, and this model shows {shown}")


class Unfinished:
    """Judged pictures of unfinished rows, in a file from which an interrupted evaluation continues.

    Args:
        path: safetensors file of the judge's results; `remove` deletes it.
        sizes: (height, width) of the pictures.
        settings: settings of the generation, as JSON types.
        resume: load the file if it exists, is whole and has the same settings.
    """

    def __init__(self, path: Path, sizes: Sequence[Size], settings: Mapping[str, Any], *, resume: bool) -> None:
        self.path, self.settings = path, settings
        self.judged: dict[Size, Judged] = self._load(sizes) if resume else {}
        self.kept = time.monotonic()

    @property
    def done(self) -> int:
        """The number of pictures in the file."""
        return min((len(judged.labels) for judged in self.judged.values()), default=0)

    def keep(self, judged: Mapping[Size, Sequence[Judged]]) -> None:
        """Write the pictures so far if a minute has passed since the last write."""
        if time.monotonic() - self.kept < KEEP_EVERY:
            return
        tensors = {
            f"{size_text(size)}.{field.name}": getattr(whole, field.name)
            for size, whole in ((size, Judged.join(parts)) for size, parts in judged.items())
            for field in fields(Judged)
        }
        write_whole(self.path, lambda path: save_file(tensors, path, {"settings": json.dumps(self.settings)}))
        self.kept = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _load(self, sizes: Sequence[Size]) -> dict[Size, Judged]:
        try:
            with safe_open(self.path, "pt") as file:
                before = json.loads((file.metadata() or {}).get("settings", "{}"))
                if first_difference(self.settings, before):
                    return {}
                return {
                    size: Judged(*(file.get_tensor(f"{size_text(size)}.{field.name}") for field in fields(Judged)))
                    for size in sizes
                }
        except (FileNotFoundError, SafetensorError):
            return {}


def load_judge(device: torch.device) -> DigitClassifier:
    """Load the bundled classifier to a device."""
    classifier = load_classifier()
    classifier.to(device=device)  # type: ignore[call-arg]
    return classifier


def measure_generation(
    pipeline: R2Pipeline,
    judge: Judge,
    references: Mapping[Size, Reference],
    latent_size: Size,
    *,
    count: int,
    seed: int,
    sampling: Mapping[str, Any] | None = None,
    on_batch: Callable[[int], object] = uncounted,
    unfinished: Unfinished | None = None,
) -> Iterator[dict[str, object]]:
    """Generate `count` pictures with latents of one size, and yield a row of figures for each size of `references`.

    Picture i shows the judge's subject i, modulo their number, with the seed `seed` + i. All sizes show the same
    pictures. Precision and recall compare equal numbers of real and generated pictures. Distance is
    `distance_within_labels`, and the intra-class distance ratio divides it by that of real ones. A figure of too few
    pictures is NaN. `sampling` holds arguments of the pipeline's call. `on_batch` receives the number of pictures of
    each batch. Pictures in `unfinished` are not generated again, and new ones are kept there.
    """
    begun = unfinished.judged if unfinished else {}
    judged: dict[Size, list[Judged]] = {size: [begun[size]] if begun else [] for size in references}
    for first in range(unfinished.done if unfinished else 0, count, BATCH):
        numbers = torch.arange(first, min(first + BATCH, count))
        labels = numbers % len(judge.subjects)
        result = pipeline(
            [judge.subjects[label] for label in labels],
            latent_size=latent_size,
            size=list(judged),
            generator=[torch.Generator().manual_seed(seed + number) for number in numbers.tolist()],
            output_type="pt",
            **(sampling or {}),
        )
        for parts, pictures in zip(judged.values(), result.images, strict=True):
            parts.append(Judged.of(judge, pictures, labels))
        if unfinished:
            unfinished.keep(judged)
        on_batch(len(numbers))
    for size, parts in judged.items():
        pictures, reference = Judged.join(parts), references[size]
        equally_many = min(count, len(reference.judged.labels))
        precision, recall = precision_and_recall(
            reference.judged.features[:equally_many], pictures.features[:equally_many]
        )
        distance = distance_within_labels(pictures.pixels, pictures.labels)
        yield {
            "latents": size_text(latent_size),
            "pictures": size_text(size),
            "accuracy": pictures.accuracy(),
            "Fréchet": frechet_distance(reference.judged.features, pictures.features),
            "precision": precision,
            "recall": recall,
            "intra-class distance ratio": _ratio(distance, reference.distance),
            "distance": distance,
            **judge.further(pictures, reference.judged),
        }
