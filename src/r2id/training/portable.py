"""The state of a training in one file, small enough to carry it to another machine: some 4.5 bytes a weight.

Weights are in half precision, and averaged weights are differences from them in 4 bits. AdamW's second moment is in
8 bits of its logarithm. The first moment is divided by the root of the second, which is the direction of a step, and
then in 8 bits. Its own 8 bits would blur the steps of weights with small gradients. Muon's momentum is in 8 bits. Every
row of a tensor has its own scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from r2id.errors import InputError
from r2id.files.atomic import write_whole

FORMAT = "r2id training"
LEAST = 1e-30
"""Least second moment, as zero has no logarithm."""
Parts = dict[str, Tensor]
"""A tensor in few bits: its levels, and what gives its values back."""


def write_portable(
    path: Path,
    progress: dict[str, Any],
    weights: Sequence[Tensor],
    average: Sequence[Tensor],
    moments: dict[int, dict[str, Tensor]],
) -> None:
    """Write the state of a training.

    Args:
        path: the file.
        progress: step, seconds and settings, as JSON types.
        weights, average: weights and their averages, of equal shapes.
        moments: the `state` of the optimiser's state_dict.
    """
    tensors: Parts = {}

    def add(name: str, parts: Parts) -> None:
        tensors.update({f"{name}.{part}": value.cpu().contiguous() for part, value in parts.items()})

    for number, (weight, mean) in enumerate(zip(weights, average, strict=True)):
        half = weight.half()
        add(f"weights.{number}", {"half": half} | _packed(_in_levels(mean - half.float(), 7)))
    for number, state in moments.items():
        add(f"moments.{number}", {"step": state["step"]})
        if "momentum_buffer" in state:
            add(f"moments.{number}.momentum_buffer", _in_levels(state["momentum_buffer"], 127))
        else:
            direction = state["exp_avg"] / state["exp_avg_sq"].clamp(min=LEAST).sqrt()
            add(f"moments.{number}.exp_avg_sq", _in_logarithms(state["exp_avg_sq"]))
            add(f"moments.{number}.exp_avg", _in_levels(direction, 127))
    write_whole(path, lambda temporary: save_file(tensors, temporary, {FORMAT: json.dumps(progress)}))


def portable_progress(path: Path) -> dict[str, Any]:
    """Return step, seconds and settings of a file. Raises InputError if it is damaged or of another kind."""
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads((file.metadata() or {})[FORMAT])
        kinds = {"step": int, "seconds": float, "settings": dict}
        return {name: kind(progress[name]) for name, kind in kinds.items()}
    except Exception as error:
        raise _damaged(path, error) from error


def read_portable(
    path: Path, weights: Sequence[Tensor], average: Sequence[Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Fill weights, averaged weights and optimiser from a file of `write_portable`.

    Raises InputError if it is damaged or of another network.
    """
    try:
        groups: dict[str, dict[int, Any]] = {"weights": {}, "moments": {}}
        for name, value in load_file(path).items():
            group, index, *parts, last = name.split(".")
            held = groups[group].setdefault(int(index), {})
            (held.setdefault(parts[0], {}) if parts else held)[last] = value
        if len(groups["weights"]) != len(weights):
            raise ValueError(f"{len(groups['weights'])} weights, not {len(weights)}")
        for number, (weight, mean) in enumerate(zip(weights, average, strict=True)):
            held = groups["weights"][number]
            half = held["half"].float()
            if half.shape != weight.shape:
                raise ValueError(f"a shape of {tuple(half.shape)}, not {tuple(weight.shape)}")
            weight.data.copy_(half)
            mean.data.copy_(half + _of_levels(_unpacked(held, half)))
        state = {number: _moments(held) for number, held in groups["moments"].items()}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except Exception as error:
        raise _damaged(path, error) from error


def _moments(held: dict[str, Any]) -> Parts:
    """Return the optimiser's state of a parameter."""
    if "momentum_buffer" in held:
        return {"step": held["step"], "momentum_buffer": _of_levels(held["momentum_buffer"])}
    second = _of_logarithms(held["exp_avg_sq"])
    return {"step": held["step"], "exp_avg": _of_levels(held["exp_avg"]) * second.sqrt(), "exp_avg_sq": second}


def _in_levels(values: Tensor, most: int) -> Parts:
    """Return int8 `levels` from −most to most, and the `scale` of each row."""
    # Stored in bfloat16, which has the range of float32; levels are of the scale that is stored.
    scale = (values.abs().amax(-1, keepdim=True) / most).bfloat16()
    levels = (values / scale.float().clamp(min=LEAST)).round().clamp(-most, most)
    return {"levels": levels.char(), "scale": scale}


def _of_levels(parts: Parts) -> Tensor:
    return parts["levels"].float() * parts["scale"].float()


def _in_logarithms(values: Tensor) -> Parts:
    """Return uint8 `levels` of the logarithm to base 2, and the `least` and the `scale` of each row."""
    logarithms = values.clamp(min=LEAST).log2()
    least, most = (end(-1, keepdim=True).half() for end in (logarithms.amin, logarithms.amax))
    scale = (most - least) / 255
    levels = (logarithms - least.float()) / scale.float().clamp(min=LEAST)
    return {"levels": levels.round().clamp(0, 255).byte(), "least": least, "scale": scale}


def _of_logarithms(parts: Parts) -> Tensor:
    return (parts["least"].float() + parts["levels"].float() * parts["scale"].float()).exp2()


def _packed(parts: Parts) -> Parts:
    """Return levels from −7 to 7 as two in a byte."""
    levels = (parts["levels"].flatten() + 8).byte()
    levels = torch.nn.functional.pad(levels, (0, len(levels) % 2))
    return parts | {"levels": levels[::2] | levels[1::2] << 4}


def _unpacked(parts: Parts, like: Tensor) -> Parts:
    """Return levels from −7 to 7 in the shape of `like`."""
    pairs = torch.stack([parts["levels"] & 15, parts["levels"] >> 4], dim=1).flatten()
    return parts | {"levels": pairs[: like.numel()].view(like.shape).char() - 8}


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged or of another model ({error}); resume with the settings it was made with, or remove it"
    )
