"""The judge of colour pictures: features of a trained network, and small heads trained on them.

Its Fréchet distance compares models, and is not the published FID, which has the features of another network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r2id.data.dataset import ImageDataset, all_captions
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.colour_features import Features
from r2id.evaluation.colour_heads import Recognise, match_captions, principal_directions, probe_classes
from r2id.evaluation.denoising_error import conditions_of
from r2id.evaluation.generation import check_digits
from r2id.evaluation.judge import Judged
from r2id.evaluation.metrics import frechet_distance, nearer_than_real
from r2id.geometry.sizes import Size
from r2id.runtime.progress import uncounted

BATCH = 50


def is_judged_in_colour(pipeline: R2Pipeline, data: ImageDataset) -> bool:
    """Return whether pictures have labels or captions that the model knows, and are no digits."""
    try:
        conditions_of(pipeline, data)
    except InputError:
        return False
    try:
        check_digits(pipeline, data)
    except InputError:
        return True
    return False


@dataclass(frozen=True)
class ColourJudging:
    """Whatever a `ColourJudge` is made of.

    Attributes:
        features: maps pictures to features.
        device: device of the features.
        train: pictures to train the heads on, and to look for copies of.
        real_at: returns the real test pictures at a size, (height, width).
    """

    features: Features
    device: torch.device
    train: ImageDataset
    real_at: Callable[[Size], ImageDataset]

    def judge(
        self, pipeline: R2Pipeline, data: ImageDataset, on_batch: Callable[[int], object] = uncounted
    ) -> ColourJudge:
        """Return a judge of a pipeline's pictures, trained on `train`, for the labels or captions of `data`.

        `on_batch` receives the number of training pictures of each batch.

        Raises:
            InputError: the training pictures have no labels or captions that fit.
        """
        # In float32, whatever the precision that the pipeline is measured in.
        with torch.autocast(self.device.type, enabled=False):
            return self._judge(pipeline, data, on_batch)

    def _judge(self, pipeline: R2Pipeline, data: ImageDataset, on_batch: Callable[[int], object]) -> ColourJudge:
        seen = []
        for indices in torch.arange(len(self.train)).split(BATCH):
            seen.append(self.features(self.train.batch(indices).to(self.device)).float().cpu())
            on_batch(len(indices))
        features, names = torch.cat(seen), conditions_of(pipeline, data)
        # A seeded order, so that the first pictures are of all kinds.
        distinct = sorted(set(names))
        order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(0)).tolist()
        subjects = [distinct[index] for index in order]
        if pipeline.shows_texts:
            if self.train.captions is None:
                raise InputError(f"the data ({self.train.source}) has no captions")
            captions, others = all_captions(self.train), _alternatives(subjects, data)
            recognise: Recognise = match_captions(features, captions, subjects, others)
            class_scores = None
        else:
            probe = probe_classes(features, conditions_of(pipeline, self.train), subjects)
            recognise, class_scores = probe, probe.scores
        mean, directions = principal_directions(features)
        projected = (features - mean) @ directions
        return ColourJudge(
            self, tuple(subjects), pipeline.shows_texts, mean, directions, projected, recognise, class_scores
        )


@dataclass(frozen=True)
class ColourJudge:
    """A `Judge` of colour pictures.

    For classes, pictures are taken for the class that a linear probe finds. For texts, they are taken for the best of
    ten captions: their own and nine others. If the data has labels, these are of pictures with the same label.

    Attributes:
        source: the judge's parts.
        subjects: labels or captions to generate.
        of_texts: whether they are captions.
        mean, directions: [F] and [F, D], for the projection of features.
        training: projected features of the training pictures [N, D].
        recognise: from features [M, F] and labels [M] to the labels that the pictures are taken for [M].
        class_scores: from features [M, F] to scores of the classes [M, K]; None for captions.
    """

    source: ColourJudging
    subjects: tuple[str, ...]
    of_texts: bool
    mean: Tensor
    directions: Tensor
    training: Tensor
    recognise: Recognise
    class_scores: Callable[[Tensor], Tensor] | None

    @property
    def device(self) -> torch.device:
        return self.source.device

    def labels(self, data: ImageDataset) -> Tensor:
        """Return the index of each image's label or caption among the subjects [N]."""
        index = {name: number for number, name in enumerate(self.subjects)}
        if self.of_texts:
            names: Sequence[str] = data.captions or ()
        else:
            names = [] if data.labels is None else [data.label_names[label] for label in data.labels]
        if unknown := next((name for name in names if name not in index), None):
            raise InputError(f"the judge does not know {unknown!r}, a label or caption of {data.source}")
        return torch.tensor([index[name] for name in names])

    def look(self, pictures: Tensor, labels: Tensor) -> Judged:
        """Return the projected features, twice, the labels that pictures are taken for, and the scores of classes."""
        features = self.source.features(pictures).float().cpu()
        projected = (features - self.mean) @ self.directions
        scores = self.class_scores(features) if self.class_scores else features.new_empty(len(features), 0)
        return Judged(projected, projected, labels, self.recognise(features, labels.cpu()), scores)

    def further(self, judged: Judged, real: Judged) -> dict[str, Any]:
        """Return the share of pictures nearer to a training picture than most real ones: `nearer_than_real`.

        For classes, also the Fréchet distance of their scores, and the accuracy for each class that was asked for.
        """
        found: dict[str, Any] = {"nearer to training": nearer_than_real(judged.features, real.features, self.training)}
        if self.class_scores:
            found["Fréchet, class judge"] = frechet_distance(real.scores, judged.scores)
            right = (judged.taken_for == judged.labels).float()
            found["accuracy by class"] = {
                self.subjects[label]: right[judged.labels == label].mean().item()
                for label in judged.labels.unique().tolist()
            }
        return found


def _alternatives(captions: Sequence[str], data: ImageDataset) -> list[Sequence[int]]:
    """Return for each caption the indices of those that it is compared with: of images with the same label."""
    label_of: dict[str, int] = {}
    if data.labels is not None and data.captions is not None:
        label_of = dict(zip(data.captions, data.labels.tolist(), strict=True))
    groups: dict[int | None, list[int]] = {}
    for index, caption in enumerate(captions):
        groups.setdefault(label_of.get(caption), []).append(index)
    return [groups[label_of.get(caption)] for caption in captions]
