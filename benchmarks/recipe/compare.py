"""Train R2ID by every choice of its recipe for the same time, and measure what each choice is worth.

    python benchmarks/recipe/compare.py --data emoji=EMOJI --data flowers=FLOWERS --seconds 900

A folder of data has the subfolders train and test. Pictures are labelled by subfolders, or have captions, or neither.
The trainings of a question take turns of some seconds, so that what else the machine does slows all alike. A second is
one of processor time for each thread, or on a GPU one of the clock. The state of each is kept after every turn, and the
same command resumes. README.md says what is measured.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from picture_codecs import Codec, Latents, Patches
from torch import Tensor
from turns import Turns, parser_of, take_turns

from r2id import R2ID, R2Pipeline
from r2id.data.loading import load_images
from r2id.diffusion.prediction import predicted_sample, signal_and_spread
from r2id.diffusion.schedule import cosine_alpha_bar
from r2id.evaluation.colour_features import PACKAGES, ColourFeatures, Features
from r2id.evaluation.colour_heads import principal_directions
from r2id.evaluation.generation import frechet_distance
from r2id.files.contact_sheets import contact_sheet
from r2id.files.images import as_output
from r2id.runtime.precision import autocast
from r2id.training.conditioners import conditioning_parts
from r2id.training.latent_statistics import COARSENESS
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining

RESULTS = Path(__file__).parent / "results"
SIDE = 64
"""Of the pictures, in pixels."""
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOWN = 16

MODEL: dict[str, Any] = {
    "dim": 192, "encoder_blocks": 3, "decoder_blocks": 3, "noise_reference_size": 8, "radius": 1.5 / 8, "basis": 4,
    "local_radius": 1.5 / 8, "attention": "softmax", "pooled_tokens": True,
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One training of a question.

    Attributes:
        codec: "latents", or "patches" of principal components.
        side: pixels along a side for each sample.
        channels: of patches.
        coarseness: power of a channel's share of the picture that the scale of latents is in proportion to.
        model: arguments of R2ID that differ from MODEL.
        settings: of the training that differ from the defaults.
        crop: height and width of windows of the samples; a quarter of the steps then learns whole pictures of as many
            samples.
    """

    codec: str = "latents"
    side: int = 8
    channels: int = 192
    coarseness: float = COARSENESS
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    crop: int | None = None


def _of(count: int, kind: str) -> Choice:
    return Choice("patches", 8, count, model={"prediction_type": kind})


QUESTIONS: dict[str, dict[str, Choice]] = {
    "prediction": {
        f"{kind}, {count} channels": _of(count, name)
        for count in (16, 64, 192)
        for kind, name in (("clean sample", "sample"), ("velocity", "v_prediction"), ("noise", "epsilon"))
    },
    "locality": {"in every block": Choice(), "none": Choice(model={"local_radius": None})},
    "attention": {
        # Without the local kernels, whose gradient takes most of the time of 1,024 samples.
        f"{kind}, {(SIDE // side) ** 2} samples": Choice(
            "patches",
            side,
            3 * side**2,
            model={"attention": kind, "qk_norm": kind == "softmax", "local_radius": None},
        )
        for side in (8, 4, 2)
        for kind in ("linear", "softmax")
    },
    "optimiser": {"AdamW": Choice(), "Muon": Choice(settings={"optimizer": "muon"})},
    "scales": {f"power {power:g}": Choice(coarseness=power) for power in (0.0, 0.5, 1.0)},
    "pooling": {"mean of the tokens": Choice(), "none": Choice(model={"pooled_tokens": False})},
    "times": {"uniform": Choice(), "logit-normal": Choice(settings={"times": "logit-normal"})},
    "crops": {"whole pictures": Choice(side=4), "windows": Choice(side=4, crop=8)},
    "samples": {"latents of pictures": Choice(), "pixel patches": Choice("patches", 8, 192)},
}


@dataclass
class Pictures:
    """Pictures [N, 3, SIDE, SIDE] in [−1, 1] with the number of their label or caption."""

    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor
    names: tuple[str, ...]
    has_captions: bool
    encoded: dict[tuple[str, int, float], tuple[Codec, Tensor]] = field(default_factory=dict)

    def samples(self, choice: Choice, side: int | None = None) -> tuple[Codec, Tensor]:
        """Return the codec of a choice and its samples of all training pictures, of `side` pixels or the choice's own.
        They are kept."""
        latents, side = choice.codec == "latents", side or choice.side
        key = (choice.codec, side, choice.coarseness if latents else choice.channels)
        if key not in self.encoded:
            made: Codec = (
                Latents(self.train, side, choice.coarseness) if latents else Patches(self.train, side, choice.channels)
            )
            self.encoded[key] = (made, made.encode(self.train))
        return self.encoded[key]


