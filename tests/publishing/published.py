"""What tests of saved and uploaded models compare."""

from pathlib import Path

import torch

from r2id import R2Pipeline

FEW = {"latent_size": (3, 2), "size": (8, 6), "num_inference_steps": 3, "output_type": "pt"}


COMMIT = "0" * 40


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(pipeline: R2Pipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline([3, 8], generator=seeded(), **FEW).images


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
