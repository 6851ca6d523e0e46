"""Write a trained pipeline as it is bundled: in half precision, and with the names of its R2IR and of its word vectors
in place of their values.

    python benchmarks/recipe/bundle.py runs/diffuser/pipeline src/r2id/pretrained/emoji --size 256

A card that is in the folder already stays.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r2id import R2Pipeline
from r2id.conditioning.words import WordConditioner
from r2id.geometry.sizes import with_longer_side


def bundled(pipeline: R2Pipeline, resampler: str, longer_side: int, **defaults: Any) -> R2Pipeline:
    """Return the pipeline in half precision, without the R2IR that is bundled as `resampler` and the bundled word
    vectors.

    `longer_side`, in pixels, and `defaults` become defaults of generation.
    """
    pipeline.diffuser.register_to_config(latents_of=pipeline.resampler.described(resampler))
    all_defaults = asdict(pipeline.generation_defaults) | defaults
    all_defaults["size"] = with_longer_side(longer_side, all_defaults["size"])
    pipeline.register_to_config(generation_defaults=all_defaults)
    if isinstance(pipeline.conditioner, WordConditioner):
        pipeline.conditioner.share_vectors()
    pipeline.diffuser.half()
    pipeline.conditioner.half()
    pipeline.register_modules(resampler=None)
    return pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--resampler", default="pictures", help="name of the bundled R2IR")
    parser.add_argument("--size", type=int, default=256, help="longer side of the pictures by default, in pixels")
    parser.add_argument("--latents", type=int, nargs=2, help="height and width of the latents by default")
    parser.add_argument("--example", action="append", default=[], help="label or text that shows the model; repeat it")
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    parser.add_argument(
        "--guidance-interval", type=float, nargs=2, default=(0.1, 1.0),
        help="from the first step on, as noise hides the coarse last",
    )  # fmt: skip
    options = parser.parse_args()
    pipeline = R2Pipeline.from_pretrained(options.pipeline)
    defaults = {
        "guidance_scale": options.guidance_scale,
        "guidance_interval": tuple(options.guidance_interval),
        "latent_size": tuple(options.latents or pipeline.generation_defaults.latent_size),
        "examples": tuple(options.example),
    }
    # Configs keep the name that a model was loaded by.
    pipeline.register_to_config(_name_or_path=options.target.name)
    bundled(pipeline, options.resampler, options.size, **defaults).save_pretrained(options.target)


if __name__ == "__main__":
    main()
