"""Splats on disk: `.npz` and `.ply`, which are read again, and `.svg`, which a browser shows.

An `.npz` holds float32 arrays of one picture of N splats. Coordinates are absolute: the canvas's longer side is 1, its
centre (0, 0), and y points down.

- `centres` [N, 2], (y, x); `scales` [N, 2], standard deviations; `rotations` [N], of the first scale's axis from x
  towards y, in radians;
- `colours` [N, 1 or 3] in [−1, 1]; `weights` [N];
- `canvas` [2], (height, width) of the picture; `background`, a grey level in [−1, 1].

A `.ply` holds the same in little-endian binary floats, as the properties of PROPERTIES for each splat, and `canvas` and
`background` in comments. Colours are `red green blue`; those of a grey picture are alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy
import torch

from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.geometry.splats import Splats

PROPERTIES = ("x", "y", "scale_0", "scale_1", "rotation", "weight", "red", "green", "blue")
"""Floats of each splat in a `.ply`, in this order."""
COMMENT = "r2id splats"
"""Begins the comment of a `.ply` with its kind of colour, canvas and background."""
ARRAYS = ("centres", "scales", "rotations", "colours", "weights")
SUFFIXES = (".npz", ".ply", ".svg")
READ_SUFFIXES = (".npz", ".ply")
"""Of these, what is read again."""
LONGEST_HEADER = 1 << 16
"""Bytes that the header of a `.ply` may have."""


def write_splats(path: str | os.PathLike, splats: Splats) -> None:
    """Write one picture's splats, in the format of the file's suffix: .npz, .ply or .svg.

    Raises InputError for another suffix, several pictures, or splats that `Splats.check` refuses.
    """
    path = Path(path)
    splats.check()
    if len(splats.centres) != 1:
        raise InputError(f"there are splats of {len(splats.centres)} pictures; a file holds those of 1")
    writers: dict[str, Callable[[Path, Splats], None]] = {".npz": _write_npz, ".ply": _write_ply, ".svg": _write_svg}
    suffix = path.suffix.lower()
    if suffix not in writers:
        raise InputError(f"{path} is no file of splats; its suffix must be {', '.join(SUFFIXES)}")
    write_whole(path, lambda temporary: writers[suffix](temporary, splats))


def read_splats(path: str | os.PathLike) -> Splats:
    """Read a file of splats, .npz or .ply.

    Raises InputError if it is missing, damaged, of three dimensions, of another program, or larger than memory.
    """
    path = Path(path)
    if path.suffix.lower() not in READ_SUFFIXES:
        raise InputError(f"{path} is no file of splats; give a .npz or .ply that r2id wrote")
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give a file of splats, .npz or .ply")
    try:
        values = _read_npz(path) if path.suffix.lower() == ".npz" else _read_ply(path)
        arrays = {name: torch.from_numpy(values[name].astype(numpy.float32))[None] for name in ARRAYS}
        canvas = numpy.broadcast_to(values["canvas"], 2).tolist()
        if not all(0 < side < math.inf for side in canvas):
            raise InputError(f"the canvas is {tuple(canvas)}; it must be two numbers above 0")
        return Splats.of_ellipses(**arrays, canvas=(canvas[0], canvas[1]), background=float(values["background"]))
    except MemoryError as error:
        raise InputError(f"{path} holds more splats than memory does") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, IndexError, TypeError, BadZipFile, EOFError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path} cannot be read as splats ({reason}); give a file that r2id wrote") from error


def _numbers(splats: Splats) -> dict[str, Any]:
    arrays = {name: getattr(splats, name)[0].detach().cpu().numpy().astype(numpy.float32) for name in ARRAYS}
    return arrays | {"canvas": splats.extent, "background": splats.background}


def _write_npz(path: Path, splats: Splats) -> None:
    numpy.savez(path, **_numbers(splats))


def _read_npz(path: Path) -> dict[str, Any]:
    with numpy.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in (*ARRAYS, "canvas", "background")}


def _write_ply(path: Path, splats: Splats) -> None:
    values = _numbers(splats)
    colours = values["colours"]
    kind = "grey" if colours.shape[1] == 1 else "rgb"
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {COMMENT} {kind} {splats.extent[0]!r} {splats.extent[1]!r} {splats.background!r}",
        f"element vertex {len(colours)}",
        *(f"property float {name}" for name in PROPERTIES),
        "end_header\n",
    ]
    placed = [values["centres"][:, ::-1], values["scales"], values["rotations"][:, None], values["weights"][:, None]]
    table = numpy.concatenate([*placed, numpy.broadcast_to(colours, (len(colours), 3))], 1)
    path.write_bytes("\n".join(lines).encode() + table.astype("<f4").tobytes())


def _read_ply(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head, end, _ = file.read(LONGEST_HEADER).partition(b"end_header\n")
        if not head.startswith(b"ply") or not end:
            raise InputError("it has no header of a .ply")
        lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
        names = tuple(line[-1] for line in lines if line[:1] == ["property"])
        if "z" in names:
            raise InputError("its points have three dimensions; splats of a picture have x and y alone")
        about = next((line[3:] for line in lines if line[:3] == ["comment", *COMMENT.split()]), None)
        binary = ["format", "binary_little_endian", "1.0"] in lines
        floats = all(line[1] == "float" for line in lines if line[:1] == ["property"])
        counts = [line[2] for line in lines if line[:2] == ["element", "vertex"]]
        if about is None or names != PROPERTIES or not (binary and floats and len(counts) == 1):
            raise InputError(f"another program wrote it; splats have the float properties {' '.join(PROPERTIES)}")
        kind, height, width, background = about
        count, start = int(counts[0]), len(head) + len(end)
        size = path.stat().st_size - start
        if size != 4 * count * len(PROPERTIES):
            raise InputError(f"its header tells of {count} splats, which are not what {size} bytes hold")
        file.seek(start)
        table = numpy.frombuffer(file.read(), "<f4").reshape(count, len(PROPERTIES))
    return {
        "centres": table[:, 1::-1],
        "scales": table[:, 2:4],
        "rotations": table[:, 4],
        "weights": table[:, 5],
        "colours": table[:, 6:7] if kind == "grey" else table[:, 6:],
        "canvas": numpy.array([float(height), float(width)]),
        "background": float(background),
    }


SVG_REACH = 4.0
"""Standard deviations that a splat of an `.svg` reaches, as `SplatField`'s."""
STOPS = 20
"""Stops of a gradient, between which it is linear."""
SVG_TILE = 1 / 12
"""Side of the squares that an `.svg` is made of."""
SVG_SAMPLES = 24
"""Samples along the side of a square that the greatest sum of weights is sought at."""
OVERLAP = 0.1
"""Share of its side that a square goes on under the next ones, so that no edge shows between them."""


