"""Write the pictures of docs/splats.md: how splats come out of noise, step by step, and pictures in colour as splats.

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

from r2id import R2IR, R2Pipeline, Splats
from r2id.fields.splats import SplatField
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import contact_sheet
from r2id.files.images import as_output

LABELS = ("3", "8")
FLOWERS = ("sunflower", "rose", "oxeye_daisy", "hibiscus", "lotus_lotus", "tiger_lily")
SHOWN = (0, 6, 10, 14, 17, 20)
"""Steps after which a picture is shown."""
SIDE = 240
FINE = 3
"""Pixels along a side that each pixel of a drawing is the mean of."""
CORNERS = 40
BRIGHT, DARK, GROUND = (255, 150, 60), (70, 120, 190), (18, 20, 26)


def drawn(splats: Splats, side: int) -> Image.Image:
    """Return an outline for each splat of one picture, an ellipse of one standard deviation, the smallest on top.

    Splats in colour have an outline of their own colour.
    """
    canvas = Image.new("RGB", (side * FINE, side * FINE), GROUND)
    draw = ImageDraw.Draw(canvas)
    around = torch.linspace(0, 2 * math.pi, CORNERS)
    circle = torch.stack([around.cos(), around.sin()])
    turns, scales, centres = splats.rotations[0], splats.scales[0], splats.centres[0]
    for one in splats.shapes[0, :, 0].argsort(descending=True).tolist():
        along, across = scales[one, :, None] * circle
        x = turns[one].cos() * along - turns[one].sin() * across + centres[one, 1]
        y = turns[one].sin() * along + turns[one].cos() * across + centres[one, 0]
        colour = splats.colours[0, one]
        own = tuple((127.5 * (colour.clamp(-1, 1) + 1)).int().tolist())
        outline = own if len(own) == 3 else BRIGHT if colour > 0 else DARK
        corners = ((torch.stack([x, y], -1) + 0.5) * side * FINE).flatten().tolist()
        draw.polygon(corners, outline=outline, width=FINE)
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


def in_colour(flowers: R2Pipeline, resampler: R2IR, side: int, seed: int = 0) -> list[Image.Image]:
    """Return generated flowers, outlines of their splats, and the pictures of these: square ones, in three rows."""
    trained = (resampler.config.sample_size,) * 2
    generators = [torch.Generator().manual_seed(seed) for _ in FLOWERS]
    made = flowers(FLOWERS, size=[trained, (side, side)], generator=generators, output_type="pt").images
    latents = resampler.encode(made[0], (resampler.config.latent_size,) * 2)
    each = [resampler.splats(one) for one in latents.split(1)]
    pictures = torch.cat([SplatField(one).render((side, side)) for one in each])
    return [*as_output(made[1], "pil"), *(drawn(one, side) for one in each), *as_output(pictures, "pil")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs" / "splats")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pipeline = R2Pipeline.from_pretrained("mnist-splats")
    flowers, resampler = R2Pipeline.from_pretrained("flowers"), R2IR.from_pretrained("flowers-splats")
    for one in (pipeline, flowers):
        one.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        rows = [out_of_noise(pipeline, label, SHOWN, SIDE) for label in LABELS]
        coloured = in_colour(flowers, resampler, SIDE)
    sheets = {
        "noise": contact_sheet([picture for row in rows for picture in row], columns=len(SHOWN)),
        "flowers": contact_sheet(coloured, columns=len(FLOWERS)),
    }
    for name, sheet in sheets.items():
        write_whole(options.output / f"{name}.jpg", partial(sheet.save, format="JPEG", quality=88))


if __name__ == "__main__":
    main()
