"""What each choice of the recipe is worth: every variant is trained alike but for one choice, and measured alike.

    python benchmarks/ablations/run.py --data MNIST

writes docs/ablations.md and the pictures beside it. Figures are kept in the results folder and what was trained in the
output folder, so the script can be interrupted and continued, and given other seeds or one question at a time; the page
shows all figures that were measured with the same options. With others, what depends on them is made anew.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import diffusers
import torch
from PIL import Image
from torch import Tensor, nn

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.evaluation.generation import Reference, load_judge, measure_generation
from r2id.evaluation.reconstruction import measure_reconstruction
from r2id.files.atomic import write_whole
from r2id.files.checksums import checksum
from r2id.files.contact_sheets import overview
from r2id.files.images import as_output, save_image
from r2id.geometry.sizes import Size, size_text
from r2id.networks.layers import AdaLN, DecoderBlock, EncoderBlock
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import autocast
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.settings import DiffuserTraining, ResamplerTraining
from r2id.training.setup import train_diffuser, train_resampler

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "ablations.md"
BUNDLED = Path(__file__).parents[2] / "src" / "r2id" / "pretrained" / "mnist" / "resampler"

# The bundled recipe, made small enough to train it many times on a laptop.
RESAMPLER = replace(
    RESAMPLER_PRESETS["mnist"],
    latent_sizes=((4, 4), (4, 4), (6, 6), (8, 8)),
    batch_size=32,
    warmup_steps=100,
    ema_decay=0.99,
    sample_every=0,
)
DIFFUSER = replace(
    DIFFUSER_PRESETS["mnist"],
    latent_sizes=((4, 4), (4, 4), (8, 8), (12, 12)),
    batch_size=32,
    warmup_steps=100,
    ema_decay=0.995,
    sample_every=0,
    model=("encoder_blocks=2", "decoder_blocks=2", "sample_size=16", "basis=10"),
)
RESAMPLER_GRIDS: tuple[Size, ...] = ((4, 4), (8, 8), (14, 14))
DIFFUSER_GRIDS: tuple[Size, ...] = ((4, 4), (8, 8), (12, 12))
TEST_IMAGES = 500
SEEDS = 10
"""How many there are to choose from."""
DISTURBANCE = 0.1
SHOWN, SHOWN_SIZE = 6, (256, 256)
GUIDANCE = 3.5
"""What was the default when the first of these were measured: of all alike, or they would not compare."""

ONE_GRID = {"latent_sizes": ((4, 4),)}
GLOBAL = {"latent_jitter": 0.0}
"""Settings of variants of R2IR with global attention: as published, rows and columns of its latents do not move."""
SMALL_RATE = 0.001
"""Learning rate of all variants on images of few pixels."""
PUBLISHED_NOISE = ("noise_reference_size=None", "radius=None")


@dataclass(frozen=True)
class Variant:
    """One row of a table: what differs from the bundled recipe, as settings or as a change to the code."""

    name: str
    network: str
    settings: dict[str, Any]
    change: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Question:
    """One table: a choice and its variants, and what to use. `shown` adds what each decodes."""

    title: str
    variants: tuple[Variant, ...]
    answer: str = ""
    shown: bool = False


def resampler(name: str, *model: str, **settings: Any) -> Variant:
    """A variant of R2IR: arguments of the network that differ, and settings of the training."""
    return Variant(name, "resampler", {"model": (*RESAMPLER.model, *model), **settings})


def of_small_images(name: str, *model: str, **settings: Any) -> Variant:
    """A variant of R2IR for images of few pixels, which global attention learns in minutes, not in hours."""
    small = {"image_size": (16, 16), "steps": 4000, "learning_rate": SMALL_RATE, **ONE_GRID}
    return resampler(name, "sample_size=16", *model, **small, **settings)


def diffuser(name: str, *model: str, change: Callable = nullcontext, **settings: Any) -> Variant:
    """A variant of R2ID, likewise."""
    return Variant(name, "diffuser", {"model": (*DIFFUSER.model, *model), **settings}, change)


def smooth_noise(count: int, channels: int, size: Size, generator: Any = None, white: float = 0.3) -> Tensor:
    """Noise smoothed over a fixed length: numbers on a lattice of spacing 1/5, spread by a cos² kernel, with a share of
    white noise. Its variance is 1 everywhere."""
    generators = generator if isinstance(generator, list) else [generator] * count
    lattice = (torch.arange(7) - 0.5) / 5 - 0.5
    spread = []
    for side in size:
        places = (torch.arange(side) + 0.5) / side - 0.5
        offset = (places[:, None] - lattice) * 5 / 2
        window = torch.cos(offset * math.pi / 2).square() * (offset.abs() < 1)
        spread.append(window / window.square().sum(1, keepdim=True).sqrt())
    drawn = []
    for one in generators:
        field = spread[0] @ torch.randn(channels, 7, 7, generator=one) @ spread[1].mT
        drawn.append(math.sqrt(1 - white) * field + math.sqrt(white) * torch.randn(channels, *size, generator=one))
    return torch.stack(drawn)


@contextmanager
def with_smooth_noise() -> Iterator[None]:
    """Train with smooth noise, and start from it."""

    def draw(count: int, channels: int, height: int, width: int, device: torch.device) -> Tensor:
        return smooth_noise(count, channels, (height, width)).to(device)

    with (
        patch("r2id.training.objectives.DiffusionObjective.noise", staticmethod(draw)),
        patch("r2id.diffusion.noise_field.field_noise", smooth_noise),
    ):
        yield


def with_neighbourhood_scale(scale: float) -> Callable[[], AbstractContextManager[Any]]:
    """Take what R2ID reads from neighbours times `scale`."""

    def change() -> AbstractContextManager[Any]:
        return patch("r2id.networks.diffuser.NEIGHBOURHOOD_SCALE", scale)

    change.__name__ = f"neighbourhood_scale_{scale}"
    return change


class ResponseNorm(nn.Module):
    """GRN (Woo et al. 2023, arXiv:2301.00808): every channel by its norm over all samples of the image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.float().square().mean(1, keepdim=True).sqrt()
        return x + self.gain * x * (norm / (norm.mean(-1, keepdim=True) + 1e-6)).to(x.dtype) + self.bias


