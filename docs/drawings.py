"""The drawings of the documentation, from the library's own functions and the bundled weights.

    python docs/drawings.py

writes docs/drawings/. It needs matplotlib, which the extra [docs] brings.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from r2id import ImageField, R2Pipeline
from r2id.diffusion.noise_field import field_noise
from r2id.files.atomic import write_whole
from r2id.geometry.coordinates import Grid, canvas_extent, pixel_centres
from r2id.geometry.fourier import fourier_features, frequencies

HERE = Path(__file__).parent
BLUE, ORANGE, GREY = "#2f6fb7", "#e07b39", "#8a8f98"


def draw_coordinates() -> Figure:
    """The same grids in relative and in absolute coordinates."""
    sizes = ((4, 4), (8, 8), (4, 8), (9, 6))
    figure = Figure(figsize=(9, 5.1), layout="constrained")
    for column, size in enumerate(sizes):
        points = Grid.of_size(size).points()
        height, width = canvas_extent(size)
        systems = {"relative": (points.relative, (1.0, 1.0)), "absolute": (points.absolute(), (height, width))}
        for row, (name, (places, extent)) in enumerate(systems.items()):
            axes = figure.add_subplot(2, len(sizes), row * len(sizes) + column + 1)
            axes.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, linestyle=":", edgecolor=GREY))
            corner = (-extent[1] / 2, -extent[0] / 2)
            axes.add_patch(Rectangle(corner, extent[1], extent[0], facecolor="#dce8f6", edgecolor=BLUE))
            axes.scatter(places[:, 1], places[:, 0], s=9, color=BLUE)
            axes.set(xlim=(-0.56, 0.56), ylim=(0.56, -0.56), aspect="equal", xticks=(-0.5, 0, 0.5))
            axes.set_yticks((-0.5, 0, 0.5), labels=None if column == 0 else ("", "", ""))
            axes.tick_params(labelsize=8)
            if row == 0:
                axes.set_title(f"{size[0]}×{size[1]}")
            if column == 0:
                axes.set_ylabel(f"{name}\ny")
            if row == 1:
                axes.set_xlabel("x")
    return figure


def draw_jitter() -> Figure:
    """Jittered samples, what is left of a sine after averaging over them, and which frequencies a grid keeps."""
    torch.manual_seed(0)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    places, sine, kept = figure.subplots(1, 3)

    points = Grid.of_size((4, 4)).points()
    moved = torch.stack([points.jittered().relative for _ in range(40)])
    places.scatter(*moved.flatten(0, 1).T.flip(0), s=2, color="#cfd3d9")
    places.scatter(*moved[:, 5].T.flip(0), s=8, color=ORANGE, label="one, jittered 40 times")
    places.scatter(*points.relative.T.flip(0), s=18, color=BLUE, label="centres")
    places.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor=GREY))
    places.set(xlim=(-0.75, 0.75), ylim=(0.75, -0.75), aspect="equal", title="4×4 samples", xlabel="x", ylabel="y")
    places.legend(fontsize=7, loc="lower center", ncols=2)

    # σ is half a cell of 8 samples, and the frequency 4π: one wave over four cells.
    spread, frequency = 0.5 / 8, frequencies(3, 0)[2:]
    x = torch.linspace(-0.5, 0.5, 400)
    centres = pixel_centres(8)
    sampled = (frequency * (centres + spread * torch.randn(200, 8))).sin().mean(dim=0)
    sine.plot(x, fourier_features(x[:, None], frequency)[:, 0], color=GREY, label="sin(ωx)")
    expected = fourier_features(x[:, None], frequency, spread)[:, 0]
    sine.plot(x, expected, color=BLUE, label="expected over the jitter")
    sine.scatter(centres, sampled, s=14, color=ORANGE, zorder=3, label="mean of 200 jittered")
    sine.set(title="one feature, ω = 4π, 8 samples", xlabel="x", ylim=(-1.1, 1.7))
    sine.legend(fontsize=7, loc="upper center")

    powers = torch.arange(-2, 8)
    for count, colour in ((4, ORANGE), (16, BLUE), (64, GREY)):
        # At x = 0 the cosine is 1 before the jitter, so that what is left of it is the factor.
        factor = fourier_features(torch.zeros(1, 1), math.pi * 2.0**powers, 0.5 / count)[0, len(powers) :]
        kept.plot(powers, factor, "o-", markersize=4, color=colour, label=f"{count} samples a side")
    kept.set(title="what the jitter leaves of ω = π·2ᵏ", xlabel="k", ylim=(-0.05, 1.35), xticks=powers.tolist())
    kept.legend(fontsize=7, loc="upper right")
    return figure


def draw_field(field: ImageField) -> Figure:
    """One latent rendered at the size trained on, then larger and, around one point, ever closer."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    small, *near = figure.subplots(1, 4)
    with torch.inference_mode():
        _show(small, field.render((32, 32))[0, 0], "32×32")
    pixels, centre = 256, _edge(field)
    for axes, zoom in zip(near, (1, 4, 16), strict=True):
        side = pixels * zoom
        top, left = (_first_pixel(place, pixels, zoom) for place in centre)
        with torch.inference_mode():
            picture = field.render((side, side), region=(top, left, top + pixels, left + pixels))[0, 0]
        _show(axes, picture, f"{side}×{side}" if zoom == 1 else f"a region of {side}×{side}")
        if axes is not near[-1]:
            inner_top, inner_left = (_first_pixel(place, pixels, 4 * zoom) / 4 for place in centre)
            corner = (inner_left - left, inner_top - top)
            axes.add_patch(Rectangle(corner, pixels / 4, pixels / 4, fill=False, edgecolor=ORANGE, linewidth=1.5))
    return figure


