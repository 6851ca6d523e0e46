"""Reconstruction errors of images through a latent, at their own size and at others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from r2id.data.dataset import ImageDataset
from r2id.geometry.sizes import Size, size_text
from r2id.networks.batches import decode_some_at_once
from r2id.networks.resampler import R2IR
from r2id.runtime.progress import uncounted

METHODS = ("R2IR", "R2IR at the trained size, then Lanczos", "Lanczos alone, as many values as the latent")
BATCH = 50
SMALLEST_FOR_SSIM = 6
"""Least pixels per side for the SSIM window of 11."""


def lanczos(images: Tensor, size: Size) -> Tensor:
    """Resize images [B, C, H, W] by Pillow's antialiased Lanczos filter, clamped to [−1, 1]."""
    if size == tuple(images.shape[-2:]):
        return images
    planes = images.float().cpu().flatten(0, 1).numpy()
    resized = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS) for plane in planes]
    stacked = torch.from_numpy(numpy.stack([numpy.asarray(plane) for plane in resized])).clamp(-1, 1)
    return stacked.unflatten(0, images.shape[:2]).to(images)


@torch.inference_mode()
def measure_reconstruction(
    resampler: R2IR,
    data: ImageDataset,
    latent_size: Size,
    sizes: Sequence[Size],
    on_batch: Callable[[int], object] = uncounted,
) -> Iterator[dict[str, object]]:
    """Yield rows of errors of images encoded to `latent_size` and decoded at each of `sizes`, in [−1, 1].

    The reference at a size is the source resized by `lanczos`. METHODS has two baselines. One decodes at the
    source's size and resizes the result; the other resizes the source to as many values as the latent has, and back.
    PSNR and SSIM are means over the images; PSNR is infinite for an exact copy. `on_batch` receives the number of
    images of each batch.
    """
    source_size = (data.images.shape[-2], data.images.shape[-1])
    values_per_point = resampler.config.latent_channels / resampler.config.image_channels
    as_many = (round(latent_size[0] * values_per_point**0.5), round(latent_size[1] * values_per_point**0.5))
    metrics = {(size, method): _metrics(size, resampler.device) for size in sizes for method in METHODS}
    for images in _batches(data, resampler.device):
        latents = resampler.encode(images, latent_size)
        at_source_size = _decode(resampler, latents, source_size, source_size)
        for size in sizes:
            answers = (
                at_source_size if size == source_size else _decode(resampler, latents, size, source_size),
                lanczos(at_source_size, size),
                lanczos(lanczos(images, as_many), size),
            )
            for method, answer in zip(METHODS, answers, strict=True):
                metrics[size, method].update(answer.float(), lanczos(images, size))
        on_batch(len(images))
    for (size, method), measured in metrics.items():
        figures = {name: value.item() for name, value in measured.compute().items()}
        figures.setdefault("SSIM", math.nan)
        yield {"latents": size_text(latent_size), "pictures": size_text(size), **figures, "method": method}


@torch.inference_mode()
def measure_consistency(
    resampler: R2IR, data: ImageDataset, latent_size: Size, on_batch: Callable[[int], object] = uncounted
) -> dict[str, object]:
    """Return one row on the agreement of sizes and the quality of borders.

    The first figures are mean squared errors between decoding at the source's size, and at two or four times it with
    averaging over areas. The next two are errors against the source: of the outermost ring of pixels, and of those
    inside. The last is their ratio.
    """
    height, width = data.images.shape[-2:]
    names = ("2x against 1x", "4x against 1x", "outermost ring", "inside")
    sums = dict.fromkeys(names, 0.0)
    for images in _batches(data, resampler.device):
        latents = resampler.encode(images, latent_size)
        decoded = _decode(resampler, latents, (height, width), (height, width))
        for scale, name in zip((2, 4), names, strict=False):
            large = _decode(resampler, latents, (scale * height, scale * width), (height, width))
            averaged = functional.avg_pool2d(large, scale)
            sums[name] += (averaged - decoded).square().mean().item() * len(images)
        error = (decoded - images).square()
        ring = torch.ones(height, width, dtype=torch.bool, device=error.device)
        ring[1:-1, 1:-1] = False
        sums["outermost ring"] += error[..., ring].mean().item() * len(images)
        sums["inside"] += error[..., ~ring].mean().item() * len(images) if not ring.all() else math.nan
        on_batch(len(images))
    means = {name: total / len(data) for name, total in sums.items()}
    return {"latents": size_text(latent_size), **means, "ring / inside": means["outermost ring"] / means["inside"]}


def _decode(resampler: R2IR, latents: Tensor, size: Size, canvas: Size) -> Tensor:
    return torch.cat(list(decode_some_at_once(resampler, latents, size, canvas)))


def _metrics(size: Size, device: torch.device) -> MetricCollection:
    metrics: dict[str, Metric | MetricCollection] = {
        "MSE": MeanSquaredError(),
        "PSNR": PeakSignalNoiseRatio(data_range=2.0, dim=(1, 2, 3)),
    }
    if min(size) >= SMALLEST_FOR_SSIM:
        metrics["SSIM"] = StructuralSimilarityIndexMeasure(data_range=2.0)
    return MetricCollection(metrics).to(device)


def _batches(data: ImageDataset, device: torch.device) -> Iterator[Tensor]:
    for indices in torch.arange(len(data)).split(BATCH):
        yield data.batch(indices).to(device)
