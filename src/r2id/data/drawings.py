"""Vector pictures in packages of Iconify, rendered once."""

from __future__ import annotations

import json
import multiprocessing
import random
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from r2id.data.content import counted
from r2id.data.dataset import ImageDataset
from r2id.data.pixels import store_pixels
from r2id.errors import InputError
from r2id.files.images import reason
from r2id.files.svg import check_renderer, render_svg
from r2id.geometry.sizes import size_text

ICONS = "icons.json"
ACCEPTED = f"give a package of Iconify, as `npm pack` fetches it, or a folder with its {ICONS}"
SKIN_TONE = re.compile(r"(-(medium-)?(light|medium|dark)(-skin-tone)?)+(?=-|$)")
WHITE_SHARE = 0.4
"""Share of the drawings on white; the others are on a colour of their own."""


NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
VIEW_BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))
"""Sides of a view box, and what they are where an icons.json does not say."""


def load_drawings(
    sources: Sequence[Path], *, drawing_size: int = 512, num_workers: int = 0, pixels: Path | None = None
) -> ImageDataset:
    """Return drawings in RGB, each on white or on a colour that follows from it, without labels.

    Variants of a drawing by skin tone, and drawings that cannot be rendered, are left out.

    Args:
        sources: packages of Iconify as `npm pack` fetches them, or folders with an icons.json.
        drawing_size: side of a rendered drawing in pixels.
        num_workers: processes that render; 0, the default, for none beside the caller's.
        pixels: as for `load_sizes`.
    Raises:
        InputError: a source cannot be read, none of its drawings can be rendered, or resvg-py is not installed.
    """
    check_renderer()
    names: list[str] = []
    drawings: list[str] = []
    variants = 0
    for place in sources:
        icons = read_icons(place)
        some, left_out = drawings_of(icons)
        names.append(str(icons.get("prefix", place.name)))
        drawings += some
        variants += left_out

    pictures = zip(rendered(drawings, drawing_size, num_workers), drawings, strict=True)
    packages = ", ".join(names)
    buckets = store_pixels((_grounded(one, svg) for one, svg in pictures if one), pixels)
    if not buckets:
        raise InputError(f"none of {counted(len(drawings), 'drawing')} of {packages} can be rendered; {ACCEPTED}")
    images = buckets[0][1]
    source = f"{counted(len(images), 'drawing')} of {packages}"
    found = [f"{source}, rendered at {size_text((drawing_size, drawing_size))}"]
    if variants:
        found.append(f"left out {counted(variants, 'variant')} by skin tone")
    if broken := len(drawings) - len(images):
        found.append(f"left out {counted(broken, 'drawing')} that cannot be rendered")
    return ImageDataset(images, None, (), None, source, "; ".join(found))


def rendered(svgs: Sequence[str], side: int, num_workers: int) -> Iterator[Image.Image | None]:
    """Yield drawings as `render_svg` returns them, by several processes if `num_workers` is more than 0."""
    with ExitStack() as stack:
        sides = [side] * len(svgs)
        if not num_workers:
            yield from map(render_svg, svgs, sides)
            return
        # resvg holds Python's lock, and a fork would copy torch's threads.
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(num_workers, context))
        yield from pool.map(render_svg, svgs, sides, chunksize=8)


def drawings_of(icons: dict[str, Any]) -> tuple[list[str], int]:
    """Return the drawings of an icons.json as SVG without a size, and how many more differ by skin tone alone."""
    kept = distinct_names(icons)
    return [svg_of(icons, name) for name in kept], len(icons["icons"]) - len(kept)


def svg_of(icons: dict[str, Any], name: str) -> str:
    """Return a drawing of an icons.json as SVG without a size."""
    icon = icons["icons"][name]
    box = " ".join(str(icon.get(side, icons.get(side, usual))) for side, usual in VIEW_BOX)
    return f'<svg {NAMESPACES} viewBox="{box}">{icon.get("body", "")}</svg>'


def distinct_names(icons: dict[str, Any]) -> list[str]:
    """Return the names of the drawings of an icons.json, without variants by skin tone."""
    known = icons["icons"]
    return [name for name in sorted(known) if (base := SKIN_TONE.sub("", name)) == name or base not in known]


def _grounded(picture: Image.Image, svg: str) -> Image.Image:
    """Return a picture in RGB, on white or on a colour that follows from its SVG."""
    chance = random.Random(zlib.crc32(svg.encode()))
    white = chance.random() < WHITE_SHARE
    ground = Image.new("RGBA", picture.size, "white" if white else tuple(chance.randrange(256) for _ in "rgb"))
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def read_icons(source: Path) -> dict[str, Any]:
    """Return the icons.json of a package or folder. Raises InputError for anything else."""
    icons = read_member(source, ICONS, ACCEPTED)
    if not isinstance(icons, dict) or not isinstance(icons.get("icons"), dict):
        raise InputError(f"{source} holds no {ICONS} with drawings; {ACCEPTED}")
    return icons


def read_member(source: Path, name: str, accepted: str) -> Any:
    """Return a JSON file of a package or folder, or None if it holds none of this name.

    Args:
        name: the file's path, or the end of it.
        accepted: the sources that are accepted, in words, for errors.
    """
    try:
        if source.is_dir():
            path = source / name
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        with tarfile.open(source) as archive:
            members = (one for one in archive if one.name == name or one.name.endswith(f"/{name}"))
            file = next((archive.extractfile(one) for one in members), None)
            return json.load(file) if file else None
    except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{source} cannot be read ({reason(error)}); {accepted}") from error
