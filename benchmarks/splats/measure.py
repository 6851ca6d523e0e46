"""PSNR of digits as splats: encoded in one pass, and after refinement by gradient steps.

    python benchmarks/splats/measure.py --model runs/resampler/resampler --data MNIST

PSNR is the mean over test images, each rendered at its own size, of values in [−1, 1].
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from r2id import R2IR
from r2id.data.loading import load_images
from r2id.geometry.sizes import Size
from r2id.networks.refinement import refine
from r2id.training.latent_statistics import spread_over


@dataclass(frozen=True)
class Measure:
    """Measure a trained R2IR of splats."""

    model: str
    """Folder of the R2IR."""
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
    results: Path | None = None
    """File to write the figures to."""


def psnr(pictures: Tensor, images: Tensor) -> Tensor:
    """Return the PSNR of each picture [B, C, H, W] in [−1, 1]: [B], in dB."""
    return 10 * torch.log10(4 / (pictures - images).square().mean((1, 2, 3)))


def measure(config: Measure) -> dict[str, float]:
    """Return the number of splats and the mean PSNR of all images, and of the refined ones before and after."""
    resampler = R2IR.from_pretrained(config.model)
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
    return {
        "splats": splats,
        "images": len(images),
        "one pass": round(one_pass.mean().item(), 2),
        "refined images": config.refined,
        "of these in one pass": round(one_pass[: config.refined].mean().item(), 2),
        "refined": round(after.mean().item(), 2),
        "steps": config.steps,
        "seconds of refinement": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    config = tyro.cli(Measure)
    figures = measure(config)
    text = json.dumps(figures, indent=1)
    print(text)
    if config.results:
        config.results.write_text(text + "\n", encoding="utf-8")
