"""Division of work between the processes that `accelerate launch` and `torchrun` start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The share of one of several processes: every `count`-th item from `index` on."""

    index: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """Read the share from the launcher's environment; it is all of the work without one."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    def __str__(self) -> str:
        """The end of a sentence, " by process 0 of 2"; empty for one process."""
        return f" by process {self.index} of {self.count}" if self.count > 1 else ""

    def of(self, total: int) -> range:
        """Return the indices of this process's items."""
        return range(self.index, total, self.count)

    def take(self, whole: Tensor) -> Tensor:
        """Return this process's rows of a tensor [B, …]."""
        return whole[self.index :: self.count]


def batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Return the indices in batches of `size`; the last may be smaller."""
    return (indices[start : start + size] for start in range(0, len(indices), size))
