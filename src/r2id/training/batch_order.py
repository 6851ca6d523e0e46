"""Images and latent grids of each step, which follow from the seed and the step's number."""

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
    """Return the data set, of several with `counts` images, that step `step` reads, and the number of its batch.

    Batches of a data set run through it in consecutive passes. Batches that begin in its e-th pass belong to epoch e,
    which orders the batches of all data sets at random. All images are thus seen equally often, to within a batch.
    """
    # No fewer batches hold the images of this number of epochs.
    epochs = range(step * batch_size // sum(counts) + 1)
    epoch = bisect_right(epochs, step, key=lambda one: sum(_batches_before(counts, batch_size, one))) - 1
    return _epoch_batches(tuple(counts), batch_size, epoch, seed)[
        step - sum(_batches_before(counts, batch_size, epoch))
    ]


def _batches_before(counts: Sequence[int], batch_size: int, epoch: int) -> list[int]:
    return [-(-epoch * count // batch_size) for count in counts]


@lru_cache(maxsize=2)
def _epoch_batches(counts: tuple[int, ...], batch_size: int, epoch: int, seed: int) -> list[tuple[int, int]]:
    """Return the data set and the batch number in it of every batch of an epoch, in random order."""
    before, after = (_batches_before(counts, batch_size, one) for one in (epoch, epoch + 1))
    buckets = [bucket for bucket in range(len(counts)) for _ in range(before[bucket], after[bucket])]
    numbers = [itertools.count(first) for first in before]
    order = _random_order(len(buckets), seed, "buckets", epoch).tolist()
    return [(buckets[place], next(numbers[buckets[place]])) for place in order]


def seen_counts(data: Sequence[Dataset]) -> list[int]:
    """Return the numbers of images of data sets by which their shares of the steps are measured."""
    return [round(len(one) * one.weight) for one in data]


def latent_sizes(config: Training, data: Sequence[Dataset], some: Dataset) -> tuple[Size, ...]:
    """Return the latent grids for `some` of the data: those of the settings, in the images' proportions if images have
    several sizes. Stored latents have their own grid."""
    if isinstance(some, LatentDataset):
        return (some.size,)
    if len(data) == 1:
        return config.latent_sizes
    return tuple(in_proportion(size, some.image_size) for size in config.latent_sizes)


def batch_indices(count: int, batch_size: int, batch: int, seed: int) -> Tensor:
    """Return the indices of batch number `batch` (from 0) of `count` images, [batch_size]: consecutive chunks of one
    random order per epoch."""
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
    """Return a random permutation, [count]. It is cached, because long ones take time and a step needs few epochs."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed_seed(seed, use, epoch)))


def mixed_seed(seed: int, use: str, number: int) -> int:
    """Return a seed for one use in one step or epoch, so that no two share random numbers."""
    digest = blake2b(f"{seed} {use} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
