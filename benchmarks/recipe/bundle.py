"""Write a trained pipeline as it is bundled: in half precision, and with the name of its R2IR in place of the weights.

    python benchmarks/recipe/bundle.py runs/diffuser/pipeline src/r2id/pretrained/emoji --size 256

A card that is in the folder already stays.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from r2id import R2Pipeline
from r2id.geometry.sizes import with_longer_side


def bundled(pipeline: R2Pipeline, resampler: str, longer_side: int, guidance_scale: float | None) -> R2Pipeline:
    """Return the pipeline in half precision, without the R2IR that is bundled as `resampler`.

    `longer_side`, in pixels, and `guidance_scale` become defaults of generation.
    """
    pipeline.diffuser.register_to_config(latents_of=pipeline.resampler.described(resampler))
    defaults = asdict(pipeline.generation_defaults)
    defaults["size"] = with_longer_side(longer_side, defaults["size"])
    defaults["guidance_scale"] = guidance_scale or defaults["guidance_scale"]
    pipeline.register_to_config(generation_defaults=defaults)
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
    parser.add_argument("--guidance", type=float, help="guidance scale by default; by default the pipeline's own")
    options = parser.parse_args()
    pipeline = R2Pipeline.from_pretrained(options.pipeline)
    bundled(pipeline, options.resampler, options.size, options.guidance).save_pretrained(options.target)


if __name__ == "__main__":
    main()
