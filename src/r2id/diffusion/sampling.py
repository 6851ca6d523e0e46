"""One step of sampling: predictions for a canvas, or for several as one set of samples, and what a scheduler makes of
them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from r2id.diffusion.guidance import guide
from r2id.diffusion.noise_field import Generators
from r2id.diffusion.prediction import velocity_of_sample
from r2id.diffusion.schedule import alpha_bar_of_step, start_scheduler
from r2id.diffusion.stages import LEAST_SIGNAL
from r2id.diffusion.windows import Windows
from r2id.geometry.canvas import Canvas, plain
from r2id.networks.compiling import nothing_queued_after_errors
from r2id.networks.diffuser import R2ID, Prediction


class Trajectory:
    """A sample on its way from noise to a picture, with a scheduler of its own for the density of its grid.

    Attributes:
        steps: those to take.

    Args:
        noise: [B, C, h, w].
        scheduler: as of a pipeline; it stays as it is.
        ratio: samples per sample of the grid that has the schedule's own noise.
        num_inference_steps: steps of the scheduler.
        generator: of the noise that some schedulers add.
        device: where it is computed.
        start: clean samples [B, C, h, w] to go on from at the first step whose ᾱ is LEAST_SIGNAL; by default it starts
            from noise.
    """

    def __init__(
        self,
        noise: Tensor,
        scheduler: Any,
        ratio: float,
        num_inference_steps: int,
        generator: Generators,
        device: torch.device | str,
        start: Tensor | None = None,
    ) -> None:
        self.scheduler = start_scheduler(scheduler, ratio, num_inference_steps, device)
        accepted = inspect.signature(self.scheduler.step).parameters
        self._step_arguments = {"generator": generator} if "generator" in accepted else {}
        # Some schedulers need initial values and differences beyond the range of half precision.
        noise = plain(noise).to(device, torch.float32)
        self.steps = range(0 if start is None else self._begin(), len(self.scheduler.timesteps))
        if start is None:
            self.sample = noise * self.scheduler.init_noise_sigma
        else:
            first = self.scheduler.timesteps[self.steps.start][None]
            self.sample = self.scheduler.add_noise(start.to(noise), noise, first)

    def _begin(self) -> int:
        """Let the scheduler begin at the first step with little noise, or else at its last, and return that step."""
        # Schedulers of a higher order take several steps between two times.
        steps = range(0, len(self.scheduler.timesteps), self.scheduler.order)
        begin = next((one for one in steps if alpha_bar_of_step(self.scheduler, one) >= LEAST_SIGNAL), steps[-1])
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(begin)
        return begin

    def noisy(self, step: int) -> tuple[Tensor, Tensor]:
        """Return x_t before a step, scaled to variance 1, and its ᾱ, [1]."""
        alpha_bar = alpha_bar_of_step(self.scheduler, step).reshape(1).to(self.sample.device)
        return self.scheduler.scale_model_input(self.sample, self.scheduler.timesteps[step]), alpha_bar

    def advance(self, step: int, prediction: Tensor, kind: Prediction) -> None:
        """Take a step with a prediction of this kind."""
        prediction = prediction.to(self.sample.dtype)
        if self.scheduler.config.prediction_type != kind:
            prediction = velocity_of_sample(prediction, *self.noisy(step))
        timestep = self.scheduler.timesteps[step]
        self.sample = self.scheduler.step(prediction, timestep, self.sample, **self._step_arguments).prev_sample


@nothing_queued_after_errors()
def predict(
    diffuser: R2ID,
    branches: Sequence[Tensor],
    guidance_scale: float,
    canvases: Sequence[Canvas],
    windows: Sequence[Windows] | None,
    samples: Sequence[Tensor],
    alpha_bars: Sequence[Tensor],
) -> Sequence[Tensor]:
    """Return a prediction for each canvas.

    Args:
        branches: tokens [B, T, D] of the conditions, and with guidance those of no condition too.
        windows: those that each canvas is predicted in; by default all are predicted as one set of samples.
        samples, alpha_bars: x_t [N·B, C, h, w], of N pictures for each condition, and its ᾱ [1] of each canvas.
    """
    if windows:
        whole = partial(predict, diffuser, branches, guidance_scale)

        def in_windows(one: Windows, sample: Tensor, alpha_bar: Tensor) -> Tensor:
            return one.blended(lambda some, _: whole([one.canvas], None, [some], [alpha_bar])[0], sample, alpha_bar)

        return list(map(in_windows, windows, samples, alpha_bars))
    samples = [sample.to(diffuser.dtype) for sample in samples]
    branches = [tokens.repeat(len(samples[0]) // len(tokens), 1, 1) for tokens in branches]
    if len(samples) > 1:
        predictions = diffuser.joint_branches(samples, alpha_bars, branches, canvases)
    else:
        predictions = [[one] for one in diffuser.guidance_branches(samples[0], alpha_bars[0], branches, canvases[0])]
    if len(branches) == 1:
        return predictions[0]
    return [guide(one, other, guidance_scale) for one, other in zip(*predictions, strict=True)]