def load_pictures(folder: Path, most: int | None = None) -> Pictures:
    """Return the pictures of a folder with train and test, at most `most` of each."""
    parts, texts = [], []
    for split in ("train", "test"):
        one = load_images(str(folder), split, image_size=(SIDE, SIDE), channels=3, background=255)
        one = one.some(most) if most else one
        parts.append(one.batch(slice(None)))
        labels = one.label_names
        texts.append(one.captions or ([labels[i] for i in one.labels] if one.labels is not None else None))
        has_captions = one.captions is not None
    given = [words or ["picture"] * len(part) for words, part in zip(texts, parts, strict=True)]
    names = tuple(sorted({*given[0], *given[1]}))
    place = {name: number for number, name in enumerate(names)}
    numbers = [torch.tensor([place[one] for one in words]) for words in given]
    return Pictures(*parts, *numbers, names, has_captions)


class Training(Turns):
    """One choice with one seed: its samples, network and optimiser, and how long it has trained, kept in a file."""

    def __init__(
        self, choice: Choice, data: Pictures, seconds: float, batch: int, seed: int, device: str, file: Path
    ) -> None:
        torch.manual_seed(seed)
        self.choice, self.data = choice, data
        self.codec, samples = data.samples(choice)
        self.sets = [samples]
        if choice.crop:
            # The same pictures, with as many samples as a window has.
            self.sets.append(data.samples(choice, SIDE // choice.crop)[1])
        self.size = (self.sets[0].shape[-2], self.sets[0].shape[-1])
        config = DiffuserTraining(batch_size=batch, warmup_steps=50, beta2=0.98, **choice.settings)
        channels = self.sets[0].shape[1]
        of_samples = {"channels": channels, "sample_size": max(self.size), "canvas": (1, 1)}
        diffuser = R2ID(**of_samples | MODEL | choice.model)
        parts, captions = conditioning_parts("words" if data.has_captions else None, data.names, 2, 192)
        self.pipeline = R2Pipeline(diffuser, **parts)
        objective = DiffusionObjective(
            self.pipeline,
            0.1,
            captions=captions,
            times=(config.time_mean, config.time_std) if config.times == "logit-normal" else None,
            crop=(choice.crop, choice.crop) if choice.crop else None,
        )
        super().__init__(objective, config, seconds, seed, file, device)

    def draw(self) -> tuple[Tensor, Tensor]:
        samples = self.sets[-1] if self.steps % 4 == 3 else self.sets[0]
        chosen = torch.randint(len(samples), (self.config.batch_size,))
        return samples[chosen], self.data.train_labels[chosen]

    def names_of(self, labels: Tensor) -> list[str]:
        return [self.data.names[number] for number in labels]

    @torch.inference_mode()
    def errors(self, most: int = 256) -> dict[str, list[float]]:
        """Return mean squared errors of the clean sample of held-out pictures at TIMES: of samples, and of pixels of
        what they are decoded to."""
        pictures, labels = self.data.test[:most], self.data.test_labels[:most]
        clean = self.codec.encode(pictures).to(self.device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        diffuser = self.pipeline.diffuser
        tokens = self.pipeline.tokens(self.names_of(labels))
        found: dict[str, list[float]] = {"samples": [], "pixels": []}
        for level in TIMES:
            times = torch.full((len(clean),), level, device=self.device)
            alpha_bar = cosine_alpha_bar(times, self.size, diffuser.config.noise_reference_size)
            signal, spread = signal_and_spread(alpha_bar)
            noisy = signal * clean + spread * noise
            prediction = torch.cat(
                [diffuser(*some) for some in zip(noisy.split(64), alpha_bar.split(64), tokens.split(64), strict=True)]
            )
            guess = predicted_sample(prediction.float(), noisy, alpha_bar, diffuser.config.prediction_type)
            found["samples"].append((guess - clean).square().mean().item())
            found["pixels"].append((self.codec.decode(guess.cpu()) - pictures).square().mean().item())
        return found

    def pictures(self, count: int, guidance: float, steps: int) -> Tensor:
        """Return generated pictures [count, 3, SIDE, SIDE] with the labels or captions of held-out ones."""
        labels = self.data.test_labels[torch.arange(count) % len(self.data.test_labels)]
        self.pipeline.set_progress_bar_config(disable=True)
        made = []
        for number, some in enumerate(labels.split(50)):
            with autocast("bf16", self.device):
                latents = self.pipeline(
                    self.names_of(some),
                    self.size,
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    generator=torch.Generator().manual_seed(number),
                    output_type="latent",
                ).latents
            made.append(self.codec.decode(latents.as_subclass(Tensor).float().cpu()))
        return torch.cat(made)


@torch.inference_mode()
def features_of(features: Features, pictures: Tensor) -> Tensor:
    """Return features [N, F] of pictures [N, 3, H, W] in [−1, 1], some at once."""
    return torch.cat([features(some).float().cpu() for some in pictures.split(25)])


def feature_distance(features: Tensor, others: Tensor) -> float:
    """Return the Fréchet distance of features [N, F] of real pictures and [M, F] of others, in the leading directions
    of the real ones. It is no published FID."""
    _, directions = principal_directions(features)
    return frechet_distance(features @ directions, others @ directions)


def measure(
    trainings: dict[tuple[str, int], Training],
    folder: Path,
    features: Features | None,
    real: Tensor | None,
    count: int,
    guidance: float,
    steps: int,
) -> list[dict[str, Any]]:
    """Write a sheet of generated pictures of each training to a folder, and return a row of figures of each.

    Args:
        features: of the distance; without them there is none.
        real: features [N, F] of training pictures that `count` generated ones are compared with.
        guidance, steps: of the sampling.
    """
    rows = []
    for (name, seed), one in trainings.items():
        one.averaged()
        made = one.pictures(count, guidance, steps)
        sheet = contact_sheet(as_output(made[:SHOWN], "pil"), columns=8)
        sheet.save(folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.png")
        rows.append(
            {
                "choice": name,
                "seed": seed,
                "steps": one.steps,
                "parameters": sum(each.numel() for each in one.parameters),
                "errors": one.errors(),
                "distance": None
                if features is None or real is None
                else feature_distance(real, features_of(features, made)),
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of the means over seeds, with the values of each."""
    lines = ["| choice | steps | error of samples | of pixels | Fréchet distance |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["choice"] for row in rows):
        some = [row for row in rows if row["choice"] == name]
        cells = [f"{mean(row['steps'] for row in some):.0f}"]
        for kind in ("samples", "pixels"):
            each = [mean(row["errors"][kind]) for row in some]
            cells.append(f"{mean(each):.4f} ({', '.join(f'{one:.4f}' for one in each)})")
        far = [row["distance"] for row in some if row["distance"] is not None]
        cells.append(f"{mean(far):.1f} ({', '.join(f'{one:.1f}' for one in far)})" if far else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__, seconds=900, output=Path("out/recipe"), results=RESULTS)
    parser.add_argument("--question", action="append", choices=QUESTIONS, help="all by default")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--real", type=int, default=2000, help="pictures to compare generated ones with")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    features = ColourFeatures() if all(map(importlib.util.find_spec, PACKAGES)) else None
    for pair in options.data:
        name, _, folder = pair.partition("=")
        data = load_pictures(Path(folder), options.most)
        real = None if features is None else features_of(features, data.train[: options.real])
        for question in options.question or QUESTIONS:
            place = options.output / name / question
            place.mkdir(parents=True, exist_ok=True)
            trainings = {
                (choice, seed): Training(
                    how, data, options.seconds, options.batch, seed, options.device,
                    place / f"{choice.replace(', ', '-').replace(' ', '-')}-{seed}.pt",
                )
                for choice, how in QUESTIONS[question].items()
                for seed in range(options.seeds)
            }  # fmt: skip
            take_turns({f"{choice}, seed {seed}": one for (choice, seed), one in trainings.items()}, options.turn)
            sampling = (options.count, options.guidance, options.inference_steps)
            rows = measure(trainings, place, features, real, *sampling)
            about = {"seconds": options.seconds, "batch": options.batch, "threads": options.threads, "rows": rows}
            options.results.mkdir(parents=True, exist_ok=True)
            (options.results / f"{name}-{question}.json").write_text(json.dumps(about, indent=1) + "\n")
            print(f"\n{name}: {question}\n\n{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