def draw_noise() -> Figure:
    """One field of noise, sampled on three grids."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for column, side in enumerate((4, 8, 16)):
        noise = field_noise(1, 1, (side, side), torch.Generator().manual_seed(3))[0, 0]
        _show(figure.add_subplot(1, 3, column + 1), noise / 2.5, f"{side}×{side}")
    return figure


def _show(axes: Axes, picture: Tensor, title: str) -> None:
    """A grey picture in [−1, 1], every pixel a square."""
    axes.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set(xticks=(), yticks=())


def _first_pixel(place: float, pixels: int, zoom: int) -> int:
    """Where a window of `pixels` around a relative coordinate begins, in pixels of the whole picture."""
    whole = pixels * zoom
    return min(max(round((place + 0.5) * whole) - pixels // 2, 0), whole - pixels)


def _edge(field: ImageField) -> tuple[float, float]:
    """Relative (y, x) where the picture changes most: what is worth looking at closely."""
    with torch.inference_mode():
        picture = field.render((64, 64))[0, 0]
    down, across = torch.gradient(picture)
    row, column = divmod(int((down**2 + across**2).argmax()), 64)
    centres = pixel_centres(64)
    return float(centres[row]), float(centres[column])


def write_drawings(folder: Path) -> None:
    """Write every drawing to a folder."""
    pipeline = R2Pipeline.from_pretrained("mnist")
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(["6"], size=[], generator=torch.Generator().manual_seed(3)).latents
    drawings = {
        "coordinates.svg": draw_coordinates(),
        "jitter.svg": draw_jitter(),
        "field.png": draw_field(pipeline.resampler.field(latents)),
        "noise.svg": draw_noise(),
    }
    # Without a date and with the same names inside, the same drawing is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "r2id", "svg.fonttype": "path"}):
        for name, figure in drawings.items():
            metadata = {"Date": None} if name.endswith(".svg") else {"Software": None}
            write_whole(
                folder / name,
                lambda path, figure=figure, metadata=metadata: figure.savefig(
                    path, dpi=110, pad_inches=0.1, bbox_inches="tight", metadata=metadata
                ),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the drawings of the documentation.")
    parser.add_argument("--output", type=Path, default=HERE / "drawings", help="folder to write to")
    write_drawings(parser.parse_args().output)


if __name__ == "__main__":
    main()
