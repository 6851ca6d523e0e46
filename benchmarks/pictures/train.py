"""Train the pyramid for a number of seconds, or of steps, on what `collect.py` gathered.

    python benchmarks/pictures/train.py --data out/pictures --output out/pyramid --seconds 540 \
        --init-from benchmarks/pictures/weights.safetensors

A step holds three kinds of crops: photographs to enlarge, photographs to keep, and drawings, whose truth is as sharp as
wanted. The schedule follows the clock, so a run of any length ends at a low learning rate.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pyramid import PIXELS, Pyramid, centres, resize
from safetensors.torch import load_file, save_file
from torch import Tensor

START = time.perf_counter()
LATENT_NOISE = 0.03
"""Most noise that latents get while training, of their own standard deviation, so that 8 bits hold them."""


def say(*words: object) -> None:
    print(f"{time.perf_counter() - START:6.1f} s", *words, flush=True)


# Data, all of it on the device.


def tiles_of(picture: np.ndarray, side: int) -> list[np.ndarray]:
    """Square tiles that cover a picture [H, W, 3] with some overlap; none if it is too small."""
    if min(picture.shape[:2]) < side:
        return []
    rows, columns = (
        np.linspace(0, length - side, math.ceil(length / (0.8 * side))).astype(int) for length in picture.shape[:2]
    )
    return [picture[y : y + side, x : x + side] for y in rows for x in columns]


def photographs(folder: Path, side: int) -> Tensor:
    """Tiles [N, 3, side, side] of 8 bits, of the photographs and, where these are large, of half their size."""

    def tiles(path: Path) -> list[np.ndarray]:
        picture = Image.open(path).convert("RGB")
        smaller = [picture, picture.reduce(2)] if max(picture.size) > 800 else [picture]
        return [tile for one in smaller for tile in tiles_of(np.asarray(one), side)]

    with ThreadPoolExecutor() as pool:
        found = [tile for some in pool.map(tiles, sorted(folder.glob("*.jpg"))) for tile in some]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


def render(job: tuple[tuple[float, float, str], int]) -> np.ndarray | None:
    """A drawing of `side` × `side` on white or on a colour of its own; None where it cannot be rendered."""
    import resvg_py

    (width, height, body), side = job
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{side}" height="{side}" viewBox="0 0 {width} {height}" preserveAspectRatio="none">{body}</svg>'
    )
    try:
        data = bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))
    except Exception:
        return None
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    chance = random.Random(zlib.crc32(body.encode()))
    ground = (255, 255, 255) if chance.random() < 0.4 else tuple(chance.randrange(256) for _ in range(3))
    flat = Image.new("RGBA", picture.size, (*ground, 255))
    flat.alpha_composite(picture)
    return np.asarray(flat.convert("RGB")) if picture.size == (side, side) else None


def drawings(folder: Path, side: int, most: int) -> Tensor:
    """Drawings [N, 3, side, side] of 8 bits."""
    known = list(json.loads(zlib.decompress((folder / "drawings.json.z").read_bytes())).values())
    random.Random(0).shuffle(known)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        drawn = [one for one in pool.map(render, [(one, side) for one in known[:most]], chunksize=8) if one is not None]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


def crops(store: Tensor, count: int, side: int) -> Tensor:
    """Random squares in [−1, 1], an eighth of them in each of the eight orientations."""
    device = store.device
    which = torch.randint(len(store), (count, 1, 1), device=device)
    corner = torch.randint(store.shape[-1] - side + 1, (2, count, 1, 1), device=device)
    along = torch.arange(side, device=device)
    taken = store.permute(0, 2, 3, 1)[which, corner[0] + along[:, None], corner[1] + along]
    parts = list((taken.permute(0, 3, 1, 2).float() / 127.5 - 1).chunk(8))
    for k, part in enumerate(parts):
        part = part.flip([axis for axis, bit in ((2, 1), (3, 2)) if k & bit])
        parts[k] = part.transpose(2, 3) if k & 4 else part
    return torch.cat(parts)


def eight_bit(picture: Tensor) -> Tensor:
    """Values in [−1, 1], rounded as a file of 8 bits rounds them."""
    return ((picture.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def resized(picture: Tensor, side: int) -> Tensor:
    return picture if picture.shape[-1] == side else eight_bit(resize(picture, side, side))


# Steps.


@dataclass(frozen=True)
class Crops:
    """Pictures of one density, and what they are to look like at another."""

    given: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Plan:
    """How large a step is: pictures, cells along a side, and pixels along a side of what a loss is taken of."""

    batch: int
    cells: int
    patch: int


def enlarging(store: Tensor, count: int, cells: int, chance: random.Random) -> Crops:
    """Four pixels a cell by ×2, ×3 and ×4 more often than not; else any density and scale."""
    four = chance.random() < 0.6
    given = 4 * cells if four else round(chance.uniform(2.5, 8) * cells)
    whole = four and chance.random() < 0.7
    wanted = given * chance.choice((2, 3, 4)) if whole else round(given * chance.uniform(1, 4))
    truth = crops(store, count, min(wanted, store.shape[-1]))
    return Crops(resized(truth, min(given, truth.shape[-1])), truth)


def keeping(store: Tensor, count: int, cells: int, chance: random.Random) -> Crops:
    """16 and 8 pixels a cell more often than not, decoded at the same size or a smaller one."""
    density = chance.choice((16.0, 16.0, 8.0, chance.uniform(3, 16)))
    given = crops(store, count, min(round(density * cells), store.shape[-1]))
    side = given.shape[-1]
    return Crops(given, given if chance.random() < 0.75 else resized(given, round(side * chance.uniform(0.25, 1))))


def drawing(store: Tensor, count: int, cells: int, chance: random.Random) -> Crops:
    """Few pixels a cell, decoded at as many as the drawing was rendered with."""
    full = store.shape[-1]
    truth = crops(store, count, full if chance.random() < 0.5 else chance.randrange(full // 3, full))
    return Crops(resized(truth, min(round(chance.uniform(3, 8) * cells), truth.shape[-1])), truth)


def loss_of(
    network: Pyramid, some: list[Crops], plan: Plan, squared: bool, chance: random.Random
) -> tuple[Tensor, Tensor]:
    """Loss of a step, and the mean squared error of each of its kinds."""
    device, cells = some[0].given.device, plan.cells
    side = PIXELS * cells
    with torch.no_grad():
        sampled = torch.cat([resize(one.given, side, side) for one in some])
        densities = [one.given.shape[-1] / cells for one in some for _ in one.given]
        density = torch.tensor(densities, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        latent = network.encode_sampled(sampled, density)
        level = LATENT_NOISE * torch.rand(len(latent), 1, 1, 1, device=device).sub(0.5).clamp(min=0) * 2
        spread = latent.detach().float().flatten(0, 2).std(0)
        picture, features = network.summarise(latent + torch.randn_like(latent, dtype=torch.float32) * level * spread)
        total, errors, start = torch.zeros((), device=device), [], 0
        for one in some:
            stop, wanted = start + len(one.truth), one.truth.shape[-1]
            patch = min(wanted, plan.patch)
            y, x = (slice(k, k + patch) for k in (chance.randint(0, wanted - patch), chance.randint(0, wanted - patch)))
            places = centres(cells, wanted, device)
            summary = picture[start:stop], features[start:stop]
            error = network.read(summary, places[y], places[x], wanted / cells) - one.truth[:, :, y, x]
            # Both are about as large where the error is that of a good network.
            loss = 8 * error.square().mean() if squared else error.abs().mean()
            total = total + loss * len(one.truth) / plan.batch
            errors.append(error.detach().square().mean())
            start = stop
    return total, torch.stack(errors)


class Clock:
    """Where the time of some steps goes, told once."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spent = device, dict[str, float]()

    @contextmanager
    def part(self, name: str, counts: bool) -> Iterator[None]:
        if not counts:
            yield
            return
        self._wait()
        since = time.perf_counter()
        yield
        self._wait()
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - since

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--init-from", type=Path)
    parser.add_argument("--seconds", type=float, default=540, help="from the start of the program")
    parser.add_argument("--steps", type=int, help="instead of seconds")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--patch", type=int, default=192)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--drawing", type=int, default=768)
    parser.add_argument("--most-drawings", type=int, default=700)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--squared-from", type=float, default=0.5, help="share of the time with absolute errors")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    chance = random.Random(options.seed)
    torch.set_float32_matmul_precision("high")

    photos = photographs(options.data, options.tile).to(device)
    drawn = drawings(options.data, options.drawing, options.most_drawings).to(device)
    network = Pyramid().to(device)
    if options.init_from:
        network.load_state_dict({name: value.float() for name, value in load_file(options.init_from).items()})
    say(len(photos), "tiles,", len(drawn), "drawings,", sum(p.numel() for p in network.parameters()), "parameters")
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    inner = [p for name, p in network.named_parameters() if name.endswith(("up.weight", "down.weight"))]
    others = [p for name, p in network.named_parameters() if not name.endswith(("up.weight", "down.weight"))]
    groups = [{"params": inner, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, options.learning_rate, (0.9, 0.98), fused=True)
    if options.compile:
        network.encode_sampled = torch.compile(network.encode_sampled)  # type: ignore[method-assign]
        network.summarise = torch.compile(network.summarise)  # type: ignore[method-assign]
    plan = Plan(options.batch, options.cells, options.patch)
    enlarged, kept = plan.batch * 9 // 16, plan.batch * 5 // 16

    def keep() -> None:
        target = options.output / "weights.safetensors"
        save_file({name: value.half() for name, value in average.items()}, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)

    clock, step, errors, since, left = Clock(device), 0, [], 0.0, 0.0
    while True:
        if step == 2:  # What comes before is compiling.
            since = time.perf_counter()
            left = START + options.seconds - since
        done = step / options.steps if options.steps else (time.perf_counter() - since) / left if step > 2 else 0.0
        if done >= 1:
            break
        rate = options.learning_rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        timed = 10 <= step < 20
        with clock.part("crops", timed):
            some = [
                enlarging(photos, enlarged, plan.cells, chance),
                keeping(photos, kept, plan.cells, chance),
                drawing(drawn, plan.batch - enlarged - kept, plan.cells, chance),
            ]
        with clock.part("forward", timed):
            loss, error = loss_of(network, some, plan, done > options.squared_from, chance)
        with clock.part("backward", timed):
            loss.backward()
        with clock.part("optimiser", timed):
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        step += 1
        with torch.no_grad():
            current = network.state_dict()
            torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 / min(1000, 9 + step))
        errors.append(error)
        if step == 20:
            say("ms a step:", {name: round(100 * spent) for name, spent in clock.spent.items()})
        if step % 100 == 0:
            mean = torch.stack(errors).mean(0).tolist()
            say(step, f"{done:.3f} dB enlarged, kept, drawn:", *(f"{-10 * math.log10(one / 4):.2f}" for one in mean))
            errors = []
        if step % 1000 == 0:
            keep()
    keep()
    say("kept after", step, "steps")


if __name__ == "__main__":
    main()
