"""Optimisers of trainings: AdamW, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from r2id.errors import InputError
from r2id.networks.attention import GlobalAttention
from r2id.networks.layers import MLPBlock
from r2id.runtime.precision import usable_precision
from r2id.training.settings import Training

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that Jordan et al. iterate (2024, kellerjordan.github.io/posts/muon)."""
ITERATIONS = 5


def build_optimizer(config: Training, objective: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimiser of the settings for the trained parameters of an objective.

    Raises InputError for Muon and a network without hidden matrices.
    """
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (0.9, config.beta2),
        "weight_decay": config.weight_decay,
        "fused": device.type == "cuda" or None,
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained, **options)
    hidden = hidden_matrices(objective)
    if not hidden:
        raise InputError("optimizer is muon and this network has no hidden matrices; choose adamw")
    which = {id(matrix) for matrix in hidden}
    return Muon(hidden, [one for one in trained if id(one) not in which], **options)


def hidden_matrices(objective: nn.Module) -> list[nn.Parameter]:
    """Return the trained matrices of attention and feed-forward of every block. First and last layers, embeddings and
    modulations are not hidden."""
    parts = [one for one in objective.modules() if isinstance(one, (GlobalAttention, MLPBlock))]
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return [layer.get_parameter("weight") for layer in layers if layer.weight.requires_grad]


class Muon(torch.optim.AdamW):
    """Momentum whose matrix has all singular values near 1, for hidden matrices, and AdamW for all others.

    A step is scaled by 0.2·√(longer side), which makes it as large as one of AdamW (Liu et al. 2025, arXiv:2502.16982).
    Learning rate and weight decay are then the same for both. torch's own Muon always iterates in bfloat16, which takes
    some 15 times as long as float32 on a CPU without units for it.

    Args:
        hidden: matrices [rows, columns].
        others: parameters of any shape.
        options: of AdamW.
    """

    def __init__(self, hidden: Iterable[nn.Parameter], others: Iterable[nn.Parameter], **options: Any) -> None:
        groups: list[dict[str, Any]] = [{"params": list(others)}, {"params": list(hidden), "hidden": True}]
        super().__init__(groups, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Run one step from the gradients; those of hidden matrices are then None."""
        for group in self.param_groups:
            if group.get("hidden"):
                self._step_hidden(group)
        return super().step(closure)

    def _step_hidden(self, group: dict[str, Any]) -> None:
        moved = [matrix for matrix in group["params"] if matrix.grad is not None]
        # Matrices of one shape are iterated together.
        moved.sort(key=_sides)
        for (shorter, longer), same in groupby(moved, _sides):
            matrices = list(same)
            directions = orthogonal([self._momentum(matrix) for matrix in matrices])
            rate = group["lr"] * 0.2 * max(shorter, longer) ** 0.5
            for matrix, direction in zip(matrices, directions, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-rate)
                # AdamW leaves out what has no gradient.
                matrix.grad = None

    def _momentum(self, matrix: Tensor) -> Tensor:
        """Return Nesterov's look-ahead of the running mean of gradients."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            # AdamW looks for a count of steps in every state that it loads.
            state["step"] = torch.zeros(())
            state["momentum_buffer"] = torch.zeros_like(matrix)
        state["step"] += 1
        mean = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(mean, MOMENTUM)


def _sides(matrix: Tensor) -> tuple[int, int]:
    return min(matrix.shape), max(matrix.shape)


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return matrices with the singular vectors of these and singular values near 1, by Newton and Schulz's iteration.

    All have the same sides, in either order. Computed in bfloat16 on devices that multiply in it.
    """
    device = matrices[0].device
    kind = torch.bfloat16 if usable_precision("bf16", device) == "bf16" else torch.float32
    x = torch.stack([matrix if len(matrix) <= matrix.shape[1] else matrix.mT for matrix in matrices]).to(kind)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(matrices[0].dtype)
    return [one if len(matrix) <= matrix.shape[1] else one.mT for one, matrix in zip(x, matrices, strict=True)]