def _write_svg(path: Path, splats: Splats) -> None:
    """Write an ellipse with a radial gradient for each splat, in each square that it reaches.

    `plus-lighter` adds colours times opacities, and opacities. A filter then makes the sum opaque, and so divides it by
    the sum of opacities: that is the normalised weighted sum. Browsers add in 8 bits, so in each square opacities are
    scaled until their greatest sum is 1.
    """
    values = _numbers(splats)
    height, width = splats.extent
    levels = ((values["colours"] + 1) * 127.5).round().astype(int)
    colours = [bytes(numpy.broadcast_to(level, 3).tolist()).hex() for level in levels]
    circles = [
        f'<circle r="{SVG_REACH:g}" transform="matrix({_matrix(*ellipse)})" style="mix-blend-mode:plus-lighter"'
        for ellipse in zip(values["centres"], values["scales"], values["rotations"], strict=True)
    ]
    gradients: dict[str, str] = {}
    filters: list[str] = []
    groups: list[str] = []
    for top in numpy.arange(-height / 2, height / 2 - 1e-6, SVG_TILE):
        for left in numpy.arange(-width / 2, width / 2 - 1e-6, SVG_TILE):
            number, side = len(filters), SVG_TILE * (1 + OVERLAP)
            seen, greatest = _seen_in(splats, top, left, side)
            filters.append(
                f'<filter id="n{number}" color-interpolation-filters="sRGB" filterUnits="userSpaceOnUse" x="{left:.6g}"'
                f' y="{top:.6g}" width="{side:.6g}" height="{side:.6g}"><feComponentTransfer>'
                '<feFuncA type="linear" slope="255"/></feComponentTransfer></filter>'
            )
            groups.append(f'<g filter="url(#n{number})">')
            for one in seen:
                opacity = values["weights"][one] / greatest
                # Of a splat whose middle lies in another square, more than 1 may be needed there.
                power = max(0, math.ceil(math.log2(opacity)))
                name = f"c{colours[one]}-{power}"
                gradients[name] = _gradient(name, colours[one], 2**power)
                groups.append(f'{circles[one]} fill="url(#{name})" fill-opacity="{opacity / 2**power:.5f}"/>')
            groups.append("</g>")
    ground = bytes([round((splats.background + 1) * 127.5)] * 3).hex()
    view = f"{-width / 2:.6g} {-height / 2:.6g} {width:.6g} {height:.6g}"
    box = f'x="{-width / 2:.6g}" y="{-height / 2:.6g}" width="{width:.6g}" height="{height:.6g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">',
        *filters,
        *(gradients[name] for name in sorted(gradients)),
        f'<rect {box} fill="#{ground}"/>',
        *groups,
        "</svg>",
    ]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _matrix(centre: numpy.ndarray, scales: numpy.ndarray, angle: float) -> str:
    """Return the transform of a circle of standard deviations to an ellipse."""
    cos, sin = math.cos(angle), math.sin(angle)
    entries = (scales[0] * cos, scales[0] * sin, -scales[1] * sin, scales[1] * cos, centre[1], centre[0])
    return " ".join(f"{entry:.6g}" for entry in entries)


