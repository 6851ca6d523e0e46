"""Compiled denoising steps, as a method of a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch

from r2id.diffusion.parts import Parts
from r2id.networks.compiling import check_compiler, compile_network
from r2id.networks.diffuser import R2ID


class Compiled(Parts):
    """Method of `R2Pipeline` that compiles its diffuser."""

    def compile(self) -> None:
        """Compile the denoising step of later calls by torch.compile, on the device where the pipeline now is.

        The first steps compile, for a minute or more. Pictures change by rounding only. On a CPU, blocks are compiled,
        once for all sizes. On a GPU, a CUDA graph replays the whole step. Each number of pictures, latent size and
        number of guidance branches has a graph of its own. Beyond eight of them (`torch._dynamo.config
        .recompile_limit`), steps run as if not compiled, as do those of `inpaint` and `outpaint`, which take gradients.

        Raises:
            InputError: if there is no C++ compiler for the CPU.
        """
        device = torch.device(self._execution_device)
        check_compiler(device, "sample without compiling")
        if device.type == "cpu":
            compile_network(self.diffuser)
        else:
            replay_steps(self.diffuser)


def replay_steps(network: R2ID) -> None:
    """Let a network predict by CUDA graphs of whole steps."""
    # Methods, unlike functions that hold the network, are bound anew to its copies.
    network.guidance_branches = MethodType(_guidance_branches, network)  # type: ignore[method-assign]
    network.joint_branches = MethodType(_joint_branches, network)  # type: ignore[method-assign]


# A graph writes its results to the same memory each time, so they are cloned.


def _guidance_branches(network: R2ID, *inputs: Any) -> tuple[torch.Tensor, ...]:
    if torch.is_grad_enabled():
        # A graph with gradients would take those of all weights too.
        return R2ID.guidance_branches(network, *inputs)
    return tuple(branch.clone() for branch in _graphed("guidance_branches")(network, *inputs))


def _joint_branches(network: R2ID, *inputs: Any) -> tuple[list[torch.Tensor], ...]:
    branches = _graphed("joint_branches")(network, *inputs)
    return tuple([canvas.clone() for canvas in branch] for branch in branches)


@functools.cache
def _graphed(step: str) -> Callable[..., Any]:
    """Return a method of R2ID as CUDA graphs, one for each shape of its inputs."""
    return torch.compile(getattr(R2ID, step), mode="reduce-overhead", dynamic=False)
