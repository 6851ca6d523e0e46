"""Work shared between processes, as `accelerate launch` and `torchrun` start them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Which of several processes this one is: every `count`-th piece of work from `index` on is its own."""

    index: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """From the environment that the launchers set; all of the work where there is none."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    def __str__(self) -> str:
        """For the end of a sentence; nothing where there is one process."""
        return f" by process {self.index} of {self.count}" if self.count > 1 else ""

    def of(self, total: int) -> range:
        """The numbers of this process's pieces of work."""
        return range(self.index, total, self.count)

    def take(self, whole: Tensor) -> Tensor:
        """The rows of a tensor [B, …] that are this process's."""
        return whole[self.index :: self.count]


def batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The indices in batches of `size`; the last may be smaller."""
    return (indices[start : start + size] for start in range(0, len(indices), size))
