"""Measure an R2IR for pictures: reconstruction, enlarging, making smaller, vector pictures and the width of edges.

    python benchmarks/pictures/measure.py --bsd100 BSDS500/val --set5 SET5 --drawings iconify-json-emojione.tgz

Conventions: values are rounded to 8 bits before they are compared. Figures of BSD100 are PSNR of RGB, those of Set5
PSNR of Y (ITU-R BT.601). A border of as many pixels as the scale, rounded up, is cut off if a picture is enlarged.
Smaller pictures are made by antialiased cubic (Keys, a = -1/2), sizes of other scales rounded. A figure is the mean of
the pictures' own. Nothing here may be trained on: BSD100 is BSDS500's val.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from r2id import R2IR
from r2id.data.drawings import drawings_of, read_icons
from r2id.files.svg import render_svg

CELL = 4
"""Pixels a cell, along a side, of a picture that is enlarged or made smaller."""
ENLARGED = (1.3, 1.7, 2.4, 3.6, 6, 8)
SMALLER = (0.3, 0.5, 0.8)
Resize = Callable[[Tensor, tuple[int, int]], Tensor]


def picture_of(path: Path) -> Tensor:
    """[1, 3, H, W] in [−1, 1]."""
    with Image.open(path) as picture:
        return as_tensor(picture.convert("RGB"))


def as_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1


def as_image(picture: Tensor) -> Image.Image:
    levels = ((picture[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


def eight_bit(picture: Tensor) -> Tensor:
    return ((picture.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def luma(picture: Tensor) -> Tensor:
    """Y of BT.601 in [0, 1]."""
    red, green, blue = ((picture[:, channel] + 1) / 2 for channel in range(3))
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def psnr(one: Tensor, other: Tensor, span: float = 2) -> float:
    return 10 * math.log10(span**2 / max(1e-10, (one - other).square().mean().item()))


def inside(picture: Tensor, border: int) -> Tensor:
    return picture[..., border : picture.shape[-2] - border, border : picture.shape[-1] - border]


def cubic(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return eight_bit(functional.interpolate(picture, size, mode="bicubic", antialias=True))


def lanczos(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return as_tensor(as_image(picture).resize(size[::-1], Image.Resampling.LANCZOS))


def scaled(picture: Tensor, factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in picture.shape[-2:])
    return height, width


def reconstruction(network: R2IR, pictures: list[Tensor], pixels: float) -> float:
    def figure(picture: Tensor) -> float:
        size = (picture.shape[-2], picture.shape[-1])
        return psnr(eight_bit(network.decode(network.encode(picture, pixels_per_cell=pixels), size)), picture)

    return mean(map(figure, pictures))


def linear_code(trained: list[Tensor], pictures: list[Tensor], side: int = 16, kept: int = 64) -> float:
    """PSNR of squares of side × side pixels that are kept as `kept` principal components of those of other pictures."""

    def squares(picture: Tensor) -> Tensor:
        return functional.unfold(picture, side, stride=side)[0].mT

    every = torch.cat([squares(picture) for picture in trained])
    middle = every.mean(0)
    basis = torch.linalg.eigh((every - middle).mT @ (every - middle)).eigenvectors[:, -kept:]

    def figure(picture: Tensor) -> float:
        given = squares(picture) - middle
        return psnr(given @ basis @ basis.mT, given)

    return mean(map(figure, pictures))


def enlarging(pictures: list[Tensor], scale: float, resizes: list[Resize], y_only: bool) -> list[float]:
    """PSNR of pictures that are made smaller by the scale and enlarged again, by each of several ways."""
    border, figures = math.ceil(scale), []
    for picture in pictures:
        if scale == round(scale):
            height, width = (side // int(scale) * int(scale) for side in picture.shape[-2:])
            picture = picture[..., :height, :width]
        small = cubic(picture, scaled(picture, 1 / scale))
        made = [inside(resize(small, (picture.shape[-2], picture.shape[-1])), border) for resize in resizes]
        truth = inside(picture, border)
        figures.append([psnr(luma(one), luma(truth), 1) if y_only else psnr(one, truth) for one in made])
    return [mean(column) for column in zip(*figures, strict=True)]


def drawings(package: Path, count: int, side: int) -> Iterator[Image.Image]:
    """Drawings of an npm package of Iconify, side × side, on white."""
    icons = read_icons(package)
    names = sorted(icons["icons"])
    random.Random(7).shuffle(names)
    for name in names[:count]:
        ((svg,), _) = drawings_of(icons | {"icons": {name: icons["icons"][name]}})
        drawn = render_svg(svg, side)
        assert drawn, f"{name} of {package} cannot be rendered"
        ground = Image.new("RGBA", drawn.size, "white")
        ground.alpha_composite(drawn)
        yield ground.convert("RGB")


def sheet(package: Path, resizes: list[Resize], count: int = 3, small: int = 48, large: int = 384) -> Image.Image:
    """Drawings as small pixels, enlarged by each of several ways, and as they are, side by side."""
    rows = []
    for drawing in drawings(package, count, large):
        pixels = drawing.resize((small, small), Image.Resampling.BOX)
        made = [as_image(resize(as_tensor(pixels), (large, large))) for resize in resizes]
        rows.append([pixels.resize((large, large), Image.Resampling.NEAREST), *made, drawing])
    whole = Image.new("RGB", ((large + 8) * len(rows[0]) - 8, (large + 8) * count - 8), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture, ((large + 8) * x, (large + 8) * y))
    return whole


def edge_width(resize: Resize, scale: int = 16, side: int = 32) -> float:
    """Enlarged pixels in which step edges rise from 10 to 90 %, between them by straight lines; the mean of some."""
    widths = []
    for place in (15.0, 15.25, 15.5, 15.75):
        for dark, light in ((-0.8, 0.8), (-0.3, 0.4)):
            share = (torch.arange(side) + 1 - place).clamp(0, 1)
            step = (dark + (light - dark) * share).expand(1, 3, side, side)
            row = resize(eight_bit(step), (scale * side, scale * side))[0, 0, scale * side // 2]
            level = ((row - dark) / (light - dark)).tolist()
            places = [_crossing(level, wanted, scale * place) for wanted in (0.1, 0.9)]
            widths.append(places[1] - places[0])
    return mean(widths)


def _crossing(level: list[float], wanted: float, middle: float) -> float:
    """Where a rising row crosses a level, nearest to the middle."""
    found = [
        index + (wanted - one) / (other - one)
        for index, (one, other) in enumerate(zip(level, level[1:], strict=False))
        if one < wanted <= other
    ]
    return min(found, key=lambda place: abs(place - middle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pictures", help="bundled name, folder or hub id of an R2IR")
    parser.add_argument("--bsd100", type=Path, required=True)
    parser.add_argument("--set5", type=Path, required=True)
    parser.add_argument("--drawings", type=Path, help="an npm package of Iconify that was not trained on")
    parser.add_argument("--sheet", type=Path, help="file for a sheet of enlarged drawings; measures nothing")
    parser.add_argument("--train", type=Path, help="BSDS500/train, for a linear code to compare with")
    parser.add_argument("--every", type=int, default=1, help="picture of BSD100 that is measured")
    parser.add_argument("--only", choices=("reconstruction", "set5", "scales", "smaller", "drawings", "edges"))
    options = parser.parse_args()
    network = R2IR.from_pretrained(options.model).eval()

    def ours(picture: Tensor, size: tuple[int, int]) -> Tensor:
        shape = (picture.shape[-2], picture.shape[-1])
        return eight_bit(network.field_of(picture, shape, CELL).render(size))

    def wanted(name: str) -> bool:
        return options.only in (None, name)

    def say(text: str) -> None:
        print(text, flush=True)

    if options.sheet:
        with torch.inference_mode():
            sheet(options.drawings, [lanczos, ours]).save(options.sheet)
        return
    photographs = [picture_of(path) for path in sorted(options.bsd100.glob("*.jpg"))[:: options.every]]
    set5 = [picture_of(path) for path in sorted(options.set5.glob("*.png"))]
    with torch.inference_mode():
        if wanted("edges"):
            ratio = edge_width(ours) / edge_width(lanczos)
            say(f"width of a step edge at x16: {ratio:.2f} of Lanczos's")
        if wanted("set5"):
            for scale in (2, 3, 4):
                figure, other = enlarging(set5, scale, [ours, cubic], y_only=True)
                say(f"Set5 Y x{scale}: {figure:.2f} dB, bicubic {other:.2f}")
        if wanted("drawings") and options.drawings:
            figures = []
            for drawing in drawings(options.drawings, 40, 1024):
                truth = as_tensor(drawing)
                small = as_tensor(drawing.resize((64, 64), Image.Resampling.BOX))
                figures.append([psnr(resize(small, (1024, 1024)), truth) for resize in (ours, lanczos)])
            figure, other = (mean(column) for column in zip(*figures, strict=True))
            say(f"{len(figures)} drawings from 64 to 1024 pixels: {figure:.2f} dB, Lanczos {other:.2f}")
        if wanted("reconstruction"):
            for pixels in (16, 8, 4):
                figure = reconstruction(network, photographs, pixels)
                say(f"reconstruction at {pixels} pixels a cell, {len(photographs)} photographs: {figure:.2f} dB")
            if options.train:
                trained = [picture_of(path) for path in sorted(options.train.glob("*.jpg"))]
                say(f"64 principal components of 16x16 pixels: {linear_code(trained, photographs):.2f} dB")
        if wanted("scales"):
            for scale in ENLARGED:
                figure, other = enlarging(photographs, scale, [ours, lanczos], y_only=False)
                say(f"BSD100 x{scale}: {figure:.2f} dB, Lanczos {other:.2f}, ahead by {figure - other:+.2f}")
        if wanted("smaller"):
            for scale in SMALLER:
                sizes = [scaled(picture, scale) for picture in photographs]
                pairs = zip(photographs, sizes, strict=True)
                figure = mean(psnr(ours(picture, size), lanczos(picture, size)) for picture, size in pairs)
                say(f"BSD100 x{scale}: {figure:.2f} dB from Lanczos's")
            figures = []
            for picture in photographs:
                size = (picture.shape[-2], picture.shape[-1])
                figures.append(psnr(ours(ours(picture, scaled(picture, 2)), size), picture))
            say(f"BSD100 twice as large and back: {mean(figures):.2f} dB")


if __name__ == "__main__":
    main()
