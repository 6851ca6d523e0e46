"""Train R2IR's pyramid and two peers on the same photographs for the same time, and measure all three.

    python benchmarks/pictures/peers.py --photographs BSDS500/train --bsd100 BSDS500/val --set5 SET5 --seconds 600

The three take turns of some seconds, so that what else the machine does slows all alike. A second is one of processor
time for each thread, which on an idle machine is a second of the clock. The state of each is kept after every turn, and
the same command resumes. Conventions of the figures are those of `measure.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from measure import as_image, cubic, eight_bit, enlarging, picture_of, reconstruction
from peer_networks import Autoencoder, SuperResolution
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from r2id import R2IR
from r2id.geometry.coordinates import Grid
from r2id.runtime.precision import autocast

RESULTS = Path(__file__).parent / "results" / "peers.json"
CELLS, PIXELS, FEWER = 6, 16, 4
"""Cells along a side of a crop; pixels along a side of a cell that is kept, and of one that is enlarged."""
KL_WEIGHT = 1e-6
"""As latent diffusion has it (Rombach et al. 2022)."""
MEGAPIXEL = (864, 1152)
Photographs = list[Tensor]
"""[3, H, W] of 8 bits each."""


# Data, the same for all.


def photographs_of(folder: Path) -> Photographs:
    return [((picture_of(path)[0] + 1) * 127.5).round().byte() for path in sorted(folder.glob("*.jpg"))]


def crops(photographs: Photographs, count: int, side: int, chance: random.Random) -> Tensor:
    """Random squares [count, 3, side, side] in [−1, 1], in random orientations."""
    some = []
    for _ in range(count):
        photograph = chance.choice(photographs)
        y, x = (chance.randint(0, length - side) for length in photograph.shape[-2:])
        one = photograph[:, y : y + side, x : x + side]
        one = one.flip([axis for axis in (1, 2) if chance.random() < 0.5])
        some.append(one.transpose(1, 2) if chance.random() < 0.5 else one)
    return torch.stack(some).float() / 127.5 - 1


def to_enlarge(photographs: Photographs, count: int, chance: random.Random) -> tuple[Tensor, Tensor]:
    """Pictures of 24×24 pixels, and what they are enlarged to: by ×2, ×3 and ×4 more often than not, else by 1 to 4."""
    given = FEWER * CELLS
    scale = chance.choice((2, 3, 4)) if chance.random() < 0.7 else chance.uniform(1, 4)
    truth = crops(photographs, count, round(given * scale), chance)
    return cubic(truth, (given, given)), truth


# Networks, and the loss of a step of each.


def error_of(made: Tensor, truth: Tensor, done: float) -> Tensor:
    """Absolute errors in the first half of the time and squared ones, about as large, in the second."""
    error = made.float() - truth
    return error.abs().mean() if done < 0.5 else 8 * error.square().mean()


def pyramid_loss(network: R2IR, photographs: Photographs, batch: int, chance: random.Random, done: float) -> Tensor:
    """Half of a step keeps pictures, the other enlarges them, with the same weights."""
    kept = crops(photographs, batch // 2, PIXELS * CELLS, chance)
    given, truth = to_enlarge(photographs, batch - batch // 2, chance)
    cells = (CELLS, CELLS)
    query = Grid.of_size((truth.shape[-2], truth.shape[-1]))
    return error_of(network(kept, cells), kept, done) + error_of(network(given, cells, query), truth, done)


def autoencoder_loss(
    network: Autoencoder, photographs: Photographs, batch: int, chance: random.Random, done: float
) -> Tensor:
    kept = crops(photographs, batch, PIXELS * CELLS, chance)
    made, divergence = network(kept)
    return error_of(made, kept, done) + KL_WEIGHT * divergence


def super_resolution_loss(
    network: SuperResolution, photographs: Photographs, batch: int, chance: random.Random, done: float
) -> Tensor:
    given, truth = to_enlarge(photographs, batch, chance)
    return error_of(network(given, (truth.shape[-2], truth.shape[-1])), truth, done)


@dataclass(frozen=True)
class Peer:
    make: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    learning_rate: float


def pyramid() -> R2IR:
    return R2IR(image_channels=3, latent_channels=64, attention="pyramid")


PEERS = {
    "R2IR": Peer(pyramid, pyramid_loss, 1e-3),
    "AutoencoderKL": Peer(Autoencoder, autoencoder_loss, 1e-3),
    "EDSR-LIIF": Peer(SuperResolution, super_resolution_loss, 1e-3),
}


class Training:
    """One network, its optimiser and how long it has trained, kept in a file."""

    def __init__(self, peer: Peer, seconds: float, batch: int, file: Path | None = None) -> None:
        torch.manual_seed(0)
        self.peer, self.seconds, self.batch, self.file = peer, seconds, batch, file
        self.network = peer.make().train()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), peer.learning_rate, (0.9, 0.98), weight_decay=0.0)
        self.spent = self.clock = 0.0
        self.steps = 0
        if file and file.exists():
            kept = torch.load(file, weights_only=True)
            self.network.load_state_dict(kept["network"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.spent, self.clock, self.steps = kept["spent"], kept["clock"], kept["steps"]

    def turn(self, photographs: Photographs, seconds: float) -> float:
        """Train for some seconds, and keep the state. Returns the mean loss."""
        losses = []
        until = min(self.spent + seconds, self.seconds)
        while self.spent < until:
            began, clock = time.process_time(), time.perf_counter()
            losses.append(self.step(photographs))
            self.spent += (time.process_time() - began) / torch.get_num_threads()
            self.clock += time.perf_counter() - clock
        if self.file:
            kept = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
            kept |= {"spent": self.spent, "clock": self.clock, "steps": self.steps}
            torch.save(kept, self.file.with_suffix(".new"))
            self.file.with_suffix(".new").replace(self.file)
        return sum(losses) / max(1, len(losses))

    def step(self, photographs: Photographs) -> float:
        """One step, whose crops depend on its number alone."""
        done = min(1.0, self.spent / self.seconds)
        rate = min(1, (self.steps + 1) / 20) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.peer.learning_rate * rate
        torch.manual_seed(self.steps)
        with autocast("bf16", "cpu"):
            loss = self.peer.loss(self.network, photographs, self.batch, random.Random(self.steps), done)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1
        return loss.item()


def train(trainings: dict[str, Training], photographs: Photographs, turn: float) -> None:
    while any(one.spent < one.seconds for one in trainings.values()):
        for name, one in trainings.items():
            if one.spent < one.seconds:
                loss = one.turn(photographs, turn)
                print(f"{name}: {one.spent:.0f} s, {one.steps} steps, loss {loss:.4f}", flush=True)


# What is measured.


def enlarge(network: nn.Module, picture: Tensor, size: tuple[int, int]) -> Tensor:
    if isinstance(network, SuperResolution):
        return eight_bit(network(picture, size))
    return eight_bit(network.field_of(picture, (picture.shape[-2], picture.shape[-1]), FEWER).render(size))


def keep(network: nn.Module, picture: Tensor) -> Tensor:
    latent = network.encode(picture, pixels_per_cell=PIXELS)
    return eight_bit(network.decode(latent, (picture.shape[-2], picture.shape[-1])))


def multiply_adds(work: Callable[[], object], pixels: int) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2 / pixels


def costs(networks: dict[str, nn.Module], side: int = 128) -> dict[str, dict[str, float]]:
    """Parameters, and multiply-adds a pixel given, of keeping a picture and of enlarging it twofold."""
    picture, double = torch.rand(1, 3, side, side) * 2 - 1, (2 * side, 2 * side)
    found = {}
    for name, network in networks.items():
        found[name] = {"parameters": float(sum(one.numel() for one in network.parameters()))}
        if not isinstance(network, SuperResolution):
            found[name]["keeping"] = multiply_adds(lambda one=network: keep(one, picture), side * side)
        if not isinstance(network, Autoencoder):
            found[name]["doubling"] = multiply_adds(lambda one=network: enlarge(one, picture, double), side * side)
    return found


def set5_figures(networks: dict[str, nn.Module], pictures: list[Tensor]) -> dict[str, list[float]]:
    """PSNR of Y at ×2, ×3 and ×4 of each network that enlarges, and of a bicubic filter."""
    chosen = [name for name in networks if name != "AutoencoderKL"]
    resizes = [lambda picture, size, one=networks[name]: enlarge(one, picture, size) for name in chosen] + [cubic]
    columns = zip(*(enlarging(pictures, scale, resizes, y_only=True) for scale in (2, 3, 4)), strict=True)
    return dict(zip([*chosen, "bicubic"], map(list, columns), strict=True))


def times(networks: dict[str, nn.Module], picture: Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of doubling a photograph by R2IR, and of decoding as large a picture by the autoencoder, in turns."""
    sys.path.append(str(Path(__file__).parents[1] / "speed"))
    from measuring import take_turns

    size = (2 * picture.shape[-2], 2 * picture.shape[-1])
    latent = torch.randn(1, 64, math.ceil(size[0] / PIXELS), math.ceil(size[1] / PIXELS))

    def within(precision: str, work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with autocast(precision, "cpu"):
                work()

        return run

    alternatives = {}
    for precision in ("bf16", "fp32"):
        double = partial(enlarge, networks["R2IR"], picture, size)
        alternatives[f"R2IR, {precision}"] = within(precision, double)
        decode = partial(networks["AutoencoderKL"].decode, latent, size)
        alternatives[f"AutoencoderKL, {precision}"] = within(precision, decode)
    return take_turns(alternatives, rounds)


def sheet(
    networks: dict[str, nn.Module], photographs: list[Tensor], small: list[Tensor], side: int = 192
) -> Image.Image:
    """Crops of photographs, kept by each network that keeps; and pictures enlarged fourfold by each that enlarges."""
    rows = []
    for picture in photographs:
        rows.append([picture, *(keep(networks[name], picture) for name in ("R2IR", "AutoencoderKL"))])
    for picture in small:
        size = (picture.shape[-2], picture.shape[-1])
        given = cubic(picture, (size[0] // 4, size[1] // 4))
        rows.append([picture, *(enlarge(networks[name], given, size) for name in ("R2IR", "EDSR-LIIF"))])
    page = Image.new("RGB", (3 * (side + 4) - 4, len(rows) * (side + 4) - 4), "white")
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            top, left = ((length - side) // 2 for length in one.shape[-2:])
            page.paste(as_image(one[..., top : top + side, left : left + side]), (x * (side + 4), y * (side + 4)))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of JPEG to train on")
    parser.add_argument("--bsd100", type=Path, required=True)
    parser.add_argument("--set5", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600, help="for each network")
    parser.add_argument("--turn", type=float, default=20, help="seconds of one after another")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="one, where others run too")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--output", type=Path, default=Path("out/peers"), help="folder of the networks' states")
    parser.add_argument("--only", choices=("train", "costs", "reconstruction", "set5", "time", "sheet"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    trainings = {
        name: Training(peer, options.seconds, options.batch, options.output / f"{name}.pt")
        for name, peer in PEERS.items()
    }

    def wanted(name: str) -> bool:
        return options.only in (None, name)

    def record(name: str, figures: object) -> None:
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = figures
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(figures), flush=True)

    if wanted("train"):
        train(trainings, photographs_of(options.photographs), options.turn)
        record(
            "training",
            {
                name: {"seconds": one.spent, "seconds of the clock": one.clock, "steps": one.steps}
                for name, one in trainings.items()
            }
            | {"batch": options.batch, "threads": options.threads},
        )
    networks = {name: one.network.eval() for name, one in trainings.items()}
    bsd100 = [picture_of(path) for path in sorted(options.bsd100.glob("*.jpg"))]
    set5 = [picture_of(path) for path in sorted(options.set5.glob("*.png"))]
    with torch.inference_mode():
        if wanted("costs"):
            record("costs", costs(networks))
        if wanted("sheet"):
            sheet(networks, bsd100[::25], set5[2:4]).save(options.output / "sheet.png")
        if wanted("set5"):
            record("set5", set5_figures(networks, set5))
        if wanted("reconstruction"):
            pair = ("R2IR", "AutoencoderKL")
            record("reconstruction", {name: reconstruction(networks[name], bsd100, PIXELS) for name in pair})
        if wanted("time"):
            seconds = times(networks, cubic(bsd100[0], MEGAPIXEL), options.rounds)
            record("time", {"seconds": seconds, "threads": options.threads, "load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
