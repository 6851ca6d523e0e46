"""Write the pictures of docs/splats.md: how splats come out of noise, step by step.

`python benchmarks/showcase/splats.py` takes a minute. No seed is chosen by its picture.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from r2id import R2Pipeline, Splats
from r2id.fields.splats import SplatField
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import contact_sheet
from r2id.files.images import as_output

LABELS = ("3", "8")
SHOWN = (0, 6, 10, 14, 17, 20)
"""Steps after which a picture is shown."""
SIDE = 240
FINE = 3
"""Pixels along a side that each pixel of a drawing is the mean of."""
CORNERS = 40
BRIGHT, DARK, GROUND = (255, 150, 60), (70, 120, 190), (18, 20, 26)


def drawn(splats: Splats, side: int) -> Image.Image:
    """Return an outline for each splat of one picture, an ellipse of one standard deviation, the smallest on top."""
    canvas = Image.new("RGB", (side * FINE, side * FINE), GROUND)
    draw = ImageDraw.Draw(canvas)
    around = torch.linspace(0, 2 * math.pi, CORNERS)
    circle = torch.stack([around.cos(), around.sin()])
    turns, scales, centres = splats.rotations[0], splats.scales[0], splats.centres[0]
    for one in splats.shapes[0, :, 0].argsort(descending=True).tolist():
        along, across = scales[one, :, None] * circle
        x = turns[one].cos() * along - turns[one].sin() * across + centres[one, 1]
        y = turns[one].sin() * along + turns[one].cos() * across + centres[one, 0]
        corners = ((torch.stack([x, y], -1) + 0.5) * side * FINE).flatten().tolist()
        draw.polygon(corners, outline=BRIGHT if splats.colours[0, one].mean() > 0 else DARK, width=FINE)
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


def out_of_noise(pipeline: R2Pipeline, label: str, shown: Sequence[int], side: int, seed: int = 0) -> list[Image.Image]:
    """Return drawings of the splats after some steps of denoising, and then their pictures: square ones of a label."""
    channels, size = pipeline.diffuser.config.channels, pipeline.generation_defaults.latent_size
    noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(seed))
    kept = {0: noise}

    def after(pipe: R2Pipeline, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept[step + 1] = tensors["latents"]
        return tensors

    pipeline([label], latents=noise, num_inference_steps=max(shown), callback_on_step_end=after)
    resampler = pipeline.resampler
    splats = [resampler.splats(resampler.destandardise(kept[step]), (1, 1)) for step in shown]
    pictures = [as_output(SplatField(one).render((side, side)), "pil")[0].convert("RGB") for one in splats]
    return [*(drawn(one, side) for one in splats), *pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mnist-splats")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs" / "splats")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pipeline = R2Pipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        rows = [out_of_noise(pipeline, label, SHOWN, SIDE) for label in LABELS]
    sheet = contact_sheet([picture for row in rows for picture in row], columns=len(SHOWN))
    write_whole(options.output / "noise.jpg", partial(sheet.save, format="JPEG", quality=88))


if __name__ == "__main__":
    main()
