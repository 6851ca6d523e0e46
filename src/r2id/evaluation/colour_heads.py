"""Small heads on features of pictures, trained in seconds: a linear probe of classes, and a matcher of captions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.conditioning.word_vectors import load_word_vectors, words_of
from r2id.errors import InputError

Recognise = Callable[[Tensor, Tensor], Tensor]
"""Maps features [M, F] and the labels that the pictures are to show [M] to those that they are taken for [M]."""

CHOICES = 10
"""Captions to choose from."""

DIRECTIONS = 64
"""Principal directions of features. Some hundred pictures fill these, and none fill all 1,280."""

RIDGE = 0.01
STEPS, BATCH, WIDTH, DROPOUT = 600, 256, 128, 0.4


def principal_directions(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [F] of features [N, F], and their first DIRECTIONS principal directions [F, D]."""
    mean = features.mean(0)
    return mean, torch.linalg.svd(features - mean, full_matrices=False).Vh[:DIRECTIONS].T


@dataclass(frozen=True)
class ClassProbe:
    """A `Recognise` of classes, by a linear classifier.

    Attributes:
        logits: from features [M, F] to [M, C].
        directions: principal directions of the training pictures' centred logits [C, K].
    """

    logits: Callable[[Tensor], Tensor]
    directions: Tensor

    def __call__(self, features: Tensor, shown: Tensor) -> Tensor:
        return self.logits(features).argmax(1)

    def scores(self, features: Tensor) -> Tensor:
        """Return centred logits, projected [M, K]."""
        return centred(self.logits(features)) @ self.directions


def centred(logits: Tensor) -> Tensor:
    """Return logits [M, C] whose mean over the classes is 0; it says nothing of a picture, and counts in distances."""
    return logits - logits.mean(1, keepdim=True)


def probe_classes(features: Tensor, names: Sequence[str], classes: Sequence[str]) -> ClassProbe:
    """Train a linear classifier of features [N, F], standardised, by multinomial logistic regression.

    Args:
        names: class of each picture.
        classes: the classes to tell apart; pictures of others are left out.
    Raises:
        InputError: a class has no training picture.
    """
    index = {name: number for number, name in enumerate(classes)}
    if missing := sorted(index.keys() - set(names)):
        raise InputError(f"the judge has no training picture of {missing[0]!r}; give it more, or another split")
    logits = linear_probe(features, torch.tensor([index.get(name, -1) for name in names]), len(classes))
    return ClassProbe(logits, principal_directions(centred(logits(features)))[1])


def linear_probe(features: Tensor, labels: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """Train a linear classifier of features [N, F], standardised, by multinomial logistic regression.

    Args:
        labels: class of each picture [N]; pictures with −1 are left out.
        classes: their number.
    Returns:
        A function from features [M, F] to log-probabilities [M, classes], up to a constant for each picture.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    kept = labels >= 0
    values, labels = (features[kept] - mean) / deviation, labels[kept]
    weight = torch.zeros(classes, values.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = functional.cross_entropy(values @ weight.T + bias, labels) + RIDGE / 2 * weight.square().sum()
        found.backward()
        return found

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(loss)
    weight, bias = weight.detach(), bias.detach()
    return lambda seen: (seen - mean) / deviation @ weight.T + bias


def match_captions(
    features: Tensor, captions: Sequence[Sequence[str]], subjects: Sequence[str], alternatives: Sequence[Sequence[int]]
) -> Recognise:
    """Train two towers, of features [N, F] and of the captions' word vectors, on which picture has which caption.

    Args:
        captions: texts of each picture; a step draws one of them.
        subjects: captions to recognise.
        alternatives: for each subject, indices of the subjects that nine others are drawn from; from all if they are
            fewer than ten.
    Returns:
        A function that chooses among ten captions; which ones depends on the true caption alone.
    """
    vectors = CaptionVectors()
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    values = (features - mean) / deviation
    texts = [torch.stack([vectors(text) for text in some]) for some in captions]
    choices = torch.tensor([_choices(own, len(subjects), alternatives[own]) for own in range(len(subjects))])
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image_tower = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(values.shape[1], WIDTH))
        text_tower = nn.Sequential(nn.Linear(vectors.length, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        scale = torch.tensor(2.0, requires_grad=True)
        parameters = [*image_tower.parameters(), *text_tower.parameters(), scale]
        optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.1)
        draw = random.Random(0)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / STEPS)
            chosen = torch.randperm(len(values))[:BATCH]
            text = torch.stack([texts[index][draw.randrange(len(texts[index]))] for index in chosen.tolist()])
            scores = scale.exp() * _unit(image_tower(values[chosen])) @ _unit(text_tower(text)).T
            own = torch.arange(len(chosen))
            loss = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    image_tower.eval()
    with torch.no_grad():
        known = _unit(text_tower(torch.stack([vectors(text) for text in subjects])))

    @torch.no_grad()
    def recognise(seen: Tensor, shown: Tensor) -> Tensor:
        offered = choices[shown]
        scores = (known[offered] @ _unit(image_tower((seen - mean) / deviation))[:, :, None])[..., 0]
        return offered.gather(1, scores.argmax(1, keepdim=True))[:, 0]

    return recognise


class CaptionVectors:
    """Maps a text to the mean of the unit vectors of its words; words without a bundled vector are left out."""

    def __init__(self) -> None:
        bundled = load_word_vectors()
        self.index = {word: number for number, word in enumerate(bundled.words)}
        self.vectors = _unit(bundled.vectors.float())
        self.length = self.vectors.shape[1]

    def __call__(self, text: str) -> Tensor:
        found = [self.index[word] for word in words_of(text) if word in self.index]
        return self.vectors[found].mean(0) if found else torch.zeros(self.length)


def _choices(own: int, count: int, alternatives: Sequence[int]) -> list[int]:
    """Return the index `own` and up to nine others, drawn by a seed that follows from it."""
    pool = alternatives if len(alternatives) >= CHOICES else range(count)
    others = [index for index in pool if index != own]
    return [own, *random.Random(own).sample(others, min(CHOICES, count) - 1)]


def _unit(values: Tensor) -> Tensor:
    return functional.normalize(values, dim=-1)