def _gradient(name: str, colour: str, factor: int) -> str:
    """Return a gradient whose opacity is the kernel of a splat times a factor, and 1 at most."""
    stops = "".join(
        f'<stop offset="{step / STOPS:g}" stop-color="#{colour}" stop-opacity="{opacity:.5f}"/>'
        for step in range(STOPS + 1)
        for opacity in [min(1, factor * (math.exp(-((SVG_REACH * step / STOPS) ** 2) / 2) - LEAST_KERNEL))]
    )
    return f'<radialGradient id="{name}">{stops}</radialGradient>'


LEAST_KERNEL = math.exp(-(SVG_REACH**2) / 2)


def _seen_in(splats: Splats, top: float, left: float, side: float) -> tuple[list[int], float]:
    """Return the splats that show in a square, and the greatest sum of their weights times kernels there."""
    yy, xy, xx = (entry[0].double() for entry in splats.covariances())
    centres = splats.centres[0].double() - torch.tensor([top, left]).double()
    # Of many splats, few reach a square.
    reach = SVG_REACH * torch.stack([yy, xx], -1).sqrt()
    near = ((centres + reach > 0) & (centres - reach < side)).all(-1).nonzero().flatten()
    yy, xy, xx, centres, weights = (each[near] for each in (yy, xy, xx, centres, splats.weights[0].double()))
    along = (torch.arange(SVG_SAMPLES + 1) / SVG_SAMPLES).double() * side
    y, x = along[:, None, None] - centres[:, 0], along[:, None] - centres[:, 1]
    square = (y.square() * xx - 2 * y * x * xy + x.square() * yy) / (yy * xx - xy.square())
    shown = ((-square / 2).exp() - LEAST_KERNEL).clamp(min=0) * weights
    sums = shown.sum(-1)
    inside = ((centres >= 0) & (centres <= side)).all(-1)
    # A small splat may lie between the samples, and the sum be greater there.
    greatest = max(sums.max().item(), weights[inside].amax(0).item() if inside.any() else 0)
    share = (shown / sums.clamp_min(1e-30)[..., None]).amax((0, 1))
    return near[(share > 1e-3) | inside].tolist(), max(greatest, 1e-30)
