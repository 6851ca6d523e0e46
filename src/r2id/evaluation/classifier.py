"""The digit classifier that judges generated digits.

It sees finished pictures only, so it is a plain convolutional network.
Train and save one with `python -m r2id.evaluation.classifier DATA_FOLDER --output FOLDER`.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.errors import InputError
from r2id.evaluation.judge import Judged
from r2id.networks.loading import CheckedLoading
from r2id.runtime.precision import autocast

CLASSES = 10
SIDE = 32
BUNDLED = Path(__file__).parent.parent / "pretrained" / "digit-classifier"


class DigitClassifier(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Classifies the digit of a grey picture.

    Args:
        width: channels of the first stage; the second has twice as many, the third four times.
        feature_dimension: length of the vectors from `features`.
    """

    subjects = tuple(map(str, range(CLASSES)))

    @register_to_config
    def __init__(self, width: int = 32, feature_dimension: int = 64) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            _convolution(1, width),
            nn.MaxPool2d(2),
            _convolution(width, 2 * width),
            _convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            _convolution(2 * width, 4 * width),
            _convolution(4 * width, 4 * width),
            nn.MaxPool2d(2),
        )
        self.embedding = nn.Sequential(
            nn.Flatten(),
            nn.Linear(4 * width * (SIDE // 8) ** 2, feature_dimension, bias=False),
            nn.BatchNorm1d(feature_dimension),
            nn.SiLU(),
        )
        self.head = nn.Linear(feature_dimension, CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the last layer, for Fréchet distances.

        Args:
            images: float [B, 1, H, W] in [-1, 1], of any size; resized to 32x32, stretched if not square.

        Returns:
            [B, feature_dimension].
        """
        return self.embedding(self.stages(as_judged(images)))

    def labels(self, data: ImageDataset) -> torch.Tensor:
        """Return the digits [N] of a data set. Raises InputError if it has none, others, or colour."""
        return digit_labels(data)

    def look(self, pictures: torch.Tensor, labels: torch.Tensor) -> Judged:
        """Return features [N, 64], grey pixels at 32x32 [N, 1024] and predicted digits [N] of pictures [N, C, H, W]."""
        grey = as_judged(pictures.mean(1, keepdim=True))
        features = self.features(grey)
        scores = features.new_empty(len(features), 0)
        return Judged(features, grey.flatten(1), labels, self.head(features).argmax(1), scores)

    def further(self, judged: Judged, real: Judged) -> dict[str, Any]:
        """Return no further figures."""
        return {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, 10] of images, float [B, 1, H, W] in [-1, 1] of any size."""
        return self.head(self.features(images))


def as_judged(images: torch.Tensor) -> torch.Tensor:
    """Resize images [B, 1, H, W] in [-1, 1] to 32x32; other proportions are stretched."""
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return functional.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.SiLU(),
    )


def load_classifier(path: str | Path | None = None) -> DigitClassifier:
    """Load the classifier from the folder `path`, by default the bundled one, in float32 and evaluation mode.

    Raises:
        InputError: the folder holds no classifier.
    """
    folder = BUNDLED if path is None else Path(path)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no classifier; give a folder that this module's command wrote.")
    return DigitClassifier.from_pretrained(folder).eval()


def train_classifier(
    train: ImageDataset,
    *,
    epochs: int = 12,
    seed: int = 0,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.05,
    on_epoch: Callable[[int, float], None] | None = None,
) -> DigitClassifier:
    """Train a classifier on the CPU; the same seed on the same machine gives the same weights.

    Args:
        train: grey images with labels 0 to 9; 32x32 is fastest, as other sizes are resized in every step.
        epochs: passes over the data.
        seed: seed of the initial weights, the order and the augmentation; the caller's random state is kept.
        batch_size: images per step; an incomplete last batch is left out of its epoch.
        learning_rate: peak of a one-cycle schedule.
        weight_decay: weight decay of AdamW.
        label_smoothing: label smoothing in [0, 1).
        on_epoch: called with the number of finished epochs and the mean loss of the last one.

    Raises:
        InputError: the data has no labels, other labels than digits, colour, or fewer images than one batch.
    """
    if epochs < 1:
        raise InputError(f"epochs is {epochs}; it must be at least 1.")
    labels = digit_labels(train)
    steps = len(train) // batch_size
    if steps < 1:
        raise InputError(f"There are {len(train)} images; give at least one batch of {batch_size}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = DigitClassifier().to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=learning_rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
        for epoch in range(1, epochs + 1):
            total = 0.0
            for indices in torch.randperm(len(train))[: steps * batch_size].split(batch_size):
                images = _augment(train.batch(indices)).contiguous(memory_format=torch.channels_last)
                with autocast("bf16", "cpu"):
                    logits = classifier(images)
                loss = functional.cross_entropy(logits.float(), labels[indices], label_smoothing=label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            if on_epoch is not None:
                on_epoch(epoch, total / steps)
    return classifier.to(memory_format=torch.contiguous_format).eval()


@torch.inference_mode()
def accuracy(classifier: DigitClassifier, dataset: ImageDataset, *, batch_size: int = 500) -> float:
    """Return the accuracy of the classifier on a data set of digits, from 0 to 1.

    Raises:
        InputError: the data has no labels, other labels than digits, or colour.
    """
    labels = digit_labels(dataset).to(classifier.device)
    correct = 0
    for indices in torch.arange(len(dataset)).split(batch_size):
        logits = classifier(dataset.batch(indices).to(classifier.device, classifier.dtype))
        correct += int((logits.argmax(1) == labels[indices]).sum())
    return correct / len(dataset)


def save_classifier(classifier: DigitClassifier, folder: str | Path) -> None:
    """Save the classifier in half precision; other files in the folder stay.

    Each file is written whole or not at all, so an interrupted save leaves no partial weights.
    """
    copy.deepcopy(classifier).half().save_pretrained(folder)


def digit_labels(dataset: ImageDataset) -> torch.Tensor:
    """Return the labels of a data set of digits, [N]. Raises InputError if it has none, others, or colour."""
    if dataset.labels is None:
        raise InputError(f"The data ({dataset.source}) has no labels; give digits labelled 0 to 9.")
    if dataset.label_names != tuple(map(str, range(len(dataset.label_names)))) or len(dataset.label_names) > CLASSES:
        names = ", ".join(dataset.label_names[:12])
        raise InputError(f"The data ({dataset.source}) has the labels {names}; they must be digits labelled 0 to 9.")
    if dataset.images.shape[1] != 1:
        raise InputError(f"The data ({dataset.source}) has {dataset.images.shape[1]} channels; it must have 1, grey.")
    return dataset.labels


def _augment(images: torch.Tensor) -> torch.Tensor:
    """Rotate by up to 12 degrees, scale and shear by up to 12 %, shift by up to 3 of 32 pixels."""

    def uniform(extent: float) -> torch.Tensor:
        return (2 * torch.rand(len(images)) - 1) * extent

    angle, shear = uniform(math.radians(12)), uniform(0.12)
    scale_y, scale_x = 1 + uniform(0.12), 1 + uniform(0.12)
    sine, cosine = angle.sin(), angle.cos()
    to_source_x = torch.stack([cosine * scale_x, (shear * cosine - sine) * scale_y, uniform(6 / SIDE)], 1)
    to_source_y = torch.stack([sine * scale_x, (shear * sine + cosine) * scale_y, uniform(6 / SIDE)], 1)
    grid = functional.affine_grid(torch.stack([to_source_x, to_source_y], 1), list(images.shape), align_corners=False)
    # The background of digits is black, which zero padding gives once black is zero.
    return functional.grid_sample(images + 1, grid, align_corners=False) - 1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m r2id.evaluation.classifier", description="Train the digit classifier and save it."
    )
    parser.add_argument("data", help="folder with the MNIST-style IDX files, or a hub data set id")
    parser.add_argument("--output", type=Path, required=True, help="folder to save the classifier in")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training digits (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args(arguments)

    try:
        train = load_images(options.data, "train", image_size=(SIDE, SIDE), channels=1)
        test = load_images(options.data, "test", image_size=(SIDE, SIDE), channels=1)
        started = time.perf_counter()

        def report(epoch: int, loss: float) -> None:
            seconds = time.perf_counter() - started
            print(f"epoch {epoch}/{options.epochs}  loss {loss:.4f}  {seconds:.0f} s", flush=True)

        classifier = train_classifier(train, epochs=options.epochs, seed=options.seed, on_epoch=report)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    save_classifier(classifier, options.output)
    print(f"test accuracy {accuracy(load_classifier(options.output), test):.2%}, saved in {options.output}")


if __name__ == "__main__":
    main()
