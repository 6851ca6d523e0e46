"""How much work a piece of work is, and how fast this machine does such work at best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]
SIDE = 4096
MATMUL_OPERATIONS = 2 * SIDE**3
COPY_BYTES = 2 * 2**28
"""Read and written."""


class ByteCounter(TorchDispatchMode):
    """Counts the bytes of everything that layers read and write. Views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        if not function.is_view:
            tensors = tree_leaves((arguments, keywords, result))
            self.bytes += sum(one.numel() * one.element_size() for one in tensors if isinstance(one, torch.Tensor))
        return result


def count(work: Work) -> dict[str, int]:
    """Operations of matrix products, and bytes read and written."""
    operations = count_operations(work)
    with ByteCounter() as counter:
        work()
    return {"operations": operations, "bytes": counter.bytes}


def count_operations(work: Work) -> int:
    """Operations of matrix products, of the backward pass too."""
    with FlopCounterMode(display=False) as operations:
        work()
    return operations.get_total_flops()


def matmul(device: str, dtype: torch.dtype) -> Work:
    """A product of two square matrices."""
    matrix = torch.randn(SIDE, SIDE, device=device, dtype=dtype)
    return lambda: matrix @ matrix


def copy(device: str) -> Work:
    """A copy of a large tensor."""
    source = torch.ones(COPY_BYTES // 8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
