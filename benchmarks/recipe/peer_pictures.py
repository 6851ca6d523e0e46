"""Pictures for the comparison of networks: real ones of any size and proportions, and latents stored for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from r2id import R2IR
from r2id.batch.encoding import encode
from r2id.data.captions import labelled_by_captions
from r2id.data.dataset import ImageDataset, LatentDataset
from r2id.data.latents import load_latents
from r2id.data.loading import load_sizes
from r2id.evaluation.reconstruction import lanczos
from r2id.geometry.sizes import Size
from r2id.runtime.progress import progress

COLOUR: dict[str, Any] = {"channels": 3, "background": 255}
WHITE = 0.9
"""Least level in [−1, 1] of a white pixel."""


@dataclass(frozen=True)
class Real:
    """Pictures with their labels, or captions as labels.

    Attributes:
        train: pictures for training, of one size, with labels [N], or [N, K] of up to K captions.
        test: held-out pictures in their own proportions, a set for each size.
        names: of the labels.
        of_captions: whether labels are captions.
        drawings: whether most of the pictures' edges are white, so that a wider canvas has more of it.
    """

    train: ImageDataset
    test: Sequence[ImageDataset]
    names: tuple[str, ...]
    of_captions: bool
    drawings: bool

    @classmethod
    def of(cls, folder: Path, side: int, most: int | None = None) -> Real:
        """Load a folder with train and test, of which at most `most` pictures are taken each.

        Training pictures are squares of `side`; those with other proportions are cut, or widened with white.
        """
        # Training pictures are made smaller twice, so that few sizes are held at once. Held-out ones keep their own.
        train = load_sizes(folder, "train", image_size=(2 * side, 2 * side), keep_proportions=True, **COLOUR)
        test = load_sizes(folder, "test", **COLOUR)
        of_captions = train[0].captions is not None
        if of_captions:
            together = labelled_by_captions([*train, *test])
            train, test = together[: len(train)], together[len(train) :]
        names = tuple(sorted({*train[0].label_names, *test[0].label_names}))
        train, test = ([replace(one, labels=_numbered(one, names)) for one in part] for part in (train, test))
        drawings = white_edges(train[0].some(200).batch(slice(None)))
        squares = [as_bytes(fitted(one.batch(slice(None)), (side, side), drawings)) for one in train]
        labels = _joined([one.labels for one in train])
        about = {"label_names": names, "captions": None, "more_captions": None, "names": None}
        whole = replace(train[0], images=torch.cat(squares), labels=labels, **about)
        if most:
            total = sum(map(len, test))
            whole, test = whole.some(most), [one.some(max(1, most * len(one) // total)) for one in test]
        return cls(whole, test, names, of_captions, drawings)

    def at(self, size: Size) -> Tensor:
        """Return the held-out pictures [N, 3, *size] in [−1, 1], cut or widened to the size's proportions."""
        return torch.cat([fitted(one.batch(slice(None)), size, self.drawings) for one in self.test])

    @property
    def test_labels(self) -> Tensor:
        """A label of each held-out picture [N], in the order of `at`."""
        return torch.cat([one.labels if one.labels.ndim == 1 else one.labels[:, 0] for one in self.test])

    def latents(self, resampler: R2IR, cell: int, folder: Path) -> LatentDataset:
        """Return the latents of the training pictures, which are stored in a folder as `r2id encode` does.

        `cell` is the number of pixels along a side for each latent.
        """
        pictures = replace(self.train, labels=None, label_names=())
        encode(resampler, pictures, None, folder, 1000, True, progress, pixels_per_cell=cell)
        (stored,) = load_latents(sorted(folder.glob("*.safetensors")))
        return stored


def white_edges(pictures: Tensor) -> bool:
    """Return whether more than half of the outermost pixels of pictures [N, C, H, W] are white."""
    white = pictures.amin(1) > WHITE
    edges = [white[:, 0], white[:, -1], white[:, :, 0], white[:, :, -1]]
    return torch.cat([edge.flatten() for edge in edges]).float().mean().item() > 0.5


def fitted(pictures: Tensor, size: Size, drawings: bool) -> Tensor:
    """Return pictures [N, C, H, W] in [−1, 1] at another size, not stretched.

    A photograph is cut in the middle, and a drawing gets more white around it.
    """
    height, width = pictures.shape[-2:]
    if drawings:
        wanted = max(height, round(width * size[0] / size[1])), max(width, round(height * size[1] / size[0]))
    else:
        wanted = min(height, round(width * size[0] / size[1])), min(width, round(height * size[1] / size[0]))
    top, left = (wanted[0] - height) // 2, (wanted[1] - width) // 2
    edges = (left, wanted[1] - width - left, top, wanted[0] - height - top)
    return lanczos(functional.pad(pictures, edges, value=1.0), size)


def as_bytes(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().byte()


def _joined(labels: Sequence[Tensor | None]) -> Tensor:
    """Return labels [N], or [N, K] of all pictures, filled up with −1 to the most captions."""
    each = [one[:, None] if one.ndim == 1 else one for one in labels if one is not None]
    most = max(one.shape[1] for one in each)
    joined = torch.cat([functional.pad(one, (0, most - one.shape[1]), value=-1) for one in each])
    return joined[:, 0] if most == 1 else joined


def _numbered(data: ImageDataset, names: Sequence[str]) -> Tensor:
    """Return the labels of data as indices of `names`; −1 stays."""
    index = {name: number for number, name in enumerate(names)}
    assert data.labels is not None
    places = torch.tensor([index[name] for name in data.label_names] or [0])
    return torch.where(data.labels >= 0, places[data.labels.clamp_min(0)], -1)
