"""Write the pictures of docs/colour.md: drawings and flowers of seeds 0 to 3, and flowers in several proportions and of
more latents than were learnt.

`python benchmarks/showcase/colour.py` takes some minutes on two cores that multiply in bfloat16. No seed is chosen by
its picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from r2id import R2Pipeline
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import contact_sheet
from r2id.geometry.sizes import Size
from r2id.runtime.precision import autocast

SEEDS = range(4)
PROMPTS = (
    "red heart", "smiling face", "rocket", "watermelon", "blue circle", "cat face", "tropical fish", "green heart",
    "house", "woman with red hair",
)  # fmt: skip
STYLES = ("", ", noto style", ", fluent emoji style", ", twemoji style")
"""Added to the prompts of each seed."""
KINDS = (
    "sunflower", "rose", "passion_flower", "bearded_iris", "daffodil", "hibiscus", "lotus_lotus", "oxeye_daisy",
    "tiger_lily",
)  # fmt: skip
PROPORTIONS: tuple[Size, ...] = ((240, 240), (320, 180), (180, 320))
JOINT = ("sunflower", "hibiscus", "lotus_lotus", "passion_flower", "rose")
DETAILED = ("oxeye_daisy", "rose", "hibiscus", "passion_flower")
LATENTS: tuple[Size, ...] = ((12, 12), (48, 48))
GAP = 4
WHITE = (255, 255, 255)


def rows(pipeline: R2Pipeline, subjects: Sequence[Sequence[str]], **how: Any) -> Image.Image:
    """Return a sheet with a row of subjects for each seed."""
    pictures = []
    for seed, row in zip(SEEDS, subjects, strict=True):
        pictures += pipeline(list(row), generator=torch.Generator().manual_seed(seed), **how).images
    return contact_sheet(pictures, columns=len(subjects[0]))


def in_proportions(pipeline: R2Pipeline, kinds: Sequence[str], seed: int) -> Image.Image:
    """Return a column for each subject, with one joint sample of it in all proportions."""
    result = pipeline(list(kinds), size=PROPORTIONS, joint=True, generator=torch.Generator().manual_seed(seed))
    width = max(size[1] for size in PROPORTIONS)
    height = sum(size[0] + GAP for size in PROPORTIONS) - GAP
    sheet = Image.new("RGB", (len(kinds) * (width + GAP) - GAP, height), WHITE)
    top = 0
    for size, pictures in zip(PROPORTIONS, result.images, strict=True):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (width + GAP) + (width - size[1]) // 2, top))
        top += size[0] + GAP
    return sheet


def with_latents(pipeline: R2Pipeline, kinds: Sequence[str], seed: int) -> Image.Image:
    """Return a row of subjects for each of LATENTS, of one seed each."""
    pictures = []
    for latent_size in LATENTS:
        generators = [torch.Generator().manual_seed(seed) for _ in kinds]
        pictures += pipeline(list(kinds), latent_size, (360, 360), generator=generators).images
    return contact_sheet(pictures, columns=len(kinds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs" / "colour")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    flowers, emoji = (R2Pipeline.from_pretrained(name) for name in ("flowers", "emoji"))
    with torch.inference_mode(), autocast(options.precision, flowers.device):
        sheets = {
            "flowers": rows(flowers, [KINDS] * len(SEEDS), size=(128, 128)),
            "emoji": rows(emoji, [[name + style for name in PROMPTS] for style in STYLES], size=(128, 128)),
            "proportions": in_proportions(flowers, JOINT, seed=0),
            "latents": with_latents(flowers, DETAILED, seed=0),
        }
    for name, sheet in sheets.items():
        write_whole(options.output / f"{name}.jpg", partial(sheet.save, format="JPEG", quality=90))


if __name__ == "__main__":
    main()
