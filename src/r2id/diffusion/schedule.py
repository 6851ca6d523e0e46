"""Noise schedules on grids of any density, and schedulers of diffusers (design §2)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from copy import deepcopy
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.density import density, shift_noise

SIGMA_OPTIONS = ("use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas")
"""Options of diffusers' schedulers that give noise levels between whole timesteps."""


def check_scheduler(scheduler: Any, prediction_type: str, num_inference_steps: int) -> None:
    """Raise InputError if a scheduler cannot sample a network of this `prediction_type` in this number of steps."""
    name, config = type(scheduler).__name__, scheduler.config
    accepted = "take DDIM, DPM-Solver++, Euler or another of a variance-preserving process"
    if not hasattr(scheduler, "alphas_cumprod"):
        raise InputError(f"scheduler {name} is not of a variance-preserving process; {accepted}")
    parameters = inspect.signature(scheduler.step).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD][3:]
    obstacles = {
        "goes from pictures to noise": "Inverse" in name,
        f"needs {', '.join(needed)} at every step": needed,
        "has a noise schedule that cannot be set": "trained_betas" not in config,
        "with use_flow_sigmas is not of a variance-preserving process": config.get("use_flow_sigmas"),
        # They are spread evenly over σ up to thousands, while pictures form in its last few units.
        "with use_beta_sigmas spends nearly all steps on pure noise": config.get("use_beta_sigmas"),
    }
    for obstacle, present in obstacles.items():
        if present:
            raise InputError(f"scheduler {name} {obstacle}; {accepted}")
    if not isinstance(num_inference_steps, Integral) or not 1 <= num_inference_steps <= config.num_train_timesteps:
        raise InputError(
            f"num_inference_steps is {num_inference_steps!r}; "
            f"it must be a whole number from 1 to {config.num_train_timesteps}"
        )
    if config.prediction_type not in (prediction_type, scheduler_prediction(prediction_type)):
        raise InputError(
            f"scheduler {name} expects prediction_type {config.prediction_type!r} and the model gives "
            f"{prediction_type!r}; make it from_config(pipeline.scheduler.config)"
        )


def scheduler_prediction(prediction_type: str) -> str:
    """Return the prediction_type of schedulers for a network of this one. Few of diffusers' schedulers take a clean
    sample, and all take the velocity that follows from it."""
    return "v_prediction" if prediction_type == "sample" else prediction_type


def shift_scheduler(scheduler: Any, ratio: float) -> Any:
    """Return a copy of a diffusers scheduler whose noise at every timestep is shifted by `shift_noise`."""
    if ratio == 1:
        return deepcopy(scheduler)
    alpha_bar = shift_noise(scheduler.alphas_cumprod.double(), ratio)
    alphas = alpha_bar.clone()
    alphas[1:] /= alpha_bar[:-1]
    # The table already contains the effect of these settings.
    done = {"rescale_betas_zero_snr": False, "snr_shift_scale": 1.0}
    settings = {name: value for name, value in done.items() if name in scheduler.config}
    return type(scheduler).from_config(scheduler.config, trained_betas=(1 - alphas).tolist(), **settings)


def start_scheduler(scheduler: Any, ratio: float, num_inference_steps: int, device: torch.device | str) -> Any:
    """Return a shifted copy of a scheduler, ready for its first step. Raises InputError if it has no such schedule."""
    scheduler = shift_scheduler(scheduler, ratio)
    name = type(scheduler).__name__
    if name == "HeunDiscreteScheduler" and not any(scheduler.config.get(option) for option in SIGMA_OPTIONS):
        # Its first step would average the slopes at almost pure noise and far below, and amplify their difference by
        # thousands.
        scheduler.register_to_config(timestep_spacing="leading")
    try:
        scheduler.set_timesteps(num_inference_steps, device=device)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"scheduler {name} has no schedule of {num_inference_steps} steps ({reason}); take more or fewer"
        ) from error
    if not scheduler.timesteps.isfinite().all():
        raise InputError(f"scheduler {name} has no schedule of {num_inference_steps} steps; take more")
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise it searches for the first timestep, which may occur more than once.
        scheduler.set_begin_index(0)
    return scheduler


def alpha_bar_of_step(scheduler: Any, step: int) -> Tensor:
    """Return the signal's share of the variance in the sample of the `step`-th call of `scheduler.step`."""
    timestep = scheduler.timesteps[step]
    by_timestep = not any(scheduler.config.get(option) for option in SIGMA_OPTIONS) and timestep % 1 == 0
    if by_timestep or getattr(scheduler, "sigmas", None) is None:
        return alpha_bar_at(scheduler, timestep)
    scale = scheduler.scale_model_input(torch.ones((), dtype=torch.float64), timestep)
    # The scheduler scales samples of variance 1 + σ² to 1; others have variance 1 already.
    return scale.square().float() if scale != 1 else 1 / (1 + scheduler.sigmas[step].square())


def alpha_bar_at(scheduler: Any, timestep: Tensor) -> Tensor:
    """Return the signal's share of the variance at a timestep, interpolated between whole timesteps."""
    table = scheduler.alphas_cumprod.to(timestep.device)
    below = timestep.float().floor().clamp(0, len(table) - 1)
    above = (below + 1).clamp(max=len(table) - 1)
    return torch.lerp(table[below.long()], table[above.long()], timestep.float() - below)


def logit_normal_time(share: Tensor, mean: float, std: float) -> Tensor:
    """Return the times in [0, 1] below which a `share` of a logit-normal distribution lies (Esser et al. 2024,
    arXiv:2403.03206).

    Their time is that of a mixture (1 − τ)·x + τ·ε. Its logit is the logarithm of the ratio of noise to signal, with
    mean `mean` and standard deviation `std`. Here that ratio is tan(πt/2), so
    t = (2/π)·arctan exp(mean + std·Φ⁻¹(share)).
    """
    return torch.arctan(torch.exp(mean + std * torch.special.ndtri(share))) * (2 / math.pi)


def cosine_alpha_bar(time: Tensor, size: Sequence[int], reference_size: int | None) -> Tensor:
    """Return cos²(πt/2) at times in [0, 1], shifted by the density of a grid of `size`: the training schedule."""
    unshifted = torch.cos(time * (math.pi / 2)).square()
    return shift_noise(unshifted, density(size, reference_size))
