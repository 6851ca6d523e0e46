"""Both networks as ONNX graphs, for sampling without torch (docs/export.md)."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import torch
from torch import Tensor, nn

from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.guidance import guide
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.fields.image_field import ImageField
from r2id.files.atomic import fill_folder
from r2id.geometry.coordinates import Grid
from r2id.geometry.sizes import Size
from r2id.networks.attention import LocalKernelAttention
from r2id.networks.diffuser import R2ID
from r2id.networks.local import LocalDecoder
from r2id.networks.resampler import R2IR

TOLERANCE = 1e-3
"""Largest accepted difference between a graph in ONNX Runtime and the network in torch."""


class Decoder(nn.Module):
    """`R2IR.decode` of any rows and columns of a picture, as a function of tensors only."""

    def __init__(self, resampler: R2IR) -> None:
        super().__init__()
        decoder = resampler.decoder
        self.decoder: Any = _SpreadingDecoder(decoder) if isinstance(decoder, LocalDecoder) else decoder
        self.sample_size, self.channels = resampler.config.sample_size, resampler.config.image_channels

    def forward(self, latents: Tensor, size: Tensor, rows: Tensor, columns: Tensor, canvas: Tensor) -> Tensor:
        """Return pixels [B, C, H, W] in (−1, 1).

        Args:
            latents: [B, latent_channels, h, w] in [−1, 1].
            size: height and width of the whole picture in pixels, int64 [2].
            rows, columns: indices of the pixels to decode, int64 [H] and [W].
            canvas: proportions of the picture, height and width, int64 [2].
        """
        source = Grid.of_size((latents.shape[-2], latents.shape[-1]), tuple(canvas.tolist()))
        field = ImageField(self.decoder, latents.movedim(1, -1), source, self.sample_size, self.channels)
        height, width = size.tolist()
        return field.pixels((height, width), rows, columns)


class _SpreadingDecoder(nn.Module):
    """A LocalDecoder with a fixed order of products, which it would otherwise choose by sizes unknown to a graph."""

    def __init__(self, decoder: LocalDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def summarise(self, values: Tensor, source: Grid) -> tuple[Tensor, Grid]:
        latents, source = self.decoder.summarise(values, source)
        return self.decoder.neighbourhood.spread(latents), source

    def read(self, summary: tuple[Tensor, Grid], query: Grid) -> Tensor:
        near = self.decoder.neighbourhood.read(*summary, query, order=(1, 0))
        return self.decoder.colours(near, query)


class _SummarisingAttention(nn.Module):
    """A LocalKernelAttention that sums at every query, where it would choose the places by sizes and proportions."""

    def __init__(self, attention: LocalKernelAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, values: Tensor, source: Grid, query: Grid) -> Tensor:
        return self.attention.answer(self.attention.summarise_at(query, values, source), query)


class Diffuser(nn.Module):
    """A prediction of R2ID with classifier-free guidance from labels, as a function of tensors only."""

    def __init__(self, diffuser: R2ID, conditioner: LabelConditioner) -> None:
        super().__init__()
        self.diffuser, self.conditioner = diffuser, conditioner

    def forward(
        self, sample: Tensor, alpha_bar: Tensor, labels: Tensor, guidance_scale: Tensor, canvas: Tensor
    ) -> Tensor:
        """Return the prediction [B, C, h, w], of the model's `prediction_type`.

        Args:
            sample: x_t, [B, C, h, w].
            alpha_bar: ᾱ of each sample, [B] in [0, 1].
            labels: indices of the labels, int64 [B].
            guidance_scale: strength of guidance, []; 1 turns it off.
            canvas: proportions of the picture, height and width, int64 [2].
        """
        without = torch.full_like(labels, self.conditioner.no_label)
        branches = [self.conditioner(labels), self.conditioner(without)]
        guided, unguided = self.diffuser.guidance_branches(sample, alpha_bar, branches, tuple(canvas.tolist()))
        return guide(guided, unguided, guidance_scale)


def export_onnx(pipeline: R2Pipeline, folder: Path) -> dict[str, float]:
    """Write a pipeline's networks as ONNX graphs in float32, with the settings of a sampler.

    The folder then holds diffuser.onnx (`Diffuser.forward`), decoder.onnx (`Decoder.forward`), except for a model of
    pixels, and model.json (docs/export.md). Each graph is first compared with torch in ONNX Runtime, at sizes other
    than those of its tracing.

    Returns:
        The largest difference from torch, of values around 1, by file name.
    Raises:
        InputError: for a model of texts, latents that are splats or a pyramid's, or a scheduler that is not of a
            variance-preserving process.
        RuntimeError: if a graph differs from torch by more than TOLERANCE.
    """
    if pipeline.shows_texts:
        raise InputError("this model shows texts, whose encoder is not exported; give a model of labels")
    if pipeline.resampler and pipeline.resampler.is_pyramid:
        raise InputError("the decoder of a pyramid is not exported; give a model such as mnist")
    if pipeline.resampler and pipeline.resampler.has_splats:
        raise InputError(
            "the latents of this model are splats, which no ONNX graph renders; r2id sample --output FILE.svg, .ply or "
            ".npz writes them for use without torch"
        )
    pipeline.check_scheduler(1)
    graphs = [_diffuser_graph(pipeline)]
    if pipeline.resampler:
        graphs.append(_decoder_graph(pipeline.resampler))
    differences = {}

    def write(temporary: Path) -> None:
        for graph in graphs:
            graph.write(temporary / graph.name)
            differences[graph.name] = graph.difference(temporary / graph.name)
        (temporary / "model.json").write_text(json.dumps(_description(pipeline)))

    fill_folder(folder, write)
    return differences


class _Graph(NamedTuple):
    """A module to trace, with example inputs.

    Attributes:
        name: file name.
        module: the function.
        output: name of its result.
        axes: for every input, the dynamic axes and their names.
        examples: arguments; the first are for tracing, the others for comparison.
    """

    name: str
    module: nn.Module
    output: str
    axes: dict[str, dict[int, str]]
    examples: Sequence[tuple[Tensor, ...]]

    def write(self, path: Path) -> None:
        dynamic = {name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in self.axes.items()}
        # With gradients, R2ID does not split samples into chunks, whose number would depend on the size.
        with _quiet(), torch.enable_grad():
            # The exporter would first try non-strict tracing, which treats the length of a tensor as constant.
            program = torch.export.export(self.module, self.examples[0], dynamic_shapes=dynamic, strict=True)
            torch.onnx.export(
                program,
                (),
                path,
                input_names=list(self.axes),
                output_names=[self.output],
                dynamic_shapes=self.axes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )

    def difference(self, path: Path) -> float:
        """Return the largest difference between the file in ONNX Runtime and torch."""
        session = onnxruntime.InferenceSession(path)
        largest = 0.0
        for example in self.examples[1:]:
            named = {name: value.numpy() for name, value in zip(self.axes, example, strict=True)}
            (found,) = session.run(None, named)
            with torch.no_grad():
                expected = self.module(*example)
            largest = max(largest, float((torch.from_numpy(found) - expected).abs().max()))
        if not largest <= TOLERANCE:
            raise RuntimeError(f"{self.name} differs from torch by {largest:.2g}, more than {TOLERANCE}")
        return largest


def _diffuser_graph(pipeline: R2Pipeline) -> _Graph:
    diffuser, conditioner = map(_in_full_precision, (pipeline.diffuser, pipeline.conditioner))
    diffuser.convolves = False
    if diffuser.neighbourhood:
        diffuser.neighbourhood = _SummarisingAttention(diffuser.neighbourhood)
    channels, labels = pipeline.diffuser.config.channels, len(pipeline.conditioner.label_names)

    def example(batch: int, size: Size, guidance_scale: float, canvas: Size) -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(batch)
        sample = torch.randn(batch, channels, *size, generator=random)
        alpha_bar = torch.rand(batch, generator=random)
        return sample, alpha_bar, torch.arange(batch) % labels, torch.tensor(guidance_scale), torch.tensor(canvas)

    return _Graph(
        name="diffuser.onnx",
        module=Diffuser(diffuser, conditioner),
        output="prediction",
        axes={
            "sample": {0: "batch", 2: "height", 3: "width"},
            "alpha_bar": {0: "batch"},
            "labels": {0: "batch"},
            "guidance_scale": {},
            "canvas": {},
        },
        examples=[
            example(2, (5, 7), 4.0, (3, 4)),
            example(3, (8, 8), 3.5, (1, 1)),
            example(1, (4, 10), 1.0, (27, 18)),
            example(4, (1, 1), 2.0, (5, 3)),
        ],
    )


def _decoder_graph(resampler: R2IR) -> _Graph:
    def example(batch: int, latent_size: Size, size: Size, canvas: Size, region: Sequence[int]) -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(batch)
        latents = torch.rand(batch, resampler.config.latent_channels, *latent_size, generator=random) * 2 - 1
        top, left, bottom, right = region
        return latents, torch.tensor(size), torch.arange(top, bottom), torch.arange(left, right), torch.tensor(canvas)

    return _Graph(
        name="decoder.onnx",
        module=Decoder(_in_full_precision(resampler)),
        output="pixels",
        axes={
            "latents": {0: "batch", 2: "latent_height", 3: "latent_width"},
            "size": {},
            "rows": {0: "height"},
            "columns": {0: "width"},
            "canvas": {},
        },
        examples=[
            example(2, (5, 7), (20, 30), (3, 4), (3, 4, 14, 9)),
            example(3, (8, 8), (64, 64), (1, 1), (0, 0, 64, 64)),
            example(1, (4, 10), (9, 14), (9, 14), (0, 0, 9, 14)),
            example(4, (1, 1), (500, 300), (5, 3), (100, 200, 130, 300)),
        ],
    )


def _description(pipeline: R2Pipeline) -> dict[str, Any]:
    """Return the settings of a sampler, as JSON types."""
    resampler, diffuser = pipeline.resampler, pipeline.diffuser
    defaults = pipeline.generation_defaults
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(defaults.num_inference_steps)
    return {
        "diffuser": "diffuser.onnx",
        "decoder": "decoder.onnx" if resampler else None,
        "labels": pipeline.conditioner.label_names,
        "channels": diffuser.config.channels,
        "canvas": diffuser.config.canvas,
        "latent_mean": resampler.latent_mean.tolist() if resampler else None,
        "latent_std": resampler.latent_std.tolist() if resampler else None,
        "prediction_type": diffuser.config.prediction_type,
        "noise_reference_size": diffuser.config.noise_reference_size,
        "alphas_cumprod": scheduler.alphas_cumprod.tolist(),
        "timesteps": scheduler.timesteps.long().tolist(),
        "guidance_scale": defaults.guidance_scale,
        "guidance_interval": defaults.guidance_interval,
    }


def _in_full_precision(network: Any) -> Any:
    """Return a copy of a network on the CPU in float32."""
    return copy.deepcopy(network).cpu().float().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
