"""Which images and which latent grids a step sees: all of it follows from the seed and the step's number."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

from r2id.data.dataset import Dataset, LatentDataset
from r2id.geometry.sizes import Size, in_proportion
from r2id.training.settings import Training


def bucket_batch(counts: Sequence[int], batch_size: int, step: int, seed: int) -> tuple[int, int]:
    """Which of several data sets, of `counts` images, step `step` takes its batch from, and how many it took before.

    A data set's batches go through it again and again. Those that begin in its e-th pass belong to epoch e, in random
    order among those of the other data sets. So all images are seen equally often, to within a batch.
    """
    # Batches that hold the images of so many epochs: there are no fewer.
    epochs = range(step * batch_size // sum(counts) + 1)
    epoch = bisect_right(epochs, step, key=lambda one: sum(_batches_before(counts, batch_size, one))) - 1
    return _epoch_batches(tuple(counts), batch_size, epoch, seed)[
        step - sum(_batches_before(counts, batch_size, epoch))
    ]


def _batches_before(counts: Sequence[int], batch_size: int, epoch: int) -> list[int]:
    return [-(-epoch * count // batch_size) for count in counts]


@lru_cache(maxsize=2)
def _epoch_batches(counts: tuple[int, ...], batch_size: int, epoch: int, seed: int) -> list[tuple[int, int]]:
    """The data set and the number in it of every batch of an epoch, in random order."""
    before, after = (_batches_before(counts, batch_size, one) for one in (epoch, epoch + 1))
    buckets = [bucket for bucket in range(len(counts)) for _ in range(before[bucket], after[bucket])]
    numbers = [itertools.count(first) for first in before]
    order = _random_order(len(buckets), seed, "buckets", epoch).tolist()
    return [(buckets[place], next(numbers[buckets[place]])) for place in order]


def latent_sizes(config: Training, data: Sequence[Dataset], some: Dataset) -> tuple[Size, ...]:
    """The latent grids for some of the data: as they are set or, for images of several sizes, in the proportions of
    these images; that of stored latents is their own."""
    if isinstance(some, LatentDataset):
        return (some.size,)
    if len(data) == 1:
        return config.latent_sizes
    return tuple(in_proportion(size, some.image_size) for size in config.latent_sizes)


def batch_indices(count: int, batch_size: int, batch: int, seed: int) -> Tensor:
    """Which of `count` images the given batch (from 0) has: consecutive chunks of one random order per epoch,
    [batch_size]."""
    first, end = batch * batch_size, (batch + 1) * batch_size
    chunks = []
    while first < end:
        epoch, offset = divmod(first, count)
        order = _random_order(count, seed, "images", epoch)
        chunks.append(order[offset : offset + end - first])
        first += len(chunks[-1])
    return torch.cat(chunks)


@lru_cache(maxsize=4)
def _random_order(count: int, seed: int, use: str, epoch: int) -> Tensor:
    """All numbers below `count` in random order, [count]. A step takes from few epochs, and long orders take time."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed_seed(seed, use, epoch)))


def mixed_seed(seed: int, use: str, number: int) -> int:
    """A seed for one use of one step or epoch, so that no two of them share random numbers."""
    digest = blake2b(f"{seed} {use} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
