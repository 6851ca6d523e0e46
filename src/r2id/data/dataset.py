"""Images with their labels or captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from r2id.files.images import as_values


@dataclass(frozen=True)
class ImageDataset:
    """Images of one size, with their labels or captions where the data has them.

    Attributes:
        images: uint8 [N, C, H, W]; C is 1 (grey) or 3 (RGB). As loaded, they are mapped from a file.
        labels: int64 [N], each an index into `label_names`; None without labels.
        label_names: the name of every label, "0" to the largest for labels that are integers; empty without
            labels.
        captions: one text per image; None without captions.
        source: what was loaded, in words, for model cards.
        found: what was found there and what was left out, in one line.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    source: str
    found: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: torch.Tensor | Sequence[int] | slice) -> torch.Tensor:
        """The images at `indices` as float32 [B, C, H, W] in [-1, 1]."""
        return as_values(self.images[indices])

    def some(self, count: int) -> ImageDataset:
        """`count` images, always the same, drawn at random; or all if there are no more.

        The first would not do: MNIST's first 5,000 test digits are by other people than the last, and neater.
        """
        if count >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:count]
        labels = None if self.labels is None else self.labels[drawn]
        captions = None if self.captions is None else tuple(self.captions[index] for index in drawn.tolist())
        return replace(self, images=self.images[drawn], labels=labels, captions=captions)
