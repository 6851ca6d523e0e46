"""Every picture of the published experiments (design §1.6), with the figures beside them, as one page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from r2id.errors import InputError
from r2id.evaluation.report import figure_text
from r2id.files import write_whole
from r2id.gallery import Sheet, contact_sheet, enlarged, overview, write_sheets
from r2id.images import save_image
from r2id.pipeline import R2Pipeline, as_output
from r2id.sizes import Size, size_text
from r2id.training.data import ImageDataset

LATENT_PICTURES: tuple[Size, ...] = ((4, 4), (14, 14))
"""Latents shown as pictures, channel by channel."""

RECONSTRUCTIONS: tuple[Size, ...] = ((4, 4), (8, 8), (14, 14))
"""Latents that test images are shown through."""

VARIETY: tuple[Size, ...] = ((4, 4), (8, 8), (16, 16))
"""Latents of which ten pictures of one label are shown, to see whether they repeat each other."""

RECONSTRUCTION_NOTE = (
    "The truth at a size is the image resized by a Lanczos filter. Pixels of R2IR are means of their area, so the "
    "baselines, which end in the same filter, are nearer to it at every size but the image's own. A latent may hold as "
    "many values as the image or more; then Lanczos alone has no error."
)


def write_showcase(pipeline: R2Pipeline, data: ImageDataset, seed: int, folder: Path) -> Path:
    """Write all pictures to `folder`, and a page beside it, `folder`.md; returns the page's path.

    The figures are those that `r2id evaluate --output folder` left there, if they are of these weights. What somebody
    who looked at the pictures wrote in `folder`/remarks.json, a sentence or more by file name, is shown below them if
    it is about this seed and these weights.

    Raises:
        InputError: one of these two files is damaged.
    """
    about = {"seed": seed, "weights": pipeline.checksum()}
    tables = _read(folder / "evaluation.json")
    if tables.pop("settings", {}).get("weights") != about["weights"]:
        tables = {}
    written = _read(folder / "remarks.json")
    remarks = written["remarks"] if written.get("about") == about else {}
    labels = pipeline.conditioner.label_names[:10]
    sheets = write_sheets(pipeline, labels, seed, folder)
    sheets += _variety(pipeline, labels[len(labels) // 2], seed, folder)
    sheets += _reconstructions(pipeline, data, folder)
    sheets += _latent_pictures(pipeline, data, folder)
    if tables and (folder / "t-scrape.png").is_file():
        caption = (
            "how well noise is told from a noisy latent, solid with the label and dotted without; at t = 1 the latent "
            "is the noise, and nothing is left to tell"
        )
        sheets.append(Sheet("t-scrape", "t-scrape.png", caption))
    page = folder.with_name(folder.name + ".md")
    text = _page(sheets, remarks, tables, folder.name)
    write_whole(page, lambda path: path.write_text(text, encoding="utf-8"))
    return page


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); mend it, or remove it") from error


def _variety(pipeline: R2Pipeline, label: str, seed: int, folder: Path) -> list[Sheet]:
    rows = []
    for latent_size in VARIETY:
        generators = [torch.Generator().manual_seed(seed + index) for index in range(10)]
        rows.append(pipeline([label] * 10, latent_size, (32, 32), generator=generators).images)
    save_image(overview(rows), folder / "variety.png")
    caption = f"ten pictures of {label}; from top to bottom, latents of {', '.join(map(size_text, VARIETY))}"
    return [Sheet("Variety", "variety.png", caption)]


@torch.inference_mode()
def _reconstructions(pipeline: R2Pipeline, data: ImageDataset, folder: Path) -> list[Sheet]:
    images = data.batch(slice(0, 10)).to(pipeline.device)
    size = (images.shape[-2], images.shape[-1])
    resampler = pipeline.resampler
    rows = [as_output(images, "pil")]
    rows += [as_output(resampler.decode(resampler.encode(images, one), size), "pil") for one in RECONSTRUCTIONS]
    save_image(overview(rows), folder / "reconstructions.png")
    caption = (
        f"test images and, below, the same through latents of {', '.join(map(size_text, RECONSTRUCTIONS))} and back"
    )
    return [Sheet("Reconstructions", "reconstructions.png", caption)]


@torch.inference_mode()
def _latent_pictures(pipeline: R2Pipeline, data: ImageDataset, folder: Path) -> list[Sheet]:
    sheets = []
    for latent_size in LATENT_PICTURES:
        latent = pipeline.resampler.encode(data.batch([0]).to(pipeline.device), latent_size)
        channels = as_output(latent.movedim(1, 0), "pil")
        name = f"latent-{size_text(latent_size)}.png"
        save_image(enlarged(contact_sheet(channels, columns=16)), folder / name)
        caption = f"the {len(channels)} channels of the first test image's latent of {size_text(latent_size)}"
        sheets.append(Sheet("Latents as pictures", name, caption))
    return sheets


def _page(sheets: Sequence[Sheet], remarks: dict[str, str], tables: dict[str, Any], folder: str) -> str:
    lines = [
        "# Gallery",
        "",
        "Written by `r2id showcase`, the figures by `r2id evaluate`. Only the seed is chosen by hand. Of small",
        "pictures every pixel is enlarged to a square. Proportions other than those trained on stretch them.",
    ]
    for heading, group in itertools.groupby(sheets, lambda sheet: sheet.heading):
        lines += ["", f"## {heading}"]
        for sheet in group:
            lines += ["", f"![{sheet.caption}]({folder}/{sheet.name})", "", f"*{sheet.caption}*"]
            lines += ["", remarks[sheet.name]] if sheet.name in remarks else []
            for section, row in _figures_of(sheet, tables):
                shown = ", ".join(f"{name} {figure_text(value)}" for name, value in row.items())
                lines += ["", f"{section}: {shown}."]
    for section, rows in tables.items():
        if not section.startswith("t-scrape"):
            lines += ["", f"## Figures: {section}"]
            lines += ["", RECONSTRUCTION_NOTE] if section.startswith("reconstruction") else []
            lines += ["", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
            lines += ["| " + " | ".join(figure_text(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _figures_of(sheet: Sheet, tables: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was measured of generated pictures such as a sheet shows, by section."""
    if sheet.sizes is None:
        return
    sizes = {"latents": size_text(sheet.sizes[0]), "pictures": size_text(sheet.sizes[1])}
    for section, rows in tables.items():
        for row in rows:
            if "recognised" in row and row.items() >= sizes.items():
                yield section, {name: value for name, value in row.items() if name not in sizes}
