"""Test images for a model, and training images for the judge of colour pictures."""

from __future__ import annotations

import torch

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.colour_features import ColourFeatures
from r2id.evaluation.colour_judge import ColourJudging
from r2id.geometry.sizes import Size


def load_test_images(pipeline: R2Pipeline, data: str, split: str, size: Size | None) -> ImageDataset:
    """Load images with the channels, the background and by default the size of a pipeline's training."""
    if size is None and pipeline.diffuser.config.canvas is None:
        raise InputError("this model was trained on pictures of several sizes; give --image-size to measure it at one")
    return _load(pipeline, data, split, size or pipeline.generation_defaults.size)


def load_colour_judging(
    pipeline: R2Pipeline, test: ImageDataset, data: str, split: str, train_split: str, most: int
) -> ColourJudging:
    """Load whatever judges colour pictures like those of `test`.

    Args:
        pipeline: the model.
        test: from `load_test_images`, of `data` and `split`.
        train_split: split of the same data to train on.
        most: most training pictures.
    Raises:
        InputError: the judge is not installed, or there is no such split.
    """
    if most < 1:
        raise InputError(f"judge_images is {most}; it must be at least 1")
    features = ColourFeatures().to(pipeline.device)
    train = some_of_every_label(_load(pipeline, data, train_split, test.image_size), most)

    def real_at(size: Size) -> ImageDataset:
        return test if size == test.image_size else _load(pipeline, data, split, size)

    return ColourJudging(features, torch.device(pipeline.device), train, real_at)


def some_of_every_label(data: ImageDataset, count: int) -> ImageDataset:
    """Return `count` images as `some` draws them, but at least one of each label, as far as they go round.

    A judge cannot be trained on a label without an image.
    """
    if count >= len(data) or data.labels is None:
        return data.some(count)
    drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    firsts = {label: place for place, label in reversed(list(enumerate(data.labels[drawn].tolist())))}
    first = sorted(firsts.values())[:count]
    taken = set(first)
    others = [place for place in range(len(drawn)) if place not in taken][: count - len(first)]
    return data.picked([drawn[place] for place in sorted([*first, *others])])


def _load(pipeline: R2Pipeline, data: str, split: str, size: Size) -> ImageDataset:
    channels = pipeline.resampler.config.image_channels if pipeline.resampler else pipeline.diffuser.config.channels
    background = (pipeline.diffuser.config.training or {}).get("background", 0)
    return load_images(data, split, image_size=size, channels=channels, background=background)
