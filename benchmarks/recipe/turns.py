"""Trainings that take turns of some seconds, so that what else a machine does slows all alike.

A second is one of processor time for each thread, or on a GPU one of the clock.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from r2id.files.atomic import write_whole
from r2id.runtime.precision import autocast
from r2id.training.loop import clocked_rate
from r2id.training.optimizers import build_optimizer
from r2id.training.settings import DiffuserTraining


class Turns:
    """An objective, its optimiser and averaged weights, and how long it has trained, kept in a file.

    Args:
        objective: gives the loss of samples [B, C, h, w], labels [B] and their size.
        config: settings of the optimiser and its rate, whose batches `draw` returns.
        seconds: of the whole training.
        seed: of every step, with its number.
        file: the state after the last turn, which is gone on from.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, objective: nn.Module, config: DiffuserTraining, seconds: float, seed: int, file: Path, device: str
    ) -> None:
        self.seconds, self.seed, self.file, self.config = seconds, seed, file, config
        self.device = torch.device(device)
        self.objective = objective.to(self.device)
        self.parameters = [one for one in self.objective.parameters() if one.requires_grad]
        self.optimizer = build_optimizer(config, self.objective, self.device)
        self.average = EMAModel(self.parameters, decay=0.995)
        self.spent, self.steps = 0.0, 0
        if file.exists():
            kept = torch.load(file, weights_only=True, map_location=self.device)
            for parameter, value in zip(self.parameters, kept["weights"], strict=True):
                parameter.data.copy_(value)
            self.optimizer.load_state_dict(kept["optimizer"])
            self.average.load_state_dict(kept["average"])
            self.spent, self.steps = kept["spent"], kept["steps"]

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the samples and labels of a step, by torch's global generator."""
        raise NotImplementedError

    def turn(self, seconds: float) -> float:
        """Train for some seconds, and keep the state. Returns the mean loss."""
        self.objective.train()
        losses, until = [], min(self.spent + seconds, self.seconds)
        while self.spent < until:
            began = self._clock()
            losses.append(self._step())
            self.spent += self._clock() - began
            self.steps += 1
        kept: dict[str, Any] = {"weights": [one.detach() for one in self.parameters]}
        kept |= {"optimizer": self.optimizer.state_dict(), "average": self.average.state_dict()}
        kept |= {"spent": self.spent, "steps": self.steps}
        write_whole(self.file, lambda path: torch.save(kept, path))
        return mean(losses) if losses else math.nan

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    def _step(self) -> float:
        rate = clocked_rate(self.config, self.steps, self.spent / self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(self.seed * 10**6 + self.steps)
        some, labels = (one.to(self.device) for one in self.draw())
        with autocast("bf16", self.device):
            loss = self.objective(some, labels, (some.shape[-2], some.shape[-1]))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.average.step(self.parameters)
        return loss.item()

    def averaged(self) -> None:
        """Take the averaged weights, for measuring."""
        self.average.copy_to(self.parameters)
        self.objective.eval()


def take_turns(trainings: Mapping[str, Turns], turn: float) -> None:
    """Train all, a turn of some seconds of one after another."""
    while any(one.spent < one.seconds for one in trainings.values()):
        for name, one in trainings.items():
            if one.spent < one.seconds:
                loss = one.turn(turn)
                print(f"{name}: {one.spent:.0f} s, {one.steps} steps, loss {loss:.4f}", flush=True)


def parser_of(description: str | None, *, seconds: float, output: Path, results: Path) -> argparse.ArgumentParser:
    """Return a parser of the options of every comparison by turns, of which these are defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--seconds", type=float, default=seconds, help="for each training")
    parser.add_argument("--turn", type=float, default=20, help="seconds of one after another")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--most", type=int, help="pictures to train on, and as many to test on; by default all")
    parser.add_argument("--count", type=int, default=500, help="generated pictures of each training and size")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--inference-steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="one, where others run too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=output, help="folder of states and sheets")
    parser.add_argument("--results", type=Path, default=results, help="folder of the figures")
    return parser
