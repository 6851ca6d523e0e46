"""Benchmark cases: each function builds one piece of work, of this project, of a peer network or of the baseline.

Peers come from diffusers. They have random weights, about as many parameters as this project's network, and the same
work. Both run in bfloat16 by default, and in float32 on a device without bfloat16 multiplication.

The baseline is this project's network run as the published one: eagerly in float32, with all samples or pixels at once,
neighbourhoods summed at every query, and the whole network once for each branch of the guidance.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import numpy
import torch
from other_networks import CHANNELS, autoencoder, dit, sana, unet
from PIL import Image
from torch import Tensor

from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.pipeline import R2Pipeline
from r2id.fields.splats import SplatField
from r2id.files.images import as_levels
from r2id.files.large_writer import write_large
from r2id.geometry.sizes import Size
from r2id.geometry.splats import Splats
from r2id.networks.compiling import compile_network
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.progress import unseen
from r2id.training.objectives import DiffusionObjective, Objective, ReconstructionObjective
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.setup import network_arguments

Work = Callable[[], object]
GUIDANCE = 4.0
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def half_dtype() -> torch.dtype:
    """bfloat16, or what stands in for it: what peers' weights are in.

    No constant: to ask for what a GPU can do starts CUDA in this process, after which it cannot be forked.
    """
    return torch.bfloat16 if usable_precision("bf16", DEVICE) == "bf16" else torch.float32


@contextmanager
def plainly() -> Iterator[None]:
    """Switch off what makes this project's networks fast."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        # Some times as many, on a GPU, must be a number of torch's, too.
        stack.enter_context(patch("r2id.networks.diffuser.SAMPLES_AT_ONCE", 1 << 40))
        stack.enter_context(patch("r2id.networks.attention.PLACES_PER_COSINE", sys.maxsize))
        yield


@contextmanager
def separate_branches() -> Iterator[None]:
    """Once through the whole network for each branch of the guidance."""
    together = R2ID.guidance_branches

    def apart(self: R2ID, sample: Tensor, alpha_bar: Tensor, branches: Any, canvas: Any = None) -> tuple[Tensor, ...]:
        return tuple(together(self, sample, alpha_bar, [one], canvas)[0] for one in branches)

    with patch.object(R2ID, "guidance_branches", apart):
        yield


def ours() -> R2Pipeline:
    """The bundled model."""
    diffusers.utils.logging.disable_progress_bar()
    return R2Pipeline.from_pretrained("mnist").to(DEVICE)


# One guided denoising step.


def guided_step(network: str, side: int) -> Work:
    """Both branches of one guided denoising step on side × side latents of 64 channels."""
    return STEPS[network](side)


def _r2id_step(side: int, precision: str) -> Work:
    pipeline = ours()
    sample, alpha_bar, tokens = _step_inputs(pipeline, side)

    def work() -> Tensor:
        with torch.inference_mode(), autocast(precision, DEVICE):
            return _guided(*pipeline.diffuser.guidance_branches(sample, alpha_bar, tokens, (1, 1)))

    return work


def compiled_step(side: int, mode: str = "default") -> Work:
    """R2ID's step through torch.compile. The first call compiles."""
    pipeline = ours()
    sample, alpha_bar, tokens = _step_inputs(pipeline, side)
    branches = torch.compile(pipeline.diffuser.guidance_branches, mode=mode, dynamic=False)

    def work() -> Tensor:
        with torch.inference_mode(), autocast("bf16", DEVICE):
            return _guided(*branches(sample, alpha_bar, tokens, (1, 1)))

    return work


def batch_step(kind: str, pictures: int) -> Work:
    """A guided step of pictures at 8 × 8 latents in float32, "eager", or "compiled" as by `R2Pipeline.compile`.

    The first call of a compiled one compiles.
    """
    pipeline = ours()
    sample, alpha_bar, tokens = _step_inputs(pipeline, 8)
    sample, tokens = sample.repeat(pictures, 1, 1, 1), [one.repeat(pictures, 1, 1) for one in tokens]
    if kind == "compiled":
        pipeline.compile()

    def work() -> Tensor:
        with torch.inference_mode():
            return _guided(*pipeline.diffuser.guidance_branches(sample, alpha_bar, tokens, (1, 1)))

    return work


def _plain_step(side: int) -> Work:
    pipeline = ours()
    sample, alpha_bar, tokens = _step_inputs(pipeline, side)

    def work() -> Tensor:
        with plainly(), separate_branches():
            return _guided(*pipeline.diffuser.guidance_branches(sample, alpha_bar, tokens, (1, 1)))

    return work


def _step_inputs(pipeline: R2Pipeline, side: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    sample = torch.randn(1, CHANNELS, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, pipeline.conditioner.no_label], device=DEVICE)
    with torch.no_grad():
        tokens = list(pipeline.conditioner(labels).split(1))
    return sample.to(DEVICE), torch.full((1,), 0.3, device=DEVICE), tokens


