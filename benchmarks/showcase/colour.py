"""Write the pictures of docs/colour: drawings and flowers of seeds 0 to 3, and flowers in several proportions, of more
latents than were learnt, continued beyond their edges, and as panoramas.

`python benchmarks/showcase/colour.py` takes some minutes on two cores that multiply in bfloat16. `--only` writes the
sheets of these names. No seed is chosen by its picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
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
CONTINUED = ("sunflower", "hibiscus", "lotus_lotus")
SIDE, ADDED = 128, 64
"""Side of a picture that is continued, and the pixels that are added on the left and on the right."""
PANORAMAS = ("oxeye_daisy", "sunflower", "hibiscus")
LONG: Size = (128, 896)
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


def continued(pipeline: R2Pipeline, kinds: Sequence[str], seed: int) -> Image.Image:
    """Return a column for each subject: a generated picture, and below it the one that continues it."""
    step = SIDE + 2 * ADDED + GAP
    sheet = Image.new("RGB", (len(kinds) * step - GAP, 2 * SIDE + GAP), WHITE)
    for column, kind in enumerate(kinds):
        (given,) = pipeline([kind], size=(SIDE, SIDE), generator=torch.Generator().manual_seed(seed)).images
        sheet.paste(given, (column * step + ADDED, 0))
        added: dict[str, Any] = {"left": ADDED, "right": ADDED, "generator": torch.Generator().manual_seed(seed)}
        sheet.paste(pipeline.outpaint(given, [kind], **added).images[0], (column * step, SIDE + GAP))
    return sheet


def panoramas(pipeline: R2Pipeline, kinds: Sequence[str], seed: int) -> Image.Image:
    """Return a row for each subject."""
    pictures = []
    for kind in kinds:
        pictures += pipeline.panorama([kind], size=LONG, generator=torch.Generator().manual_seed(seed)).images
    return contact_sheet(pictures, columns=1)


SHEETS: dict[str, tuple[str, Callable[[R2Pipeline], Image.Image]]] = {
    "flowers": ("flowers", lambda model: rows(model, [KINDS] * len(SEEDS), size=(128, 128))),
    "emoji": (
        "emoji",
        lambda model: rows(model, [[name + style for name in PROMPTS] for style in STYLES], size=(128, 128)),
    ),
    "proportions": ("flowers", lambda model: in_proportions(model, JOINT, seed=0)),
    "latents": ("flowers", lambda model: with_latents(model, DETAILED, seed=0)),
    "outpainted": ("flowers", lambda model: continued(model, CONTINUED, seed=0)),
    "panoramas": ("flowers", lambda model: panoramas(model, PANORAMAS, seed=0)),
}
"""The model of each sheet, and its function."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs" / "colour")
    parser.add_argument("--only", nargs="+", choices=SHEETS, default=list(SHEETS), help="sheets to write")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        model, draw = SHEETS[name]
        pipeline = R2Pipeline.from_pretrained(model)
        with torch.no_grad(), autocast(options.precision, pipeline.device):
            sheet = draw(pipeline)
        write_whole(options.output / f"{name}.jpg", partial(sheet.save, format="JPEG", quality=90))


if __name__ == "__main__":
    main()
