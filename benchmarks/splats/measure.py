"""PSNR of pictures as splats, encoded in one pass and refined by gradient steps, and how sharp their edges are.

    python benchmarks/splats/measure.py --model mnist-splats --data MNIST --beside mnist

PSNR is the mean over test images, each rendered at its own size, of values in [−1, 1].
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from r2id import R2IR
from r2id.data.loading import load_images
from r2id.geometry.sizes import Size
from r2id.networks.loading import load_part
from r2id.networks.refinement import refine
from r2id.training.latent_statistics import spread_over


@dataclass(frozen=True)
class Measure:
    """Measure a trained R2IR of splats."""

    model: str
    """Folder or bundled name of the R2IR, or of its pipeline."""
    data: str
    """A folder of images or of IDX files, with a test split."""
    image_size: Size = (32, 32)
    """Height and width that images are resized to."""
    latent_size: Size = (8, 8)
    """Grid of tokens."""
    count: int = 1000
    """Test images that are encoded, evenly spaced."""
    refined: int = 20
    """Of these, the first that are refined too."""
    steps: int = 100
    """Gradient steps of the refinement."""
    beside: str | None = None
    """Folder or bundled name of a grey R2IR without splats, or of its pipeline, whose edges are compared; none for no
    edges."""
    edge_side: int = 1024
    """Height and width that edges are measured at, in pixels."""
    results: Path | None = None
    """File to write the figures to."""


def psnr(pictures: Tensor, images: Tensor) -> Tensor:
    """Return the PSNR of each picture [B, C, H, W] in [−1, 1]: [B], in dB."""
    return 10 * torch.log10(4 / (pictures - images).square().mean((1, 2, 3)))


def edge_width(pictures: Tensor) -> Tensor:
    """Return in how many pixels edges of pictures [B, 1, H, W] between −1 and 1 rise from 10 to 90 %: [B].

    It is the area of the values between, over the length of the edges. That is π/4 times the changes of sign along rows
    and columns, as for lines of all directions alike (Cauchy and Crofton).
    """
    between, bright = pictures.abs() < 0.8, (pictures > 0).float()
    changes = sum(bright.diff(dim=axis).abs().sum((1, 2, 3)) for axis in (2, 3))
    return between.float().sum((1, 2, 3)) / (math.pi / 4 * changes)


def measure(config: Measure) -> dict[str, float]:
    """Return the number of splats, the mean PSNR of all images, and of the refined ones before and after.

    With `beside`, return the mean width of edges over that of the other R2IR too, of the refined ones in one pass.
    """
    resampler = load_part(R2IR, config.model, "resampler")
    data = load_images(config.data, "test", image_size=config.image_size)
    images = data.batch(spread_over(data, config.count))
    with torch.inference_mode():
        latents = torch.cat([resampler.encode(some, config.latent_size) for some in images.split(50)])
        pictures = torch.cat([resampler.decode(some, config.image_size) for some in latents.split(50)])
    one_pass = psnr(pictures, images)
    began, some = time.monotonic(), images[: config.refined]
    refined = refine(resampler, latents[: config.refined].clone(), some, config.steps)
    after = psnr(resampler.decode(refined, config.image_size), some)
    splats = resampler.splats(latents[:1]).centres.shape[1]
    figures = {
        "splats": splats,
        "images": len(images),
        "one pass": round(one_pass.mean().item(), 2),
        "refined images": config.refined,
        "of these in one pass": round(one_pass[: config.refined].mean().item(), 2),
        "refined": round(after.mean().item(), 2),
        "steps": config.steps,
        "seconds of refinement": round(time.monotonic() - began, 1),
    }
    if config.beside:
        other = load_part(R2IR, config.beside, "resampler")
        widths = {}
        for name, network, grid in (("splats", resampler, config.latent_size), ("beside", other, None)):
            size = (config.edge_side,) * 2
            with torch.inference_mode():
                each = [
                    edge_width(network.decode(network.encode(one, grid or (other.config.latent_size,) * 2), size))
                    for one in some.split(1)
                ]
            widths[name] = torch.cat(each).mean().item()
        figures["width of edges"] = round(widths["splats"], 2)
        figures["over that beside"] = round(widths["splats"] / widths["beside"], 3)
    return figures


if __name__ == "__main__":
    config = tyro.cli(Measure)
    figures = measure(config)
    text = json.dumps(figures, indent=1)
    print(text)
    if config.results:
        config.results.write_text(text + "\n", encoding="utf-8")
