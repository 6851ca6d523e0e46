"""Data sets of images or latents, with labels or captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeAlias, TypeVar

import torch

from r2id.files.images import as_values
from r2id.geometry.canvas import Canvas, LatentTensor
from r2id.geometry.sizes import Size

Item = TypeVar("Item")


@dataclass(frozen=True)
class ImageDataset:
    """Images of one size, with labels or captions if the data has them.

    Attributes:
        images: uint8 [N, C, H, W], mapped from a file; C is 1 (grey) or 3 (RGB).
        labels: int64 [N], each an index into `label_names`; None without labels.
        label_names: names of the labels, "0" to the largest for integer labels; empty without labels.
        captions: one text per image, the first of several; None without captions.
        source: the source in words, for model cards.
        found: one line about the loaded and the ignored contents.
        more_captions: further texts of each image; None if no image has any.
        names: names of the files, relative to the source; None without files.
        weight: how often training sees an image, compared with those of other data sets.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    source: str
    found: str = ""
    more_captions: tuple[tuple[str, ...], ...] | None = None
    names: tuple[str, ...] | None = None
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """The stored tensors of the data."""
        return (self.images,)

    @property
    def image_size(self) -> Size:
        """Height and width of the images."""
        return self.images.shape[-2], self.images.shape[-1]

    canvas = image_size
    mirrored = False

    def batch(self, indices: torch.Tensor | Sequence[int] | slice, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the images at `indices` as float32 [B, C, H, W] in [-1, 1]."""
        # Eight bits travel faster than floats.
        return as_values(self.images[indices].to(device))

    def some(self, count: int) -> ImageDataset:
        """Return `count` images, drawn at random with a fixed seed, or all if there are no more.

        The first images are no random sample: other people wrote MNIST's first 5,000 test digits, more neatly.
        """
        if count >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:count]
        return self.picked(drawn.tolist())

    def picked(self, indices: Sequence[int]) -> ImageDataset:
        """Return the images at `indices`, in that order."""
        indices = list(indices)
        return replace(
            self,
            images=self.images[indices],
            labels=None if self.labels is None else self.labels[indices],
            captions=picked(self.captions, indices),
            more_captions=picked(self.more_captions, indices),
            names=picked(self.names, indices),
        )


@dataclass(frozen=True)
class LatentDataset:
    """Latents of one grid and one canvas, encoded by an R2IR, in place of images.

    Attributes:
        parts: float16 [N, C, h, w] in [−1, 1], one for each file, mapped from it.
        canvas: (height, width) of the images, in cells, as of a `LatentTensor`.
        image_size: height and width of the images in pixels; None if unknown.
        model: `R2IR.checksum()` of the weights that encoded them.
        labels, label_names, captions, source, found, more_captions, weight: as of an `ImageDataset`.
        mirrored: whether the pictures were mirrored before they were encoded.
    """

    parts: tuple[torch.Tensor, ...]
    canvas: Canvas
    image_size: Size | None
    model: int
    labels: torch.Tensor | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    source: str
    found: str = ""
    more_captions: tuple[tuple[str, ...], ...] | None = None
    weight: float = 1.0
    mirrored: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def size(self) -> Size:
        """Height and width of the latents."""
        return self.parts[0].shape[-2], self.parts[0].shape[-1]

    def batch(self, indices: torch.Tensor | Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the latents at `indices` as float32 [B, C, h, w] on their canvas."""
        indices = torch.as_tensor(indices)
        ends = torch.tensor(list(accumulate(map(len, self.parts))))
        of_part = torch.bucketize(indices, ends, right=True)
        values = self.parts[0].new_empty(len(indices), *self.parts[0].shape[1:])
        for part in of_part.unique().tolist():
            here = of_part == part
            # Indices from the end of a file do not depend on the files before it.
            values[here] = self.parts[part][indices[here] - ends[part]]
        return LatentTensor.of(values.to(device).float(), self.canvas)


Dataset: TypeAlias = ImageDataset | LatentDataset
"""Data of a training."""
AnyDataset = TypeVar("AnyDataset", ImageDataset, LatentDataset)


def first_and_more(
    captions: Sequence[tuple[str, ...]] | None,
) -> tuple[tuple[str, ...] | None, tuple[tuple[str, ...], ...] | None]:
    """Return the first caption of each image and the further ones; None for those that no image has."""
    if not captions:
        return None, None
    more = tuple(texts[1:] for texts in captions)
    return tuple(texts[0] for texts in captions), more if any(more) else None


def all_captions(data: Dataset) -> list[tuple[str, ...]]:
    """Return the captions of each image; empty without captions."""
    firsts = data.captions or ()
    return [(first, *more) for first, more in zip(firsts, data.more_captions or ((),) * len(firsts), strict=True)]


def labels_and_captions(data: Dataset) -> str:
    """Describe the labels and captions of a data set."""
    labels = "no labels" if data.labels is None else f"{len(data.label_names)} labels"
    if not data.captions:
        return f"{labels}; no captions"
    most = max(map(len, all_captions(data)))
    each = f", up to {most} of an image" if most > 1 else ""
    return f"{labels}; captions such as {data.captions[0][:40]!r}{each}"


def picked(values: Sequence[Item] | None, indices: Iterable[int]) -> tuple[Item, ...] | None:
    """Return the values at these indices; None for None."""
    return None if values is None else tuple(values[index] for index in indices)