@contextmanager
def with_response_norm_instead() -> Iterator[None]:
    """Put GRN in the place of every LayerNorm of R2ID."""

    def build(dim: int, **settings: Any) -> nn.Module:
        return ResponseNorm(dim)

    def forward(norm: AdaLN, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = norm.modulation(time)[:, None].chunk(2, dim=-1)
        return norm.norm(x) * (1 + scale) + shift

    with (
        patch("torch.nn.LayerNorm", build),
        # Where all share the time, the network's own way is one call that is LayerNorm's alone.
        patch("r2id.networks.layers.AdaLN.forward", forward),
        patch("r2id.networks.diffuser.SAMPLES_AT_ONCE", 1 << 40),
    ):
        yield


@contextmanager
def with_response_norm_added() -> Iterator[None]:
    """Put GRN into every feed-forward of R2ID."""

    def with_response(block: type[EncoderBlock] | type[DecoderBlock]) -> Callable[..., nn.Module]:
        def build(dim: int, *arguments: Any, **options: Any) -> nn.Module:
            built = block(dim, *arguments, **options)
            built.feed.insert(2, ResponseNorm(4 * dim))
            return built

        return build

    with (
        patch("r2id.networks.diffuser.EncoderBlock", with_response(EncoderBlock)),
        patch("r2id.networks.diffuser.DecoderBlock", with_response(DecoderBlock)),
        # Samples can no longer be taken in chunks.
        patch("r2id.networks.diffuser.SAMPLES_AT_ONCE", 1 << 40),
    ):
        yield


QUESTIONS = (
    Question(
        "R2IR: attention",
        (
            resampler("local"),
            resampler("global, softmax features, 4 blocks", "attention=global", "num_blocks=4", **GLOBAL),
            resampler(
                "global, elu + 1 features, 4 blocks", "attention=global", "num_blocks=4", "feature_map=elu", **GLOBAL
            ),
        ),
        "Use local attention. After as many steps, global attention does not yet know where strokes are. Softmax "
        "features are ahead of elu + 1 there. The number of blocks is not the cause: local attention with four blocks "
        "has an error of 0.049 (below).",
    ),
    Question(
        "R2IR: jitter of the positions",
        (resampler("expected"), resampler("sampled", "jitter=sampled"), resampler("none", "jitter=none")),
        "Use expected jitter. It costs nothing against none. Sampled jitter more than doubles the error.",
    ),
    Question(
        "R2IR: latent grids in training",
        (
            resampler("4x4 to 8x8, rows and columns moved"),
            resampler("4x4 to 8x8, nothing moved", latent_jitter=0.0),
            resampler("4x4, rows and columns moved", **ONE_GRID),
            resampler("4x4, nothing moved", latent_jitter=0.0, **ONE_GRID),
        ),
        "Use several grids. A single grid that never moves is learned best, and serves others worse. Moving rows and "
        "columns of several grids raises the error by 59 to 105 %, also at 14x14, which none met. The bundled weights "
        "were trained so. Further training without it makes R2IR sharper, but sizes agree less "
        "([figures](results.md#agreement-of-sizes)).",
    ),
    Question(
        "R2IR: blocks in each direction",
        (
            resampler("1, local"),
            resampler("4, local", "num_blocks=4"),
        ),
        "Use one local block. Four are behind after as many steps, and their enlargements are lumpier.",
        shown=True,
    ),
    Question(
        "R2IR: global blocks in each direction, 4000 steps on images of 16x16",
        (
            of_small_images("1, global", "attention=global", **GLOBAL),
            of_small_images("4, global", "attention=global", "num_blocks=4", **GLOBAL),
            of_small_images("4, global, no jitter", "attention=global", "num_blocks=4", "jitter=none", **GLOBAL),
            of_small_images("1, local"),
        ),
        "Use one local block, which has a sixteenth of the error. One global block decodes smoothly. Four keep more, "
        "and edges begin to show where the pixels of the source meet. Without jitter they draw its pixel grid into "
        "the strokes, as published. They also lose most on grids other than 4x4, the only one in training. Expected "
        "jitter prevents that.",
        shown=True,
    ),
    Question(
        "R2IR: noise on the latent",
        (resampler("0.07"), resampler("none", latent_noise=0.0), resampler("0.2", latent_noise=0.2)),
        "Use little or none. Noise of 0.07 costs no more than the seeds differ by, and 0.2 a little more. With 0.2, a "
        "disturbance adds a quarter less to the error, which is still the largest in total.",
    ),
    Question(
        "R2ID: noise",
        (
            diffuser("as strong over an area, neighbours read together"),
            diffuser("as strong over an area (a shifted schedule)", "radius=None"),
            diffuser("as strong on every sample, neighbours read together", "noise_reference_size=None"),
            diffuser("as strong on every sample (published)", *PUBLISHED_NOISE),
            diffuser("a smooth field, 30 % white", *PUBLISHED_NOISE, change=with_smooth_noise),
        ),
        "Use noise as strong over an area, with neighbours read together. Only then do digits differ as much on dense "
        "grids as on coarse ones. Reading every sample alone gives a higher accuracy after so few steps, but digits "
        "repeat themselves on denser grids. Smooth noise only lessens that.",
    ),
    Question(
        "R2ID: how fast neighbours are learned, by the factor of what is read from them",
        (
            diffuser("1/32"),
            diffuser("1", change=with_neighbourhood_scale(1.0)),
            diffuser("1/8", change=with_neighbourhood_scale(1 / 8)),
            diffuser("1/128", change=with_neighbourhood_scale(1 / 128)),
            diffuser("neighbours not read", "radius=None"),
        ),
        "Use 1/32. With a larger factor, digits stay garbled for longer. With a smaller one, or without neighbours, "
        "they are learned sooner and repeat themselves on dense grids.",
    ),
    Question(
        "R2ID: how finely positions and neighbours are told apart",
        (
            diffuser("positions as of 16x16, 10 cosines"),
            diffuser("positions as of 8x8, 10 cosines", "sample_size=8"),
            diffuser("positions as of 16x16, 6 cosines", "basis=6"),
            diffuser("positions as of 8x8, 6 cosines", "sample_size=8", "basis=6"),
        ),
        "Use ten cosines. Six are learned faster, and lower the intra-class distance ratio at 8x8 and 12x12. By "
        "construction, six cannot tell apart neighbours on a 16x16 grid, which was not measured. Positions as of 8x8 "
        "or of 16x16 differ by little more than seeds do.",
    ),
    Question(
        "R2ID: prediction",
        (diffuser("velocity"), diffuser("noise", "prediction_type=epsilon")),
        "Use velocity. With noise as the target, hardly a digit is legible after as many steps.",
    ),
    Question(
        "R2ID: feature map",
        (diffuser("softmax"), diffuser("elu + 1", "feature_map=elu")),
        "Use elu + 1 in trainings this short. It leads with either seed, at a slightly lower intra-class distance "
        "ratio. The bundled weights use softmax; longer trainings were not compared.",
    ),
    Question(
        "R2ID: norms",
        (
            diffuser("per token"),
            diffuser("GRN", change=with_response_norm_instead),
            diffuser("per token, and GRN in the feed-forwards", change=with_response_norm_added),
        ),
        "Use LayerNorm per token. GRN in its place is about as good, and no better when added. GRN also prevents work "
        "in chunks.",
    ),
    Question(
        "R2ID: latent grids in training",
        (
            diffuser("4x4 to 12x12"),
            diffuser("4x4", **ONE_GRID),
            diffuser("4x4, rows and columns moved", latent_jitter=0.3, **ONE_GRID),
            diffuser("4x4, published noise", *PUBLISHED_NOISE, **ONE_GRID),
        ),
        "Use several grids. Models trained at 4x4 alone repeat themselves and garble digits on other grids. Moved "
        "rows and columns raise the intra-class distance ratio there, and slow the learning of 4x4.",
    ),
)


@cache
def weights_of(resampler: Path) -> int:
    """A number that tells an R2IR from others."""
    return R2IR.from_pretrained(resampler).checksum()


@cache
def images_of(data: str) -> int:
    """A number that tells the images of one data set from others."""
    return checksum([load_images(data, "train", image_size=RESAMPLER.image_size).images])


def recipe_of(variant: Variant) -> ResamplerTraining | DiffuserTraining:
    """The recipe that a variant is trained by."""
    return replace(RESAMPLER if variant.network == "resampler" else DIFFUSER, **variant.settings)


def name_of(variant: Variant, seed: int, options: argparse.Namespace) -> str:
    """A name for all that a variant's training depends on; equal variants of two questions share it."""
    resampling = variant.network == "resampler"
    trained_with = {
        "recipe": asdict(recipe_of(variant)),
        "change": variant.change.__name__,
        "steps": options.resampler_steps if resampling else options.diffuser_steps,
        "data": images_of(options.data),
        "resampler": None if resampling else weights_of(options.resampler),
    }
    key = json.dumps([variant.network, trained_with], default=str)
    return f"{variant.network}-{zlib.crc32(key.encode()):08x}-seed-{seed}"


def measured_how(variant: Variant, options: argparse.Namespace) -> dict[str, Any]:
    """What a variant's figures depend on besides its training, in what JSON has."""
    if variant.network == "resampler":
        how = {"grids": RESAMPLER_GRIDS, "images": TEST_IMAGES, "disturbance": DISTURBANCE, "shown": SHOWN_SIZE}
    else:
        how = {"grids": DIFFUSER_GRIDS, "count": options.count}
    return json.loads(json.dumps(how))


def figures_of(variant: Variant, seed: int, options: argparse.Namespace) -> dict[str, float] | None:
    """The figures kept for a seed; None where there are none, or they were measured otherwise."""
    file = options.results / f"{name_of(variant, seed, options)}.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return kept["figures"] if kept.get("how") == measured_how(variant, options) else None


def run(variant: Variant, seed: int, options: argparse.Namespace) -> None:
    """Train a variant from a seed and measure it, as far as that was not done before; keeps the figures."""
    if figures_of(variant, seed, options):
        return
    name = name_of(variant, seed, options)
    folder = options.output / name
    resampling = variant.network == "resampler"
    steps = options.resampler_steps if resampling else options.diffuser_steps
    settings = {"data": options.data, "seed": seed, "steps": steps, "output": folder, "compile": options.compile}
    settings |= {"checkpoint_every": steps, **variant.settings}
    with variant.change():
        if resampling:
            trained = folder / "resampler"
            if not trained.exists():
                train_resampler(replace(RESAMPLER, **settings))
            measured = measure_resampler(R2IR.from_pretrained(trained), test_images(variant, options), folder)
        else:
            trained = folder / "pipeline"
            if not trained.exists():
                train_diffuser(replace(DIFFUSER, resampler=str(options.resampler), **settings))
            measured = measure_diffuser(R2Pipeline.from_pretrained(trained), options)
    kept = {"variant": variant.name, "how": measured_how(variant, options), "figures": measured}
    content = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    write_whole(options.results / f"{name}.json", lambda path: path.write_text(content, encoding="utf-8"))


def test_images(variant: Variant, options: argparse.Namespace) -> ImageDataset:
    """Some test images, of the size that a variant is trained on."""
    return load_images(options.data, "test", image_size=recipe_of(variant).image_size, limit=TEST_IMAGES)


@torch.inference_mode()
def measure_resampler(network: R2IR, data: ImageDataset, folder: Path) -> dict[str, float]:
    """Errors at each latent grid, and through disturbed latents; images decoded at a large size go to `folder`."""
    images, errors = data.batch(slice(None)), {}
    size = (images.shape[-2], images.shape[-1])
    with autocast("bf16", "cpu"):
        large = network.decode(network.encode(images[:SHOWN], (4, 4)), SHOWN_SIZE).float()
        for grid in RESAMPLER_GRIDS:
            row = next(measure_reconstruction(network, data, grid, [size]))
            errors[f"error at {size_text(grid)}"] = float(row["MSE"])  # type: ignore[arg-type]
        latents = network.encode(images, (4, 4))
        disturbance = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        decoded = network.decode(latents + DISTURBANCE * disturbance, size)
    errors[f"at 4x4, disturbed by {DISTURBANCE}"] = (decoded.float() - images).square().mean().item()
    save_image(overview([as_output(large, "pil")], side=SHOWN_SIZE[0]), folder / "decoded.png")
    return errors


def measure_diffuser(pipeline: R2Pipeline, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy, Fréchet distance and intra-class distance ratio at each latent grid, sampled with GUIDANCE."""
    data = load_images(options.data, "test", image_size=(32, 32))
    pipeline.set_progress_bar_config(disable=True)
    judge = load_judge(pipeline.device)
    references = {(32, 32): Reference.of(judge, data, (32, 32))}
    figures: dict[str, float] = {}
    for grid in DIFFUSER_GRIDS:
        with autocast("bf16", "cpu"):
            rows = measure_generation(
                pipeline, judge, references, grid, count=options.count, seed=0, sampling={"guidance_scale": GUIDANCE}
            )
            row = next(rows)
        for name in ("accuracy", "Fréchet", "intra-class distance ratio"):
            figures[f"{name} {size_text(grid)}"] = float(row[name])  # type: ignore[arg-type]
    return figures


def write_document(options: argparse.Namespace) -> None:
    """One table per question of which two variants have been measured: means over the seeds, and half their range."""
    pictures = options.document.with_suffix("")
    lines = [
        "# Ablations",
        "",
        "`python benchmarks/ablations/run.py --data MNIST` writes this page, with `--seeds 0 1` where two are named. "
        "Every variant is a small form of preset `mnist` that differs in one choice. "
        f"R2IR trains for {options.resampler_steps} steps, R2ID with 2 + 2 blocks for {options.diffuser_steps}, "
        f"on {RESAMPLER.batch_size} images of 32x32 each, or as the title says. The learning rate is "
        f"{RESAMPLER.learning_rate}, and {SMALL_RATE} for images of 16x16.",
        "",
        f"Errors are mean squared errors of {TEST_IMAGES} test images in [-1, 1], through each latent grid, at the "
        "size of training. Disturbed latents have added Gaussian noise of that standard deviation. "
        f"R2ID generates {options.count} digits at each grid, with guidance scale {GUIDANCE} and other defaults. "
        "The intra-class distance ratio is the mean distance between two digits of one label, over that of real ones. "
        "± is half the range over the seeds. These short trainings compare choices; they do not show the quality of "
        "the bundled weights." + taken_over(options.results),
    ]
    for question in QUESTIONS:
        rows = []
        for variant in question.variants:
            kept = {seed: figures_of(variant, seed, options) for seed in range(SEEDS)}
            measured = {seed: figures for seed, figures in kept.items() if figures}
            if measured:
                rows.append((variant, list(measured), list(measured.values())))
        # Variants are shared between questions: one alone answers none.
        if len(rows) < 2:
            continue
        columns = list(rows[0][2][0])
        lines += ["", f"## {question.title}", ""]
        lines += [f"| | {' | '.join(columns)} | seeds |", "|---|" + "---|" * (len(columns) + 1)]
        for variant, seeds, figures in rows:
            cells = [_cell([figure[column] for figure in figures]) for column in columns]
            lines.append(f"| {variant.name} | {' | '.join(cells)} | {', '.join(map(str, seeds))} |")
        lines += ["", f"**{question.answer}**"] if question.answer else []
        if question.shown:
            lines += show_decoded(question, [(variant, seeds[0]) for variant, seeds, _ in rows], pictures, options)
    write_whole(options.document, lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def taken_over(results: Path) -> str:
    """A sentence on figures that are older than the results folder; nothing if there are none."""
    kept = [json.loads(path.read_text()) for path in results.glob("*.json")]
    taken = sum("taken from" in one for one in kept)
    if not taken:
        return ""
    return (
        f" The figures of {taken} of {len(kept)} trainings were taken over from an earlier version of this page, which "
        "rounded them. The files in benchmarks/ablations/results name them and the commit."
    )


def show_decoded(
    question: Question, trained: Sequence[tuple[Variant, int]], folder: Path, options: argparse.Namespace
) -> list[str]:
    """Lines of the page that show test images and what variants, each of a seed, decode; pictures go to `folder`."""
    images = test_images(trained[0][0], options).batch(slice(SHOWN))
    source: Image.Image | None = overview([as_output(images, "pil")], side=SHOWN_SIZE[0])
    shown = [("test images", "test images, pixel for pixel", source)]
    for variant, seed in trained:
        decoded = options.output / name_of(variant, seed, options) / "decoded.png"
        caption = f"{variant.name}: test images through 4x4 latents, decoded at {size_text(SHOWN_SIZE)}"
        # Figures last longer than what was trained; the page then has its picture already.
        shown.append((variant.name, caption, Image.open(decoded) if decoded.is_file() else None))
    lines = []
    for name, caption, picture in shown:
        file = "-".join(re.findall(r"\w+", f"{question.title} {name}".lower())) + ".png"
        if picture:
            save_image(picture, folder / file)
        lines += ["", f"![{caption}]({folder.name}/{file})", "", f"*{caption}*"]
    return lines


def _cell(values: list[float]) -> str:
    middle = mean(values)
    decimals = max(0, 2 - math.floor(math.log10(abs(middle)))) if middle else 2
    spread = f" ± {(max(values) - min(values)) / 2:.{decimals}f}" if len(values) > 1 else ""
    return f"{middle:.{decimals}f}{spread}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--output", type=Path, default=Path("runs/ablations"), help="folder for what is trained")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="page to write")
    parser.add_argument("--resampler", type=Path, default=BUNDLED, help="R2IR whose latents R2ID learns")
    parser.add_argument("--only", default="", help="part of the titles of the questions to run; by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], choices=range(SEEDS))
    parser.add_argument("--resampler-steps", type=int, default=1000)
    parser.add_argument("--diffuser-steps", type=int, default=2000)
    parser.add_argument("--count", type=int, default=300, help="digits to generate at each latent grid")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = parser.parse_args(arguments)
    diffusers.utils.logging.disable_progress_bar()
    asked = [question for question in QUESTIONS if options.only in question.title]
    if not asked:
        parser.error(f"--only {options.only!r} is in no title; there are {'; '.join(one.title for one in QUESTIONS)}")
    for question in asked:
        for variant in question.variants:
            for seed in options.seeds:
                run(variant, seed, options)
            write_document(options)


if __name__ == "__main__":
    main()
