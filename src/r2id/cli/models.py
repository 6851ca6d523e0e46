"""Which model runs, where and how: options that commands share, and loading what they choose."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import torch

    from r2id.diffusion.defaults import GenerationDefaults
    from r2id.diffusion.pipeline import R2Pipeline
    from r2id.networks.resampler import R2IR


from r2id.errors import InputError
from r2id.geometry.sizes import Size


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model runs, where and how."""

    model: str = "mnist"
    """A folder, bundled weights, or a Hugging Face hub id."""
    device: str | None = None
    """Device such as cpu or cuda; by default the GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class GeneratorChoice(ModelChoice):
    """Which model makes pictures, where and how."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the networks: fp32 is float32 (on GPUs TensorFloat32); bf16 is faster, and pictures differ a
    little. A device without units for bf16 computes in float32."""


@dataclass(frozen=True, kw_only=True)
class Sampling(GeneratorChoice):
    """How to denoise."""

    num_inference_steps: int | None = None
    """Denoising steps; by default the model's own."""
    guidance_scale: float | None = None
    """Strength of classifier-free guidance, 1 for none; by default the model's own."""
    guidance_interval: tuple[float, float] | None = None
    """From which to which time, 0 clean to 1 noise, guidance is applied; by default the model's own."""

    def filled(self, defaults: GenerationDefaults) -> Self:
        """The same with a model's own values where none are given."""
        return replace(self, **defaults.fill(self.arguments))

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the pipeline's call."""
        return {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "guidance_interval": self.guidance_interval,
        }


def choose_device(choice: ModelChoice) -> torch.device:
    """The chosen device, by default the GPU if there is one; says so where it lacks the precision that was chosen."""
    import torch

    from r2id.runtime.devices import allow_tensor_float32, usable_device
    from r2id.runtime.precision import REPLACED, usable_precision
    from r2id.runtime.processes import Share

    allow_tensor_float32()
    # Of several processes on one machine, each takes its own GPU.
    default = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    device = usable_device(choice.device or default)
    lacking = isinstance(choice, GeneratorChoice) and usable_precision(choice.precision, device) != choice.precision
    if lacking and Share.of_this_process().index == 0:
        print(f"r2id: {REPLACED}", file=sys.stderr)
    return device


def hide_loading_bars() -> None:
    """No progress bars for loading weights, which takes no time here."""
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if diffusers.utils.is_transformers_available():
        from transformers.utils import logging

        logging.disable_progress_bar()


def load_pipeline(choice: ModelChoice) -> R2Pipeline:
    """The chosen pipeline on its device."""
    from r2id.diffusion.pipeline import R2Pipeline

    hide_loading_bars()
    device = choose_device(choice)
    pipeline = R2Pipeline.from_pretrained(choice.model).to(device)
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty(), desc="denoising", leave=False)
    return pipeline


def is_resampler(name: str) -> bool:
    """Whether a folder holds an R2IR alone, as `r2id train resampler` writes it, rather than a whole pipeline."""
    return (Path(name) / "config.json").is_file() and not (Path(name) / "model_index.json").exists()


def load_resampler(choice: ModelChoice) -> R2IR:
    """The R2IR of a pipeline, or the one that a folder holds alone, on the chosen device."""
    return load_encoder(choice, None)[0]


def load_encoder(choice: ModelChoice, latent_size: Size | None) -> tuple[R2IR, Size]:
    """The R2IR of `load_resampler`, and the size of the latents to encode to, by default the model's own."""
    from r2id.networks.resampler import R2IR

    if is_resampler(choice.model):
        resampler = R2IR.from_pretrained(choice.model).to(choose_device(choice))
        return resampler, latent_size or (resampler.config.latent_size,) * 2
    pipeline = load_pipeline(choice)
    if pipeline.resampler is None:
        raise InputError(f"model {choice.model} works on pixels and has no resampler")
    return pipeline.resampler, latent_size or pipeline.generation_defaults.latent_size


def autocast(device: torch.device, choice: GeneratorChoice) -> torch.autocast:
    """The precision that was chosen, as a context."""
    from r2id.runtime.precision import autocast

    return autocast(choice.precision, device)
