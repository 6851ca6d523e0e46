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
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import diffusers
import torch
import variants
from PIL import Image

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
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import autocast
from r2id.training.settings import DiffuserTraining, ResamplerTraining
from r2id.training.setup import train_diffuser, train_resampler

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "ablations.md"
BUNDLED = Path(__file__).parents[2] / "src" / "r2id" / "pretrained" / "mnist" / "resampler"
RESAMPLER_GRIDS: tuple[Size, ...] = ((4, 4), (8, 8), (14, 14))
DIFFUSER_GRIDS: tuple[Size, ...] = ((4, 4), (8, 8), (12, 12))
TEST_IMAGES = 500
SEEDS = 10
"""How many there are to choose from."""
DISTURBANCE = 0.1
SHOWN, SHOWN_SIZE = 6, (256, 256)
GUIDANCE = 3.5
"""What was the default when the first of these were measured: of all alike, or they would not compare."""


@cache
def weights_of(resampler: Path) -> int:
    """A number that tells an R2IR from others."""
    return R2IR.from_pretrained(resampler).checksum()


@cache
def images_of(data: str) -> int:
    """A number that tells the images of one data set from others."""
    return checksum([load_images(data, "train", image_size=variants.RESAMPLER.image_size).images])


def recipe_of(variant: variants.Variant) -> ResamplerTraining | DiffuserTraining:
    """The recipe that a variant is trained by."""
    return replace(variants.RESAMPLER if variant.network == "resampler" else variants.DIFFUSER, **variant.settings)


def name_of(variant: variants.Variant, seed: int, options: argparse.Namespace) -> str:
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


def measured_how(variant: variants.Variant, options: argparse.Namespace) -> dict[str, Any]:
    """What a variant's figures depend on besides its training, in what JSON has."""
    if variant.network == "resampler":
        how = {"grids": RESAMPLER_GRIDS, "images": TEST_IMAGES, "disturbance": DISTURBANCE, "shown": SHOWN_SIZE}
    else:
        how = {"grids": DIFFUSER_GRIDS, "count": options.count}
    return json.loads(json.dumps(how))


def figures_of(variant: variants.Variant, seed: int, options: argparse.Namespace) -> dict[str, float] | None:
    """The figures kept for a seed; None where there are none, or they were measured otherwise."""
    file = options.results / f"{name_of(variant, seed, options)}.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return kept["figures"] if kept.get("how") == measured_how(variant, options) else None


def run(variant: variants.Variant, seed: int, options: argparse.Namespace) -> None:
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
                train_resampler(replace(variants.RESAMPLER, **settings))
            measured = measure_resampler(R2IR.from_pretrained(trained), test_images(variant, options), folder)
        else:
            trained = folder / "pipeline"
            if not trained.exists():
                train_diffuser(replace(variants.DIFFUSER, resampler=str(options.resampler), **settings))
            measured = measure_diffuser(R2Pipeline.from_pretrained(trained), options)
    kept = {"variant": variant.name, "how": measured_how(variant, options), "figures": measured}
    content = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    write_whole(options.results / f"{name}.json", lambda path: path.write_text(content, encoding="utf-8"))


def test_images(variant: variants.Variant, options: argparse.Namespace) -> ImageDataset:
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
        f"on {variants.RESAMPLER.batch_size} images of 32x32 each, or as the title says. The learning rate is "
        f"{variants.RESAMPLER.learning_rate}, and {variants.SMALL_RATE} for images of 16x16.",
        "",
        f"Errors are mean squared errors of {TEST_IMAGES} test images in [-1, 1], through each latent grid, at the "
        "size of training. Disturbed latents have added Gaussian noise of that standard deviation. "
        f"R2ID generates {options.count} digits at each grid, with guidance scale {GUIDANCE} and other defaults. "
        "The intra-class distance ratio is the mean distance between two digits of one label, over that of real ones. "
        "± is half the range over the seeds. These short trainings compare choices; they do not show the quality of "
        "the bundled weights." + taken_over(options.results),
    ]
    for question in variants.QUESTIONS:
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
    question: variants.Question,
    trained: Sequence[tuple[variants.Variant, int]],
    folder: Path,
    options: argparse.Namespace,
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
    asked = [question for question in variants.QUESTIONS if options.only in question.title]
    if not asked:
        parser.error(
            f"--only {options.only!r} is in no title; there are {'; '.join(one.title for one in variants.QUESTIONS)}"
        )
    for question in asked:
        for variant in question.variants:
            for seed in options.seeds:
                run(variant, seed, options)
            write_document(options)


if __name__ == "__main__":
    main()
