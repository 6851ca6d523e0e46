"""Pictures for people: saved files, contact sheets, and the gallery that `r2id demo` writes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from tqdm import tqdm

from r2id.coordinates import Size
from r2id.errors import InputError
from r2id.files import write_whole
from r2id.pipeline import as_output

if TYPE_CHECKING:
    from r2id.pipeline import R2Pipeline

GAP = 2
BETWEEN = (40, 44, 52)

OUTPUT_SIZES: tuple[Size, ...] = (
    (10, 10), (16, 16), (27, 18), (32, 18), (18, 32), (32, 32), (64, 64), (128, 51), (256, 256), (1024, 1024),
)  # fmt: skip
"""From the same latents, of 8×8: seven sizes of the published experiments, and their likes in other proportions."""

EXPERIMENTS: tuple[tuple[Size, Size], ...] = (
    ((4, 4), (32, 32)),
    ((8, 8), (32, 32)),
    ((8, 8), (10, 10)),
    ((8, 8), (16, 16)),
    ((8, 8), (64, 64)),
    ((8, 8), (27, 18)),
    ((4, 10), (32, 32)),
    ((4, 10), (32, 18)),
    ((10, 4), (32, 18)),
    ((100, 100), (1024, 1024)),
)
"""The published experiments (design §1.6): size of the latents, size of the pictures."""


def check_image_suffix(path: Path) -> None:
    """Raises InputError unless the file's suffix names an image type that Pillow writes."""
    Image.init()
    if Image.EXTENSION.get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path} has no suffix of an image type that can be written; take .png, .jpg, .webp or .tif")


def save_image(picture: Image.Image, path: Path) -> None:
    """Write a picture, of the type its suffix names, whole or not at all."""
    write_whole(path, picture.save)


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """The pictures, all of one size, in rows of at most `columns`, pixel for pixel with a thin gap."""
    columns = min(columns, len(pictures))
    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), BETWEEN)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + index % columns * width, GAP + index // columns * height))
    return sheet


def write_gallery(pipeline: R2Pipeline, labels: Sequence[str], seed: int, folder: Path) -> Path:
    """Write the same latents at OUTPUT_SIZES, the EXPERIMENTS, and a page that shows them; returns the page's path."""
    sections: list[tuple[str, str, Path, Size]] = []
    jobs = [((8, 8), size, f"same-latents-{_text(size)}.png", "The same 8×8 latents") for size in OUTPUT_SIZES]
    jobs += [
        (latent_size, size, f"latents-{_text(latent_size)}-to-{_text(size)}.png", f"{_text(latent_size)} latents")
        for latent_size, size in EXPERIMENTS
    ]
    latents: dict[Size, torch.Tensor] = {}
    for latent_size, size, name, title in tqdm(jobs, desc="gallery", unit="sheet", leave=False):
        # A picture of a million pixels costs as much as a thousand small ones: two labels show it.
        shown = list(labels) if size[0] * size[1] < 512**2 else list(labels)[:2]
        if latent_size[0] * latent_size[1] > 32**2:
            shown = shown[:2]
        if latent_size not in latents:
            generators = [torch.Generator().manual_seed(seed + index) for index in range(len(shown))]
            result = pipeline(shown, latent_size, [], generator=generators, output_type="pt")
            latents[latent_size] = result.latents
        canvas = pipeline.diffuser.config.canvas or latent_size
        with torch.inference_mode():
            one_by_one = [
                pipeline.resampler.decode(latent[None], size, canvas) for latent in latents[latent_size][: len(shown)]
            ]
        sheet = contact_sheet(as_output(torch.cat(one_by_one), "pil"), columns=10)
        save_image(sheet, folder / name)
        sections.append((title, f"decoded at {_text(size)}", Path(name), (sheet.height, sheet.width)))
    page = folder / "index.html"
    write_whole(page, lambda path: path.write_text(_page(sections), encoding="utf-8"))
    return page


def _page(sections: Sequence[tuple[str, str, Path, Size]]) -> str:
    figures = []
    for title, detail, name, (height, width) in sections:
        zoom = max(1, min(4, 1000 // width, 400 // height))
        figures.append(
            f"<figure><img src='{html.escape(name.name)}' width='{width * zoom}' alt='{html.escape(title)}'>"
            f"<figcaption><b>{html.escape(title)}</b>, {html.escape(detail)}"
            f"{f', shown {zoom} times enlarged' if zoom > 1 else ''}</figcaption></figure>"
        )
    style = (
        "body{font:16px system-ui;max-width:1080px;margin:2rem auto;padding:0 1rem;background:#fff;color:#222}"
        "@media(prefers-color-scheme:dark){body{background:#16181d;color:#ddd}}"
        "img{image-rendering:pixelated;max-width:100%}figure{margin:2rem 0}figcaption{margin-top:.4rem}"
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>R2ID gallery</title>"
        "<meta name='viewport' content='width=device-width'>"
        f"<style>{style}</style><h1>R2ID gallery</h1>"
        "<p>Each sheet shows one generated picture per label. The first ten sheets decode the same latents; "
        "proportions other than the square it was trained on show the picture stretched.</p>"
        f"{''.join(figures)}</html>\n"
    )


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
