"""`r2id evaluate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import tyro

from r2id.cli.models import (
    Sampling,
    load_pipeline,
)
from r2id.cli.parsing import check_seed
from r2id.errors import InputError
from r2id.geometry.sizes import Size
from r2id.runtime.progress import progress


@dataclass(frozen=True, kw_only=True)
class Evaluate(Sampling):
    """Measure reconstruction, generation and denoising on the test split."""

    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, or the id of a dataset on the Hugging Face hub."""
    split: str = "test"
    """Split of the data to measure on."""
    train_split: str = "train"
    """Split of the data that the judge of colour pictures is trained on, and that copies are looked for in."""
    judge_images: int = 2000
    """Most training images for that; each takes 0.1 s of a CPU core."""
    image_size: Size | None = None
    """Height and width to resize every image to, by default those of training."""
    quick: bool = False
    """Measure in a minute: at most 100 images (25 at four times the size, 50 for the denoising error) and 100 generated
    pictures beside 1000 real ones, at the model's own sizes and a narrower one, unless others are given. For colour
    pictures, at most 500 training images for the judge, 8 canvases and 10 pictures to count subjects in."""
    count: int = 1000
    """Pictures to generate at each latent size; 0 for none."""
    limit: int | None = None
    """Test images to reconstruct; by default all, 0 for none."""
    canvases: int | None = None
    """Pictures to outpaint, joint samples of three proportions, and panoramas, by models of colour pictures; by default
    32, and none with --count 0."""
    duplicates: int | None = None
    """Colour pictures of once, twice and four times the size in which the judge counts subjects; by default 60, and
    none with --count 0."""
    denoising_error: int = 512
    """Test images for the denoising error by timestep; 0 for none."""
    latent_size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the latents, by default half, once and 1.75 times the model's own; repeat it for more."""
    size: tyro.conf.UseAppendAction[tuple[Size, ...]] = ()
    """Height and width of the pictures, by default the model's own, twice, 27/32 by 18/32 and half of it; repeat it for
    more."""
    seed: int = 0
    """Seed of the generated pictures and of all noise."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the networks for generation and the denoising error: fp32 is float32; bf16 is faster, and changes
    the pictures a little. A device without units for bf16 computes in float32. Reconstruction is always measured in
    float32."""
    output: Path | None = None
    """Folder for evaluation.json, whole after every latent size, the denoising error as CSV and plot, and for models of
    colour pictures neighbours.png: generated pictures beside the training pictures most like them."""
    resume: bool = False
    """Continue after the figures of an interrupted run in OUTPUT; at most a minute of generation is lost. Otherwise all
    are measured anew."""


def evaluate(config: tyro.conf.OmitArgPrefixes[Evaluate]) -> None:
    """Measure reconstruction, generation and denoising on the test split."""
    from r2id.evaluation.colour_judge import is_judged_in_colour
    from r2id.evaluation.evaluate import evaluate as run
    from r2id.evaluation.images import load_colour_judging, load_test_images
    from r2id.evaluation.plan import Plan

    check_seed(config.seed)
    options = {field.name for field in fields(Plan)} & {field.name for field in fields(config)}
    plan = Plan(**{name: getattr(config, name) for name in options})
    pipeline = load_pipeline(config.model, config.device, config.precision)
    data = load_test_images(pipeline, config.data, config.split, config.image_size)
    colour = None
    if (plan.count or plan.canvases or plan.duplicates) and is_judged_in_colour(pipeline, data):
        try:
            colour = load_colour_judging(
                pipeline, data, config.data, config.split, config.train_split, plan.most("judge_images")
            )
        except InputError as error:
            print(f"r2id: {error}", file=sys.stderr)
    about = {"model": config.model, "split": config.split, "image_size": config.image_size}
    run(pipeline, data, plan, colour=colour, about=about, output=config.output, resume=config.resume, progress=progress)
