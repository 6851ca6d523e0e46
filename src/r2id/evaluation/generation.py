"""Whether generated digits are what was asked for, and distributed as real ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from r2id.errors import InputError
from r2id.evaluation.classifier import DigitClassifier, as_judged, digit_labels, load_classifier
from r2id.evaluation.reconstruction import lanczos
from r2id.pipeline import R2Pipeline
from r2id.sizes import Size, size_text
from r2id.training.data import ImageDataset

NEIGHBOURS = 3
BATCH = 100


@dataclass(frozen=True)
class Judged:
    """Pictures as the judge sees them: [N, 64] features, [N, 1024] pixels at 32×32, [N] labels, [N] what it takes
    them for."""

    features: Tensor
    pixels: Tensor
    labels: Tensor
    taken_for: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, classifier: DigitClassifier, pictures: Tensor, labels: Tensor) -> Judged:
        """Grey or RGB pictures [N, C, H, W] in [−1, 1], resized to 32×32 whatever their proportions.

        The judge is as precise as it can be, whatever the pictures were made in.
        """
        grey = as_judged(pictures.float().mean(1, keepdim=True))
        with torch.autocast(grey.device.type, enabled=False):
            features = classifier.features(grey)
            taken_for = classifier.head(features).argmax(1)
        return cls(features.cpu(), grey.flatten(1).cpu(), labels.cpu(), taken_for.cpu())

    @classmethod
    def join(cls, parts: Sequence[Judged]) -> Judged:
        names = ("features", "pixels", "labels", "taken_for")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Fréchet distance between two sets of features [N, D] taken as Gaussian (Heusel et al. 2017, arXiv:1706.08500)."""
    measure = FrechetInceptionDistance(feature=_Features(first.shape[1]))
    measure.set_dtype(torch.float64)
    measure.update(first.double(), real=True)
    measure.update(second.double(), real=False)
    return measure.compute().item()


class _Features(nn.Identity):
    """Tells torchmetrics that the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def precision_and_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), with 3 neighbours.

    Precision is the share of generated features [N, D] that lie no further from some real one than its third nearest
    real neighbour; recall the same with real and generated exchanged.
    """
    return _covered(generated, real), _covered(real, generated)


def _covered(points: Tensor, by: Tensor) -> float:
    # The nearest of all is the point itself.
    reach = torch.cdist(by, by).kthvalue(min(NEIGHBOURS + 1, len(by)), dim=1).values
    return (torch.cdist(points, by) <= reach).any(dim=1).float().mean().item()


def distance_within_labels(pixels: Tensor, labels: Tensor) -> float:
    """Mean Euclidean distance between two pictures [N, D] of one label, averaged over the labels."""
    means = []
    for label in labels.unique():
        same = pixels[labels == label]
        means.append(torch.cdist(same, same).sum() / max(1, len(same) * (len(same) - 1)))
    return torch.stack(means).mean().item()


def seen_size(own: Size, size: Size) -> Size:
    """At which size real digits of size `own` are compared with pictures of `size`: enlarging them adds nothing."""
    return min(own[0], size[0]), min(own[1], size[1])


@dataclass(frozen=True)
class Reference:
    """What real digits measure: a test set in random order, and one half of it against the other.

    MNIST's first 5,000 test digits were written by other people, more neatly, than the last: in the order of the file,
    neither half is like the whole.
    """

    size: Size
    judged: Judged
    distance: float
    halves: float

    @classmethod
    def of(
        cls, classifier: DigitClassifier, data: ImageDataset, size: Size, on_batch: Callable[[int], object] = int
    ) -> Reference:
        """The digits resized to `size` by `lanczos`, as the judge sees them; `on_batch` gets the number in each batch.

        Raises:
            InputError: the data has no labels, or others than digits.
        """
        labels, parts = digit_labels(data), []
        for some in torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).split(500):
            images = lanczos(data.batch(some), size).to(classifier.device)
            parts.append(Judged.of(classifier, images, labels[some]))
            on_batch(len(some))
        judged = Judged.join(parts)
        first, second = judged.features.chunk(2)
        distance = distance_within_labels(judged.pixels, judged.labels)
        return cls(size, judged, distance, frechet_distance(first, second))

    def row(self, count: int) -> dict[str, object]:
        """The row of real digits, one half against the other; precision and recall are of `count` of each."""
        first, second = self.judged.features.chunk(2)
        precision, recall = precision_and_recall(first[:count], second[:count])
        right = (self.judged.taken_for == self.judged.labels).float().mean().item()
        return {
            "latents": "real",
            "pictures": size_text(self.size),
            "recognised": right,
            "Fréchet": self.halves,
            "precision": precision,
            "recall": recall,
            "diversity": 1.0,
        }


def digit_classifier(pipeline: R2Pipeline, data: ImageDataset) -> DigitClassifier:
    """The judge of a pipeline's pictures beside those of `data`, on the pipeline's device.

    Raises:
        InputError: the labels of either are not the digits 0 to 9.
    """
    digit_labels(data)
    names = pipeline.conditioner.label_names
    if names != [str(digit) for digit in range(10)]:
        raise InputError(f"generation is judged by a classifier of digits; this model's labels are {', '.join(names)}")
    classifier = load_classifier()
    classifier.to(device=pipeline.device)  # type: ignore[call-arg]
    return classifier


def measure_generation(
    pipeline: R2Pipeline,
    classifier: DigitClassifier,
    references: Mapping[Size, Reference],
    latent_size: Size,
    count: int,
    seed: int,
    arguments: Mapping[str, Any],
    on_batch: Callable[[int], object] = int,
) -> Iterator[dict[str, object]]:
    """Rows of figures, one for each size of `references`, of `count` digits generated with latents of one size.

    Picture number i is of label i mod 10 and drawn from seed + i; all sizes show the same pictures. Precision and
    recall compare equally many real and generated digits. Diversity is `distance_within_labels` over that of real
    digits. `arguments` are those of the pipeline's call that say how to sample. `on_batch` is called with the number of
    pictures after each batch.
    """
    judged: dict[Size, list[Judged]] = {size: [] for size in references}
    for numbers in torch.arange(count).split(BATCH):
        labels = numbers % 10
        result = pipeline(
            labels.tolist(),
            latent_size=latent_size,
            size=list(judged),
            generator=[torch.Generator().manual_seed(seed + number) for number in numbers.tolist()],
            output_type="pt",
            **arguments,
        )
        for parts, pictures in zip(judged.values(), result.images, strict=True):
            parts.append(Judged.of(classifier, pictures, labels))
        on_batch(len(numbers))
    for size, parts in judged.items():
        pictures, reference = Judged.join(parts), references[size]
        alike = min(count, len(reference.judged.labels))
        precision, recall = precision_and_recall(reference.judged.features[:alike], pictures.features[:alike])
        yield {
            "latents": size_text(latent_size),
            "pictures": size_text(size),
            "recognised": (pictures.taken_for == pictures.labels).float().mean().item(),
            "Fréchet": frechet_distance(reference.judged.features, pictures.features),
            "precision": precision,
            "recall": recall,
            "diversity": distance_within_labels(pictures.pixels, pictures.labels) / reference.distance,
        }
