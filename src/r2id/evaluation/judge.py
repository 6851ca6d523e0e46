"""The interface of the judges of pictures, and what they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

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

    def look(self, pictures: Tensor, labels: Tensor) -> Judged:
        """Judge pictures [N, C, H, W] in [−1, 1] of any size that are to show `labels` [N]."""
        ...

    def further(self, judged: Judged, real: Judged) -> dict[str, Any]:
        """Return further figures of generated pictures beside real ones: numbers, and numbers by label."""
        ...


@dataclass(frozen=True)
class Judged:
    """What a judge finds in pictures.

    Attributes:
        features: for distances between sets [N, D].
        pixels: values whose distances tell pictures of one label apart [N, E].
        labels: what the pictures are to show [N].
        taken_for: what they are taken for [N].
        scores: of the classes, for a second distance between sets [N, C]; C is 0 for a judge without.
    """

    features: Tensor
    pixels: Tensor
    labels: Tensor
    taken_for: Tensor
    scores: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, judge: Judge, pictures: Tensor, labels: Tensor) -> Judged:
        """Judge pictures [N, C, H, W] in [−1, 1]. The judge runs in float32, whatever the precision of the pictures."""
        with torch.autocast(pictures.device.type, enabled=False):
            found = judge.look(pictures.float(), labels)
        return cls(*(getattr(found, field.name).cpu() for field in fields(cls)))

    @classmethod
    def join(cls, parts: Sequence[Judged]) -> Judged:
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def halves(self) -> tuple[Judged, Judged]:
        """Return the first and the second half; the first has the odd one."""
        middle = -(-len(self.labels) // 2)
        pairs = [getattr(self, field.name).tensor_split([middle]) for field in fields(self)]
        first, second = zip(*pairs, strict=True)
        return Judged(*first), Judged(*second)

    def accuracy(self) -> float:
        """Return the share of pictures that are taken for what they are to show."""
        return (self.taken_for == self.labels).float().mean().item()