def _guided(given: Tensor, without: Tensor) -> Tensor:
    return without + GUIDANCE * (given - without)


def _peer_step(build: Callable[[int], Any], arguments: dict[str, Tensor]) -> Callable[[int], Work]:
    """A peer's step: both branches as a batch of two, as its pipeline does."""

    def begin(side: int) -> Work:
        dtype = half_dtype()
        network = build(side).to(DEVICE, dtype).eval()
        sample = torch.randn(2, CHANNELS, side, side, generator=torch.Generator().manual_seed(0))
        inputs = {"sample" if build is unet else "hidden_states": sample, **arguments}
        inputs = {name: one.to(DEVICE, dtype if one.is_floating_point() else None) for name, one in inputs.items()}

        def work() -> Tensor:
            with torch.inference_mode():
                return _guided(*network(**inputs).sample.chunk(2))

        return work

    return begin


_TIME, _LABELS = torch.tensor([500, 500]), torch.tensor([3, 10])
STEPS: dict[str, Callable[[int], Work]] = {
    "R2ID": lambda side: _r2id_step(side, "bf16"),
    "R2ID, compiled": compiled_step,
    "R2ID, float32": lambda side: _r2id_step(side, "fp32"),
    "R2ID, baseline": _plain_step,
    "DiT": _peer_step(dit, {"timestep": _TIME, "class_labels": _LABELS}),
    "Sana": _peer_step(sana, {"timestep": _TIME, "encoder_hidden_states": torch.zeros(2, 2, 192)}),
    "UNet": _peer_step(unet, {"timestep": _TIME, "class_labels": _LABELS}),
}


# Decoding and encoding.


def decode(method: str, side: int) -> Work:
    """One picture of side × side from an 8 × 8 latent, or what a peer has in its place, to 8-bit pixels."""
    return DECODERS[method](side)


def _r2ir_decode(side: int, precision: str) -> Work:
    resampler, latent = _latent()

    def work() -> Any:
        with torch.inference_mode(), autocast(precision, DEVICE):
            return as_levels(resampler.decode(latent, (side, side))[0])

    return work


def _plain_decode(side: int) -> Work:
    resampler, latent = _latent()

    def work() -> Any:
        with plainly():
            return as_levels(resampler.field(latent).render((side, side), pixels_at_once=side * side)[0])

    return work


def _latent() -> tuple[Any, Tensor]:
    latent = torch.randn(1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0)).tanh()
    return ours().resampler, latent.to(DEVICE)


def _autoencoder_decode(side: int) -> Work:
    network = autoencoder().to(DEVICE, half_dtype()).eval()
    latent = torch.zeros(1, 4, side // 8, side // 8, device=DEVICE, dtype=half_dtype())

    def work() -> Any:
        with torch.inference_mode():
            return as_levels(network.decode(latent).sample[0])

    return work


def _lanczos(side: int) -> Work:
    picture = Image.fromarray(numpy.arange(1024, dtype=numpy.uint8).reshape(32, 32))
    return lambda: picture.resize((side, side), Image.Resampling.LANCZOS)


DECODERS: dict[str, Callable[[int], Work]] = {
    "R2IR": lambda side: _r2ir_decode(side, "bf16"),
    "R2IR, float32": lambda side: _r2ir_decode(side, "fp32"),
    "R2IR, baseline": _plain_decode,
    "AutoencoderKL": _autoencoder_decode,
    "Lanczos resize": _lanczos,
}


def decode_to_file(side: int) -> Work:
    """One picture of side × side from an 8 × 8 latent, tile by tile into a file."""
    resampler, latent = _latent()

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), autocast("bf16", DEVICE):
            field = resampler.field(latent)
            write_large(field, (side, side), None, Path(folder) / "picture.tif", {}, unseen)

    return work


def render(kind: str) -> Work:
    """256 × 256 pixels: out of the middle of a picture of 16384 × 16384, or a picture of that size."""
    resampler, latent = _latent()
    middle = 16384 // 2 - 128
    whole, region = ((16384, 16384), (middle, middle, middle + 256, middle + 256))
    arguments = (whole, region) if kind == "region" else ((256, 256),)

    def work() -> Tensor:
        with torch.inference_mode(), autocast("bf16", DEVICE):
            return resampler.field(latent).render(*arguments)

    return work


def render_splats(count: int, side: int) -> Work:
    """One picture of side × side of `count` splats, as large as tokens of a square grid have them."""
    generator = torch.Generator().manual_seed(0)
    numbers = (torch.rand(1, count, 7, generator=generator) - 0.5).to(DEVICE)
    centres, shapes, colours, weights = numbers.split([2, 3, 1, 1], -1)
    shapes[..., 0] += math.log(0.5 / count**0.5)
    field = SplatField(Splats(centres, shapes, 2 * colours, weights[..., 0], (1, 1)))

    def work() -> Any:
        with torch.inference_mode():
            return as_levels(field.render((side, side))[0])

    return work


