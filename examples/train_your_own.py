"""Train on a folder of pictures and sample at two sizes: the whole loop by library calls.

    python examples/train_your_own.py FOLDER --output out/mine

FOLDER holds pictures, flat or with one subfolder for each label. They are resized to squares. OUTPUT gets both trained
networks, a sheet of reconstructions, and generated pictures at the size of training and at twice that size.
The same command continues an interrupted training with --resume. It needs `pip install -e '.[train]'`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers.utils import make_image_grid
from PIL import Image

from r2id import R2IR, R2Pipeline
from r2id.data.loading import load_images
from r2id.files.images import as_output
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.setup import train_diffuser, train_resampler


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="pictures, flat or with one subfolder for each label")
    parser.add_argument("--output", type=Path, default=Path("out/mine"), help="folder for all results")
    parser.add_argument("--image-size", type=int, default=48, help="height and width of the training pictures")
    parser.add_argument("--latent-size", type=int, default=8, help="height and width of the latents")
    parser.add_argument("--latent-channels", type=int, default=16, help="numbers for each sample of a latent")
    parser.add_argument("--dim", type=int, default=192, help="width of both networks, a multiple of 6")
    parser.add_argument("--steps", type=int, nargs=2, default=(2400, 7000), help="training steps of R2IR and of R2ID")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures per step")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    return parser.parse_args()


def train(options: argparse.Namespace) -> tuple[R2IR, R2Pipeline]:
    """Train R2IR on the pictures, then R2ID on its latents; both start from the recipe for digits."""
    side = options.latent_size
    # Every step draws one grid. Several of them are what makes other sizes work.
    grids = ((side, side), (side, side), (max(1, side * 3 // 4),) * 2, (side * 5 // 4,) * 2)
    shared = {
        "data": options.folder,
        "image_size": (options.image_size, options.image_size),
        "channels": 3,
        "latent_sizes": grids,
        "batch_size": options.batch_size,
        "compile": False,
    }
    resampler_steps, diffuser_steps = options.steps
    resampler_folder = options.output / "resampler"
    if not (options.resume and (resampler_folder / "resampler").is_dir()):
        train_resampler(
            replace(
                RESAMPLER_PRESETS["mnist"],
                **shared,
                steps=resampler_steps,
                output=resampler_folder,
                resume=options.resume,
                model=(
                    "num_blocks=1",
                    "pixel_dim=64",
                    f"dim={options.dim}",
                    f"latent_channels={options.latent_channels}",
                ),
            )
        )
    pipeline_folder = train_diffuser(
        replace(
            DIFFUSER_PRESETS["mnist"],
            **shared,
            steps=diffuser_steps,
            output=options.output / "diffuser",
            resume=options.resume and (options.output / "diffuser" / "checkpoints").is_dir(),
            resampler=str(resampler_folder / "resampler"),
            model=("encoder_blocks=4", "decoder_blocks=4", f"dim={options.dim}"),
        )
    )
    return R2IR.from_pretrained(resampler_folder / "resampler"), R2Pipeline.from_pretrained(pipeline_folder)


def reconstructions(resampler: R2IR, options: argparse.Namespace) -> Image.Image:
    """Up to eight pictures in the first row, and below each what comes back from its latent."""
    size = (options.image_size, options.image_size)
    data = load_images(options.folder, image_size=size, channels=3, limit=8)
    originals = data.batch(slice(None))  # [N, 3, height, width] in [−1, 1]
    with torch.inference_mode():
        decoded = resampler.decode(resampler.encode(originals, (options.latent_size,) * 2), size)
    pictures = as_output(originals, "pil") + as_output(decoded, "pil")
    return make_image_grid(pictures, rows=2, cols=len(originals))


def main() -> None:
    options = parse()
    resampler, pipe = train(options)
    reconstructions(resampler, options).save(options.output / "reconstructions.png")

    # Without subfolders, all pictures have the one label "image".
    labels = (list(pipe.conditioner.config.label_names) * 8)[:8]
    small, large = options.image_size, 2 * options.image_size
    result = pipe(
        class_labels=labels,
        latent_size=(options.latent_size, options.latent_size),
        size=[(small, small), (large, large)],
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(labels))],
    )
    for side, pictures in zip((small, large), result.images, strict=True):
        make_image_grid(pictures, rows=1, cols=len(pictures)).save(options.output / f"generated-{side}x{side}.png")


if __name__ == "__main__":
    main()
