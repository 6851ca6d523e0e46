"""The gallery of `r2id demo`: the same latents at many sizes, and latents of other sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import PAGE_WIDTH, contact_sheet, enlarged, overview
from r2id.files.images import save_image
from r2id.geometry.sizes import Size, scaled, size_text
from r2id.runtime.progress import progress

SIZE, LATENT_SIZE = (32, 32), (8, 8)
"""Sizes of the digits and their latents, to which all sizes below refer; other models take theirs in proportion."""

MOST_PIXELS, MOST_LATENTS = 1024**2, 100**2
"""More are left out, unless the model's own size has more."""

OUTPUT_SIZES: tuple[Size, ...] = (
    (10, 10), (16, 16), (27, 18), (32, 18), (18, 32), (32, 32), (64, 64), (128, 51), (256, 256), (1024, 1024),
)  # fmt: skip
"""Picture sizes of one set of latents: seven of the published experiments, and similar ones."""

OVERVIEW_SIZES = ((10, 10), (16, 16), (27, 18), (32, 32), (64, 64), (256, 256))

EXPERIMENTS: tuple[tuple[Size, Size], ...] = (
    ((4, 4), (32, 32)),
    ((4, 10), (32, 32)),
    ((4, 10), (32, 18)),
    ((10, 4), (32, 18)),
    ((100, 100), (1024, 1024)),
)
"""Latent and picture sizes of the published experiments with latents other than 8×8 (design §1.6)."""

FIELD_SIZES: tuple[Size, ...] = ((4, 4), (5, 5), (6, 6), (8, 8), (12, 12), (16, 16))
"""Latent sizes that sample one field of noise, to show the influence of the grid."""


@dataclass(frozen=True)
class Sheet:
    """A picture of the gallery: heading, file name, caption, and the latent and picture size if it shows one of
    each."""

    heading: str
    name: str
    caption: str
    sizes: tuple[Size, Size] | None = None


def write_sheets(pipeline: R2Pipeline, labels: Sequence[str], seed: int, folder: Path) -> list[Sheet]:
    """Write the same latents at OUTPUT_SIZES, the EXPERIMENTS, and one field of noise at FIELD_SIZES, all in proportion
    to the model's own sizes."""
    if pipeline.resampler is None:
        raise InputError("this model works on pixels; a gallery needs one whose latents can be decoded at any size")
    own, own_latents = pipeline.generation_defaults.size, pipeline.generation_defaults.latent_size
    same, others = f"One set of {size_text(own_latents)} latents at many sizes", "Latents of other sizes and shapes"
    overview_sizes, field_sizes = _scaled(OVERVIEW_SIZES, SIZE, own), _scaled(FIELD_SIZES, LATENT_SIZE, own_latents)
    jobs = [(same, own_latents, size) for size in _scaled(OUTPUT_SIZES, SIZE, own)]
    latent_sizes, sizes = zip(*EXPERIMENTS, strict=True)
    experiments = zip(_scaled(latent_sizes, LATENT_SIZE, own_latents), _scaled(sizes, SIZE, own), strict=True)
    jobs += [(others, latent_size, size) for latent_size, size in experiments]
    most_latents, most_pixels = max(MOST_LATENTS, math.prod(own_latents)), max(MOST_PIXELS, math.prod(own))
    jobs = [job for job in jobs if math.prod(job[1]) <= most_latents and math.prod(job[2]) <= most_pixels]
    generated: dict[Size, torch.Tensor] = {}
    sheets: list[Sheet] = []
    shown_together: dict[str, list[Image.Image]] = {}
    by_latents: list[list[Image.Image]] = []
    with progress(len(jobs) + len(field_sizes), "gallery") as advance:
        for heading, latent_size, size in jobs:
            if latent_size not in generated:
                generated[latent_size] = _latents(pipeline, labels, latent_size, seed)
            # A picture of a million pixels costs as much as a thousand small ones, so two are shown.
            latents = generated[latent_size][: 2 if math.prod(size) > 512**2 else None]
            pictures = pipeline.decode(latents, size)
            begin = "same-latents-" if heading == same else f"latents-{size_text(latent_size)}-to-"
            name = f"{begin}{size_text(size)}.png"
            save_image(enlarged(contact_sheet(pictures, columns=10)), folder / name)
            caption = f"{size_text(latent_size)} latents, pictures of {size_text(size)}"
            sheets.append(Sheet(heading, name, caption, (latent_size, size)))
            if heading == same and size in overview_sizes:
                shown_together[size_text(size)] = pictures
            advance(1)
        for size in field_sizes:
            by_latents.append(pipeline.decode(_latents(pipeline, labels, size, seed), own))
            advance(1)
    save_image(overview([*shown_together.values()], [*shown_together]), folder / "overview.png")
    caption = f"from top to bottom, pictures of {', '.join(shown_together)}"
    sheets.insert(0, Sheet(same, "overview.png", caption))
    titles = [size_text(size) for size in field_sizes]
    save_image(overview(by_latents, titles), folder / "same-noise.png")
    caption = f"from top to bottom, latents of {', '.join(titles)}"
    sheets.append(Sheet("One field of noise, latents of other sizes", "same-noise.png", caption))
    return sheets


def write_gallery(pipeline: R2Pipeline, labels: Sequence[str], seed: int, folder: Path) -> Path:
    """Write the sheets and a page that shows them; returns the path of the page."""
    sheets = write_sheets(pipeline, labels, seed, folder)
    page = folder / "index.html"
    write_whole(page, lambda path: path.write_text(_page(sheets), encoding="utf-8"))
    return page


def _scaled(sizes: Sequence[Size], reference: Size, own: Size) -> list[Size]:
    """Return sizes that refer to a reference in proportion to a model's own."""
    return [scaled(size, (own[0] / reference[0], own[1] / reference[1])) for size in sizes]


def _latents(pipeline: R2Pipeline, labels: Sequence[str], latent_size: Size, seed: int) -> torch.Tensor:
    # The cost of sampling is linear in the latents, so a grid of thousands gets one picture.
    labels = labels[: 1 if math.prod(latent_size) > 32**2 else None]
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(labels))]
    return pipeline(labels, latent_size, [], generator=generators, output_type="pt").latents


def _page(sheets: Sequence[Sheet]) -> str:
    style = (
        f"body{{font:16px system-ui;max-width:{PAGE_WIDTH}px;margin:2rem auto;padding:0 1rem;"
        "background:#fff;color:#222}@media(prefers-color-scheme:dark){body{background:#16181d;color:#ddd}}"
        "img{max-width:100%}figure{margin:1.5rem 0 2.5rem}figcaption{margin-top:.4rem}"
    )
    body = []
    for heading, group in itertools.groupby(sheets, lambda sheet: sheet.heading):
        body.append(f"<h2>{heading}</h2>")
        for sheet in group:
            body.append(
                f"<figure><img src='{sheet.name}' alt='{sheet.caption}'>"
                f"<figcaption>{sheet.caption}</figcaption></figure>"
            )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>R2ID gallery</title>"
        f"<meta name='viewport' content='width=device-width'><style>{style}</style><h1>R2ID gallery</h1>"
        "<p>Generated pictures, one per label. Pixels of small pictures are enlarged to squares. Proportions other "
        "than those of training stretch the picture. Large pictures are shown for two labels, and large latents for "
        f"one.</p>{''.join(body)}</html>\n"
    )
