"""Devices that networks run on."""

from __future__ import annotations

import torch

from r2id.errors import InputError


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of a name. Raises InputError if it cannot be used."""
    try:
        return torch.empty(0, device=torch.device(name)).device
    except Exception as error:
        raise InputError(f"device {str(name)!r} cannot be used; take cpu, or cuda on a machine with a GPU") from error


def allow_tensor_float32() -> None:
    """Let a GPU multiply float32 matrices as TensorFloat32, which is several times as fast and exact to three digits.

    A program decides this, not a library. Nothing changes without a GPU.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
