"""Train R2ID, a UNet on pixels and a DiT on R2ID's latents for the same time, and compare their pictures at four sizes.

    python benchmarks/recipe/peers.py --data flowers=FLOWERS --data emoji=EMOJI --seconds 3600

A folder of data has the subfolders train and test, with captions or a subfolder for each class. Its pictures should be
at least twice as large as the trained 64×64. The same command resumes, in training and in measuring. README.md says
what is measured.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from compare import MODEL, feature_distance, features_of
from peer_denoisers import DiT, Peer, UNet
from peer_pictures import Real
from torch import Tensor, nn
from turns import Turns, parser_of, take_turns

from r2id import R2ID, R2IR, R2Pipeline
from r2id.data.captions import one_of_each
from r2id.data.dataset import LatentDataset
from r2id.evaluation.colour_features import ColourFeatures, Features
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import contact_sheet
from r2id.files.images import as_output
from r2id.geometry.canvas import plain
from r2id.geometry.sizes import Size, in_proportion, size_text
from r2id.training.conditioners import conditioning_parts
from r2id.training.latent_statistics import adapt_to
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import network_arguments

RESULTS = Path(__file__).parent / "results"
SIDE, CELL = 64, 8
"""Pixels along a side of the training pictures, and of each latent."""
GRID = (SIDE // CELL, SIDE // CELL)
SIZES: tuple[Size, ...] = ((SIDE, SIDE), (2 * SIDE, 2 * SIDE), (SIDE // 2, SIDE // 2), (SIDE, 2 * SIDE))
TOKENS, TOKEN_DIM = 2, 192
SHOWN, BATCH = 16, 25
Sampling = dict[str, Any]
"""Steps, guidance scale and guidance interval."""


class Training(Turns):
    """One network on one data set, which learns pixels or latents.

    Args:
        samples: the latents, or None for pixels.
        resampler: standardises the latents, for a network that does not itself.
        others: arguments of `Turns`.
    """

    def __init__(self, data: Real, samples: LatentDataset | None, resampler: R2IR | None, **others: Any) -> None:
        self.data, self.samples, self.resampler = data, samples, resampler
        super().__init__(**others)

    def draw(self) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(self.data.train), (self.config.batch_size,))
        labels = one_of_each(self.data.train.labels[chosen], self.steps)
        if self.samples is None:
            return self.data.train.batch(chosen), labels
        latents = self.samples.batch(chosen)
        return self.resampler.standardise(plain(latents)) if self.resampler else latents, labels


def trainings_of(data: Real, options: argparse.Namespace, folder: Path) -> dict[str, Training]:
    """Return the training of each network on a data set, in the state that `folder` holds."""
    resampler = R2IR.from_pretrained("pictures").eval().requires_grad_(False)
    latents = data.latents(resampler, CELL, folder / "latents")
    # Both networks on latents learn them at the scales that `r2id train` gives them.
    adapt_to(resampler, [latents], [GRID])
    channels = latents.parts[0].shape[1]

    def told() -> tuple[dict[str, Any], Any]:
        return conditioning_parts("words" if data.of_captions else None, data.names, TOKENS, TOKEN_DIM)

    def training(name: str, objective: nn.Module, samples: LatentDataset | None, by: R2IR | None) -> Training:
        settings = network_arguments(tuple(options.setting)) if name == "R2ID" else {"learning_rate": options.peer_rate}
        config = DiffuserTraining(
            **{"batch_size": options.batch, "warmup_steps": 50, "beta2": 0.98} | settings  # type: ignore[arg-type]
        )
        how: dict[str, Any] = {"seconds": options.seconds, "seed": 0, "device": options.device}
        return Training(data, samples, by, objective=objective, config=config, file=folder / f"{name}.pt", **how)

    torch.manual_seed(0)
    arguments: dict[str, Any] = {"channels": channels, "sample_size": max(GRID)} | MODEL
    arguments |= network_arguments(tuple(options.model))
    parts, captions = told()
    pipeline = R2Pipeline(R2ID(**arguments), resampler=resampler, **parts)
    pipeline.set_progress_bar_config(disable=True)
    settings = network_arguments(tuple(options.setting))
    times = (settings.get("time_mean", 0.0), settings.get("time_std", 1.0))
    objective = DiffusionObjective(
        pipeline, 0.1, captions=captions, times=times if settings.get("times") == "logit-normal" else None
    )
    unet = UNet(len(data.names), told()[1], TOKEN_DIM)
    dit = DiT(len(data.names), told()[1], TOKEN_DIM, channels, max(GRID))
    return {
        "R2ID": training("R2ID", objective, latents, None),
        "UNet": training("UNet", unet, None, None),
        "DiT": training("DiT", dit, latents, resampler),
    }


# Pictures of each network at any size.

Draw = Callable[[Tensor, Size, Sampling, torch.Generator], Tensor]
"""Gives pictures [B, 3, *size] in [−1, 1] for labels [B]."""


def by_r2id(pipeline: R2Pipeline, names: Sequence[str], *, dense: bool) -> Draw:
    """Draw by R2ID on a canvas of the size's proportions: with as many latents as in training, decoded at the size, as
    `r2id sample --size` does; or, if `dense`, with a latent for as many pixels as in training."""

    def draw(labels: Tensor, size: Size, sampling: Sampling, generator: torch.Generator) -> Tensor:
        latents = (size[0] // CELL, size[1] // CELL) if dense else in_proportion(GRID, size)
        result = pipeline(
            [names[label] for label in labels], latents, size, canvas=size, generator=generator, output_type="pt",
            num_inference_steps=sampling["steps"], guidance_scale=sampling["scale"],
            guidance_interval=sampling["interval"],
        )  # fmt: skip
        return result.images.float()

    return draw


def by_peer(peer: Peer, resampler: R2IR | None, channels: int) -> Draw:
    """Draw by a peer on a canvas of as many pixels, or by way of latents of as many pixels each as in training."""

    def draw(labels: Tensor, size: Size, sampling: Sampling, generator: torch.Generator) -> Tensor:
        grid = (size[0] // CELL, size[1] // CELL) if resampler else size
        samples = peer.sample(labels, (channels, *grid), generator=generator, **sampling)
        return resampler.decode(resampler.destandardise(samples), size, size) if resampler else samples.clamp(-1, 1)

    return draw


def draws_of(trainings: dict[str, Training], names: Sequence[str]) -> dict[str, tuple[str, Draw]]:
    """Return the ways to draw pictures, each with the name of its training."""
    pipeline, dit = trainings["R2ID"].objective.pipeline, trainings["DiT"]
    return {
        "R2ID": ("R2ID", by_r2id(pipeline, names, dense=False)),
        "R2ID, latents as dense": ("R2ID", by_r2id(pipeline, names, dense=True)),
        "UNet": ("UNet", by_peer(trainings["UNet"].objective, None, 3)),
        "DiT": ("DiT", by_peer(dit.objective, dit.resampler, pipeline.diffuser.config.channels)),
    }


# What is measured.


def measure(
    trainings: dict[str, Training],
    data: Real,
    features: Features,
    count: int,
    sampling: Sampling,
    record: Callable[[dict[str, Any]], None],
    done: Sequence[dict[str, Any]],
    folder: Path,
) -> None:
    """Write a sheet of each network's pictures of each size, and record a row of its distance to real ones.

    Real pictures are held out. The row "real" is of one half of them against the other.

    Args:
        count: generated pictures, with the labels of held-out ones.
        record: takes each row.
        done: rows of an interrupted run, which are not measured again.
        folder: of the sheets.
    """
    for one in trainings.values():
        one.averaged()
    order = torch.randperm(len(data.test_labels), generator=torch.Generator().manual_seed(0))
    labels = data.test_labels[order].repeat(-(-count // len(order)))[:count]
    there = {(row["network"], row["pictures"]) for row in done}
    for size in SIZES:
        draws = draws_of(trainings, data.names)
        if size == (SIDE, SIDE):
            # There, both ways have the same latents.
            del draws["R2ID, latents as dense"]
        if all((name, size_text(size)) in there for name in ["real", *draws]):
            continue
        real = features_of(features, data.at(size))[order]
        if ("real", size_text(size)) not in there:
            halves = feature_distance(real[::2], real[1::2])
            record({"network": "real", "pictures": size_text(size), "distance": halves})
        for name, (training, draw) in draws.items():
            if (name, size_text(size)) in there:
                continue
            generator = torch.Generator().manual_seed(0)
            made = torch.cat([draw(some, size, sampling, generator).cpu() for some in labels.split(BATCH)])
            sheet = contact_sheet(as_output(made[:SHOWN], "pil"), columns=8)
            sheet.save(folder / f"{name.replace(', ', '-').replace(' ', '-')}-{size_text(size)}.png")
            one = trainings[training]
            record(
                {
                    "network": name,
                    "pictures": size_text(size),
                    "distance": feature_distance(real, features_of(features, made)),
                    "steps": one.steps,
                    "parameters": sum(each.numel() for each in one.parameters),
                }
            )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of distances at each size, with the ratio to the UNet's."""
    sizes = list(dict.fromkeys(row["pictures"] for row in rows))
    found = {(row["network"], row["pictures"]): row for row in rows}
    lines = [f"| network | parameters | steps | {' | '.join(sizes)} |", "|---|---|---|" + "---|" * len(sizes)]
    for name in dict.fromkeys(row["network"] for row in rows):
        cells, about = [], {}
        for size in sizes:
            about = found.get((name, size), about)
            unet = found.get(("UNet", size))
            if (name, size) not in found:
                cells.append("–")
                continue
            far = found[name, size]["distance"]
            ratio = f" ({far / unet['distance']:.2f})" if unet and name not in ("UNet", "real") else ""
            cells.append(f"{far:.1f}{ratio}")
        millions = f"{about['parameters'] / 1e6:.1f} M" if "parameters" in about else "–"
        lines.append(f"| {name} | {millions} | {about.get('steps', '–')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def command_of(arguments: Sequence[str], pairs: Sequence[str]) -> str:
    """Return the command that was given, with a data set's name in capitals in place of its folder."""
    named = {pair: f"{pair.partition('=')[0]}={pair.partition('=')[0].upper()}" for pair in pairs}
    known = [named.get(one.removeprefix("--data="), one) for one in arguments]
    folders = ("--output", "--results")
    kept = [one for i, one in enumerate(known) if not (one in folders or (i and known[i - 1] in folders))]
    return "python benchmarks/recipe/peers.py " + shlex.join(kept)


def main() -> None:
    parser = parser_of(__doc__, seconds=3600, output=Path("out/peers"), results=RESULTS)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=VALUE", help="arguments of R2ID")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of R2ID's training")
    parser.add_argument("--peer-rate", type=float, default=5e-4, help="learning rate of the UNet and the DiT")
    parser.add_argument("--interval", type=float, nargs=2, default=(0.0, 1.0), help="times that are guided")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    features = ColourFeatures().to(options.device)
    sampling = {"steps": options.inference_steps, "scale": options.guidance, "interval": tuple(options.interval)}
    for pair in options.data:
        name, _, folder = pair.partition("=")
        place, file = options.output / name, options.results / f"peers-{name}.json"
        place.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        data = Real.of(Path(folder), SIDE, options.most)
        trainings = trainings_of(data, options, place)
        take_turns(trainings, options.turn)
        settings = {
            "command": command_of(sys.argv[1:], options.data),
            "threads": options.threads,
            "drawings": data.drawings,
        }
        results: dict[str, Any] = settings | {"rows": []}
        if file.exists():
            before = json.loads(file.read_text())
            results = before if {one: before.get(one) for one in settings} == settings else results

        def record(row: dict[str, Any], results: dict[str, Any] = results, file: Path = file) -> None:
            results["rows"].append(row)
            text = json.dumps(results, indent=1) + "\n"
            write_whole(file, lambda path: path.write_text(text))
            print(json.dumps(row), flush=True)

        measure(trainings, data, features, options.count, sampling, record, list(results["rows"]), place)
        print(f"\n{name}\n\n{table(results['rows'])}\n", flush=True)


if __name__ == "__main__":
    main()
