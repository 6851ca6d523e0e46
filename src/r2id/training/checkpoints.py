"""Checkpoints of trainings, from which a run continues exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from r2id.errors import InputError
from r2id.files.atomic import remove_folder, replace_folder
from r2id.files.record import check_settings, read_record, write_record
from r2id.training.portable import portable_progress, read_portable, write_portable

MAY_CHANGE = {
    "data",
    "drawings",
    "resampler",
    "output",
    "num_workers",
    "resume",
    "steps",
    "seconds",
    "latent_sizes",
    "compile",
    "shard",
    "log_every",
    "portable",
    "sample_every",
    "checkpoint_every",
}
"""Settings that a resumed training may change."""


PORTABLE = "checkpoint.safetensors"
"""Name of the newest checkpoint as one file, beside the folder of checkpoints."""


class Checkpoints:
    """Checkpoints in one folder per kept step: weights, averaged weights, optimiser state, time.

    If `writes_portable`, the newest one is also a file beside the folder, of some 4.5 bytes a weight. A training
    resumes from that file where it is newer than the folders, or alone.
    """

    def __init__(self, folder: Path, keep: int = 2, writes_portable: bool = False) -> None:
        self.folder, self.keep, self.writes_portable = folder, keep, writes_portable
        self.portable = folder.parent / PORTABLE

    def steps(self) -> list[int]:
        """Return the steps with a checkpoint, ascending."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*[0-9]"))

    def begin(
        self, settings: dict[str, Any], resume: bool, defaults: Mapping[str, Any] = MappingProxyType({})
    ) -> tuple[int, float]:
        """Return the step to start from and the seconds already trained.

        Settings that a checkpoint does not name are younger than it, and had what are now their `defaults`.

        Raises InputError if a run would overwrite another, there is no run to resume, or its settings differ.
        """
        steps = self.steps()
        carried = portable_progress(self.portable) if self.portable.is_file() else None
        if carried and carried["step"] not in steps:
            steps = sorted([*steps, carried["step"]])
        if not resume:
            if steps:
                raise InputError(
                    f"{self.folder.parent} already holds a training of {steps[-1]} steps; "
                    "continue it with --resume, or give another output folder"
                )
            return 0, 0.0
        if not steps:
            raise InputError(f"{self.folder.parent} holds no checkpoint to resume; leave out --resume to begin there")
        newest = self._path(steps[-1])
        if carried and not newest.is_dir():
            saved = carried
        else:
            advice = f"remove {newest} to resume from an earlier one"
            saved = read_record(newest / "progress.json", advice, settings=dict, seconds=float)
        advice = "give what it has, or another output folder"
        before = {**defaults, **saved["settings"]}
        check_settings(settings, before, "the training to resume has", advice, MAY_CHANGE)
        return steps[-1], saved["seconds"]

    def save(
        self,
        step: int,
        seconds: float,
        settings: dict[str, Any],
        parameters: Sequence[Tensor],
        average: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
        is_main_process: bool = True,
    ) -> None:
        """Write the checkpoint of a step, then remove the oldest beyond the kept ones.

        All processes must call this, because each may hold a shard of every tensor. The main one writes.
        """

        # torch's distributed checkpoint API would write pickles, and has no averaged weights.
        def gathered(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
            # Tensors are gathered one by one. Sharded ones may not fit together.
            whole_ones = ((name, whole(value)) for name, value in named)
            return {name: value.cpu() for name, value in whole_ones if is_main_process}

        moments = optimizer.state_dict()["state"]
        progress = {"step": step, "seconds": seconds, "settings": settings}
        tensors = {
            "weights": gathered((str(index), value) for index, value in enumerate(parameters)),
            "average": gathered((str(index), value) for index, value in enumerate(average)),
            "optimizer": gathered(
                (f"{index}.{name}", value) for index, state in moments.items() for name, value in state.items()
            ),
        }
        if not is_main_process:
            return

        def write(folder: Path) -> None:
            for name, content in tensors.items():
                save_file(content, folder / f"{name}.safetensors")
            write_record(folder / "progress.json", progress)

        replace_folder(self._path(step), write)
        if self.writes_portable:
            of_parameters: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors["optimizer"].items():
                number, part = name.split(".")
                of_parameters.setdefault(int(number), {})[part] = value
            weights, averages = (list(tensors[name].values()) for name in ("weights", "average"))
            write_portable(self.portable, progress, weights, averages, of_parameters)
        for old in self.steps()[: -self.keep]:
            remove_folder(self._path(old))

    def load(
        self,
        step: int,
        parameters: Sequence[Tensor],
        average: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Fill weights, averaged weights and optimiser from the checkpoint of a step, or from the portable one if there
        is no other.

        Raises InputError if the checkpoint is damaged or of another network.
        """
        folder = self._path(step)
        if not folder.is_dir() and self.portable.is_file():
            return read_portable(self.portable, parameters, average, optimizer)
        try:
            for name, tensors in (("weights", parameters), ("average", average)):
                saved = load_file(folder / f"{name}.safetensors")
                for index, tensor in enumerate(tensors):
                    if saved[str(index)].shape != tensor.shape:
                        raise ValueError(f"a shape of {tuple(saved[str(index)].shape)}, not {tuple(tensor.shape)}")
                    tensor.data.copy_(_part_of(saved.pop(str(index)), tensor))
                if saved:
                    raise KeyError(f"{len(saved)} tensors too many")
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in load_file(folder / "optimizer.safetensors").items():
                number, part = name.split(".")
                state.setdefault(int(number), {})[part] = _part_of(value, parameters[int(number)])
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        except Exception as error:
            raise InputError(
                f"the checkpoint {folder} is damaged or of another model ({error}); resume with the settings it was "
                "made with, or remove it to resume from an earlier one"
            ) from error

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"


def whole(tensor: Tensor) -> Tensor:
    """Return a whole tensor of which each process may hold a shard."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).contiguous()


def _part_of(whole: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a tensor, sharded as `like` is."""
    if isinstance(like, DTensor) and whole.shape == like.shape:
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
    return whole
