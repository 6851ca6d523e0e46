"""Options of the model and its sampling that commands share, and loading of the chosen model."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from r2id.diffusion.pipeline import R2Pipeline
    from r2id.networks.resampler import R2IR

from r2id.cli.parsing import parse_labels
from r2id.errors import InputError
from r2id.files.label_names import index_of_label, known_label, label_names, labels_like
from r2id.geometry.sizes import Size


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The model and its device."""

    model: str = "mnist"
    """A folder, bundled weights, or a Hugging Face hub id."""
    device: str | None = None
    """Device such as cpu or cuda; by default the GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class GeneratorChoice(ModelChoice):
    """The model, its device and its precision."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the networks: fp32 is float32 (on GPUs TensorFloat32); bf16 is faster, and pictures differ a
    little. A device without units for bf16 computes in float32."""


@dataclass(frozen=True, kw_only=True)
class Sampling(GeneratorChoice):
    """The model and its sampling options."""

    num_inference_steps: int | None = None
    """Denoising steps; by default the model's own."""
    guidance_scale: float | None = None
    """Strength of classifier-free guidance, 1 for none; by default the model's own."""
    guidance_interval: tuple[float, float] | None = None
    """Times, from 0 (clean) to 1 (noise), between which guidance is applied; by default the model's own."""


@dataclass(frozen=True, kw_only=True)
class RequestedSampling(Sampling):
    """The sampling options, and a model that `chosen_model` takes from what is asked."""

    model: str | None = None  # type: ignore[assignment]
    """A folder, bundled weights, or a Hugging Face hub id. By default emoji for a prompt, flowers for its classes and
    to continue a picture in colour, and mnist for all else."""


def chosen_model(
    model: str | None, labels: str | None, prompts: Sequence[str], picture: Image.Image | None = None
) -> str:
    """Return the model that is given, or the bundled one for what is asked.

    That is emoji for prompts. Else it is flowers for a `picture` to continue that has colour, and mnist for a grey one
    or none. If it does not know the labels and the other of both does, it is that one. Raises InputError if neither
    does.
    """
    from r2id.files.images import has_colour

    if model is not None:
        return model
    if prompts:
        return "emoji"
    defaults = ("flowers", "mnist") if picture and has_colour(picture) else ("mnist", "flowers")
    if labels is None:
        return defaults[0]
    unknown = {one: _unknown(one, labels) for one in defaults}
    for one, wrong in unknown.items():
        if not wrong:
            return one
    each = [
        f"{one} lacks {wrong[0][:40]!r} and knows {labels_like(wrong[0], label_names(one) or (), one)}"
        for one, wrong in unknown.items()
    ]
    raise InputError(
        f"no bundled model has all labels: {'; '.join(each)}; give another by --model, or words by --prompt"
    )


def choose_device(name: str | None, precision: str = "fp32") -> torch.device:
    """Return the named device, by default the GPU if there is one; print a line if it lacks the precision."""
    import torch

    from r2id.runtime.devices import allow_tensor_float32, usable_device
    from r2id.runtime.precision import REPLACED, usable_precision
    from r2id.runtime.processes import Share

    allow_tensor_float32()
    # Each process on a machine takes its own GPU.
    default = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    device = usable_device(name or default)
    if usable_precision(precision, device) != precision and Share.of_this_process().index == 0:
        print(f"r2id: {REPLACED}", file=sys.stderr)
    return device


def hide_loading_bars() -> None:
    """Switch off progress bars for loading weights, which is fast here."""
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if diffusers.utils.is_transformers_available():
        from transformers.utils import logging

        logging.disable_progress_bar()


def _unknown(model: str, labels: str) -> list[str]:
    """Return those of the labels that a model does not know."""
    known = label_names(model) or ()
    return [label for label in parse_labels(labels, known) if not known_label(label, known)]


def check_label(model: str, label: str | None) -> None:
    """Raise InputError for a label that a model in a folder does not know, before its weights are loaded."""
    known = label_names(model)
    if known and label is not None:
        index_of_label(label, known)


def check_labels(model: str, labels: str | None) -> None:
    """Raise InputError as `check_label` does, for any of the labels of `parse_labels`."""
    for label in parse_labels(labels, label_names(model) or ()) if labels is not None else ():
        check_label(model, label)


def load_pipeline(model: str, device: str | None = None, precision: str = "fp32", compile: bool = False) -> R2Pipeline:
    """Load a pipeline to the device of `choose_device`, with a compiled step if `compile` is set."""
    from r2id.diffusion.pipeline import R2Pipeline

    hide_loading_bars()
    pipeline = R2Pipeline.from_pretrained(model).to(choose_device(device, precision))
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty(), desc="denoising", leave=False)
    if compile:
        pipeline.compile()
        print("r2id: the first steps compile, for a minute or more; later ones are faster", file=sys.stderr)
    return pipeline


def is_network(name: str) -> bool:
    """Return whether a folder or bundled weights are a network alone, such as an R2IR, and no pipeline."""
    from r2id.files.models import model_folder

    folder = model_folder(name, "config.json")
    return (folder / "config.json").is_file() and not (folder / "model_index.json").exists()


def load_resampler(model: str, device: str | None = None, precision: str = "fp32") -> R2IR:
    """Load the R2IR of a pipeline, or one that a folder holds alone, to the device of `choose_device`."""
    return load_encoder(model, None, device, precision)[0]


def load_encoder(
    model: str, latent_size: Size | None, device: str | None = None, precision: str = "fp32"
) -> tuple[R2IR, Size | None]:
    """Return the R2IR of `load_resampler` and the latent size to encode to, by default the model's own.

    A pyramid has none of its own: a picture has as many latents as its pixels need.
    """
    from r2id.networks.resampler import R2IR

    if is_network(model):
        hide_loading_bars()
        resampler = R2IR.from_pretrained(model).to(choose_device(device, precision))
        own = None if resampler.is_pyramid else (resampler.config.latent_size,) * 2
        return resampler, latent_size or own
    pipeline = load_pipeline(model, device, precision)
    if pipeline.resampler is None:
        raise InputError(f"model {model} works on pixels and has no resampler")
    if pipeline.resampler.is_pyramid:
        return pipeline.resampler, latent_size
    return pipeline.resampler, latent_size or pipeline.generation_defaults.latent_size
