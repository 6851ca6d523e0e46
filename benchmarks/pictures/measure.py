"""Measure weights of the pyramid: reconstruction on BSD100 (BSDS500's val) and enlarging on Set5.

    python benchmarks/pictures/measure.py --bsd100 BSDS500/val --set5 SET5

Conventions: values are rounded to 8 bits; reconstruction is PSNR of RGB over the whole picture; enlarging is PSNR of Y
(ITU-R BT.601), a border of as many pixels as the scale cut off, from pictures made smaller by antialiased cubic.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from pyramid import Pyramid, centres, resize
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from train import eight_bit

WEIGHTS = Path(__file__).parent / "weights.safetensors"


def picture_of(path: Path) -> Tensor:
    """[1, 3, H, W] in [−1, 1]."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1


def luma(picture: Tensor) -> Tensor:
    """Y of BT.601 in [0, 1]."""
    red, green, blue = ((picture[:, channel] + 1) / 2 for channel in range(3))
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def psnr(one: Tensor, other: Tensor, span: float) -> float:
    return 10 * math.log10(span**2 / (one - other).square().mean().item())


@torch.inference_mode()
def through(network: Pyramid, picture: Tensor, pixels: int, scale: int) -> Tensor:
    """Encoded at `pixels` a cell and decoded `scale` times as large. The edges are repeated up to whole cells."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (0, -width % pixels, 0, -height % pixels), mode="replicate")
    cells = (padded.shape[-2] // pixels, padded.shape[-1] // pixels)
    rows, columns = (
        centres(n, n * pixels * scale)[: length * scale] for n, length in zip(cells, (height, width), strict=True)
    )
    summary = network.summarise(network.encode(padded, cells))
    return eight_bit(network.read(summary, rows, columns, float(pixels * scale)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--bsd100", type=Path, required=True)
    parser.add_argument("--set5", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="picture of BSD100 that is measured")
    options = parser.parse_args()
    network = Pyramid()
    network.load_state_dict({name: value.float() for name, value in load_file(options.weights).items()})
    photographs = [picture_of(path) for path in sorted(options.bsd100.glob("*.jpg"))[:: options.every]]
    for pixels in (16, 8):
        figure = mean(psnr(through(network, one, pixels, 1), one, 2) for one in photographs)
        print(f"reconstruction at {pixels} pixels a cell, {len(photographs)} photographs: {figure:.2f} dB", flush=True)
    for scale in (2, 3, 4):
        figures: list[tuple[float, float]] = []
        for path in sorted(options.set5.glob("*.png")):
            whole = picture_of(path)
            height, width = (length // scale * scale for length in whole.shape[-2:])
            whole = whole[:, :, :height, :width]
            small = eight_bit(resize(whole, height // scale, width // scale))
            made = through(network, small, 4, scale), eight_bit(resize(small, height, width))
            inside = (slice(None), slice(scale, -scale), slice(scale, -scale))
            figures.append(tuple(psnr(luma(one)[inside], luma(whole)[inside], 1) for one in made))  # type: ignore[arg-type]
        ours, cubic = (mean(column) for column in zip(*figures, strict=True))
        print(f"Set5 Y ×{scale}: {ours:.2f} dB, bicubic {cubic:.2f}", flush=True)


if __name__ == "__main__":
    main()