def encode(method: str, side: int) -> Work:
    """An image of side × side to an 8 × 8 latent, or to a peer's latent of an eighth."""
    image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)).to(DEVICE) * 2 - 1
    if method == "AutoencoderKL":
        network, image = autoencoder().to(DEVICE, half_dtype()).eval(), image.to(half_dtype())
        call = lambda: network.encode(image).latent_dist.mean  # noqa: E731
    else:
        resampler = ours().resampler
        call = lambda: resampler.encode(image, (8, 8))  # noqa: E731

    def work() -> Tensor:
        if method.endswith("baseline"):
            with patch("r2id.networks.resampler.CHUNK_PIXELS", sys.maxsize), plainly():
                return call()
        with torch.inference_mode(), autocast("bf16" if method == "R2IR" else "fp32", DEVICE):
            return call()

    return work


# Training.


def training_step(network: str, batch: int) -> Work:
    """One optimiser step on `batch` images of 32 × 32, at 8 × 8 latents: as preset mnist trains, or the baseline."""
    plain = network.endswith("baseline")
    pipeline = ours()
    objective: Objective
    if network.startswith("R2IR"):
        recipe = RESAMPLER_PRESETS["mnist"]
        trained: Any = pipeline.resampler
        share = 1.0 if plain else recipe.pixel_share
        objective = ReconstructionObjective(trained, recipe.latent_noise, share, recipe.latent_jitter)
    else:
        trained = pipeline.diffuser
        objective = DiffusionObjective(R2Pipeline(trained, pipeline.conditioner, pipeline.resampler), 0.1)
    if not plain:
        compile_network(trained)
    return _optimiser_step(objective, torch.rand(batch, 1, 32, 32), (8, 8), "fp32" if plain else "bf16")


def _optimiser_step(objective: Objective, images: Tensor, latent_size: Size, precision: str) -> Work:
    objective.to(DEVICE).train()
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    images = images.to(DEVICE) * 2 - 1
    labels = torch.arange(len(images), device=DEVICE) % 10

    def work() -> None:
        with autocast(precision, DEVICE):
            loss = objective(images, labels, latent_size)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return work


# RGB pictures at a sixteenth of their height and width.


def rgb(work: str, batch: int) -> Work:
    """Work of preset rgb-16x's networks, untrained, on `batch` pictures of 256 × 256."""
    resampler, diffuser, conditioner = rgb_networks()
    if work == "R2IR, training step":
        objective = ReconstructionObjective(resampler, 0.05, RESAMPLER_PRESETS["rgb-16x"].pixel_share)
        return _optimiser_step(objective, torch.rand(batch, 3, 256, 256), (16, 16), "bf16")
    if work == "R2ID, training step":
        objective = DiffusionObjective(R2Pipeline(diffuser, conditioner, resampler), 0.1)
        return _optimiser_step(objective, torch.rand(batch, 3, 256, 256), (16, 16), "bf16")
    latents = torch.randn(batch, 768, 16, 16, device=DEVICE)
    alpha_bar, labels = torch.full((batch,), 0.3, device=DEVICE), torch.zeros(batch, dtype=torch.long, device=DEVICE)

    def guided() -> Tensor:
        tokens = [conditioner(labels), conditioner(labels + 1)]
        return _guided(*diffuser.guidance_branches(latents, alpha_bar, tokens))

    calls = {"guided step": guided, "decode": lambda: resampler.decode(latents, (256, 256))}

    def infer() -> object:
        with torch.inference_mode(), autocast("bf16", DEVICE):
            return calls[work]()

    return infer


def rgb_networks() -> tuple[R2IR, R2ID, LabelConditioner]:
    """R2IR, R2ID and its conditioner, as preset rgb-16x builds them."""
    resampler = R2IR(image_channels=3, **network_arguments(RESAMPLER_PRESETS["rgb-16x"].model))
    arguments = network_arguments(DIFFUSER_PRESETS["rgb-16x"].model)
    diffuser = R2ID(channels=resampler.config.latent_channels, canvas=(256, 256), **arguments)
    conditioner = LabelConditioner(dim=diffuser.config.token_dim)
    return tuple(network.to(DEVICE).eval() for network in (resampler, diffuser, conditioner))


RGB = ("R2IR, training step", "R2ID, training step", "guided step", "decode")
"""What `rgb` measures."""


def parameters(*networks: Any) -> int:
    """Parameters of networks."""
    return sum(parameter.numel() for network in networks for parameter in network.parameters())
