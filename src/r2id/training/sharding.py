"""Weights spread over several processes (FSDP), for networks that would not fit otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from r2id.networks.layers import EncoderBlock, SelfBlock
from r2id.training.checkpoints import whole


def shard(objective: nn.Module, device_type: str, processes: int) -> None:
    """Spread the weights over the processes. A block's come together while it computes, what is outside of blocks for
    all of a step."""
    # Not by accelerate's FSDP2 plugin, which on CPUs copies the weights to every process without a word.
    mesh = init_device_mesh(device_type, (processes,))
    for module in list(objective.modules()):
        # Blocks that are read by parts, those of the published R2IR, would not see their weights come together.
        if isinstance(module, (EncoderBlock, SelfBlock)):
            fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


@contextmanager
def outer_weights(objective: Any) -> Iterator[None]:
    """Every process has the weights outside of blocks for a while, where they are spread over the processes."""
    if not isinstance(objective, FSDPModule):
        yield
        return
    objective.unshard()
    yield
    objective.reshard()


def gather_weights(objective: nn.Module) -> None:
    """Give every process all of the weights for good."""
    for module in objective.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(parameter, DTensor):
                setattr(module, name, nn.Parameter(whole(parameter), parameter.requires_grad))
        if isinstance(module, FSDPModule):
            # Its hooks would wait for the other processes, to gather what is here by now. Torch has no public way to
            # take them off: a full state dict of its checkpoint API needs every network a second time, built anew.
            module._forward_pre_hooks.clear()  # type: ignore[attr-defined]
            module._forward_hooks.clear()  # type: ignore[attr-defined]
