"""The interface of the judges of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from r2id.data.dataset import ImageDataset


class Judge(Protocol):
    """Looks at pictures, and tells how like they are and what they show.

    Attributes:
        subjects: labels or texts of the pictures to generate; a label [N] is an index of it.
    """

    @property
    def subjects(self) -> Sequence[str]: ...

    @property
    def device(self) -> torch.device: ...

    def labels(self, data: ImageDataset) -> Tensor:
        """Return what each image shows [N]. Raises InputError if the data does not say, or the judge knows it not."""
        ...

    def look(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge pictures [N, C, H, W] in [−1, 1] of any size that are to show `labels` [N].

        Returns:
            Features [N, D] for distances between sets, values [N, E] for distances within a label, and labels that the
            pictures are taken for [N].
        """
        ...

    def further(self, features: Tensor, real: Tensor) -> dict[str, float]:
        """Return further figures of generated features [N, D] beside real ones [M, D]."""
        ...
