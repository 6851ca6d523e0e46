"""Weights sharded over several processes (FSDP), for networks that exceed one device."""

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
    """Shard the weights over the processes. Weights of a block are gathered while it computes, all others for a whole
    step."""
    # accelerate's FSDP2 plugin silently replicates the weights on CPUs.
    mesh = init_device_mesh(device_type, (processes,))
    for module in list(objective.modules()):
        # Blocks of the published R2IR are called by parts, for which weights would not be gathered.
        if isinstance(module, (EncoderBlock, SelfBlock)):
            fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


@contextmanager
def outer_weights(objective: Any) -> Iterator[None]:
    """Gather sharded weights outside of blocks for the duration of the context."""
    if not isinstance(objective, FSDPModule):
        yield
        return
    objective.unshard()
    yield
    objective.reshard()


def gather_weights(objective: nn.Module) -> None:
    """Give every process all weights permanently."""
    for module in objective.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(parameter, DTensor):
                setattr(module, name, nn.Parameter(whole(parameter), parameter.requires_grad))
        if isinstance(module, FSDPModule):
            # Its hooks would wait for other processes to gather weights that are already here. Torch has no public way
            # to remove them: a full state dict of its checkpoint API needs every network a second time.
            module._forward_pre_hooks.clear()  # type: ignore[attr-defined]
            module._forward_hooks.clear()  # type: ignore[attr-defined]
