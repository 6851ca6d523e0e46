"""Which images and which latent grids a step sees: all of it follows from the seed and the step's number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from r2id.data.dataset import ImageDataset
from r2id.geometry.sizes import Size, in_proportion
from r2id.training.settings import Training


def size_index(counts: Sequence[int], step: int, seed: int) -> int:
    """Which of several data sets step `step` takes all its images from: each as often as its share of the images."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, step, len(counts)))
    return int(torch.multinomial(torch.tensor(counts, dtype=torch.float64), 1, generator=generator))


def latent_sizes(config: Training, data: Sequence[ImageDataset], some: ImageDataset) -> tuple[Size, ...]:
    """The latent grids for some of the data: as they are set or, for images of several sizes, in the proportions of
    these images."""
    if len(data) == 1:
        return config.latent_sizes
    return tuple(in_proportion(size, (some.images.shape[-2], some.images.shape[-1])) for size in config.latent_sizes)


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> Tensor:
    """Which images step `step` sees: consecutive chunks of one random order per epoch, [batch_size]."""
    first = step * batch_size
    chunks = []
    while first < (step + 1) * batch_size:
        epoch, offset = divmod(first, count)
        order = _epoch_order(count, epoch, seed)
        chunks.append(order[offset : offset + (step + 1) * batch_size - first])
        first += len(chunks[-1])
    return torch.cat(chunks)


@lru_cache(maxsize=2)
def _epoch_order(count: int, epoch: int, seed: int) -> Tensor:
    """All images in random order, [count]. A step takes from one epoch or two, and orders of millions are large."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed_seed(seed, epoch)))


def mixed_seed(*numbers: int) -> int:
    """One seed out of several numbers, so that neighbouring steps share no random numbers."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 6364136223846793005 + number * 1442695040888963407 + 1) % 2**63
    return mixed
