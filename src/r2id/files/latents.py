"""Latents on disk: what `r2id encode` and `sample` leave, and `decode` and `resample` read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from r2id.errors import InputError
from r2id.files.atomic import write_whole
from r2id.geometry.canvas import Canvas, LatentTensor, canvas_of, check_canvas
from r2id.geometry.sizes import Size, check_size, with_longer_side


class Encoder(Protocol):
    """What made latents, an `R2IR`."""

    def checksum(self) -> int: ...


FORMAT = "r2id latents"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Latents:
    """Latents of one size, and what is needed to decode them.

    Attributes:
        values: [N, C, h, w] in [−1, 1], as R2IR encodes them, on the canvas. Kept in half precision on disk.
        canvas: height and width that give the proportions of the pictures.
        labels: one name per latent; empty without labels.
        model: `R2IR.checksum()` of the weights that they belong to.
        image_size: height and width in pixels of the pictures that were encoded or sampled; None where none were.
    """

    values: Tensor
    canvas: Canvas
    labels: tuple[str, ...]
    model: int
    image_size: Size | None = None

    @property
    def size(self) -> Size:
        """Height and width of the latents."""
        return self.values.shape[-2], self.values.shape[-1]

    @classmethod
    def of(
        cls, pipeline: Any, values: Tensor, labels: Sequence[str | int] = (), image_size: Size | None = None
    ) -> Latents:
        """What a call of a pipeline returned as `latents`, with what decoding them needs, such as their canvas.

        Raises InputError for a pipeline without a resampler.
        """
        if pipeline.resampler is None:
            raise InputError("this model works on pixels and has no latents to keep")
        canvas = canvas_of(values) or pipeline.diffuser.config.canvas or values.shape[-2:]
        return cls(values, check_canvas(canvas), tuple(map(str, labels)), pipeline.resampler.checksum(), image_size)

    def picture_size(self, longer_side: int) -> Size:
        """Height and width of the pictures: `image_size`, or else in the canvas's proportions with so many pixels along
        the longer side."""
        return self.image_size or with_longer_side(longer_side, self.canvas)

    def split(self) -> list[Latents]:
        """Every latent on its own."""
        labels: list[tuple[str, ...]] = [(label,) for label in self.labels] or [()] * len(self.values)
        return [
            replace(self, values=value[None], labels=label) for value, label in zip(self.values, labels, strict=True)
        ]

    def check_weights(self, resampler: Encoder, path: Path, model: str) -> None:
        """Raises InputError where another R2IR than the one of `model` made the latents of `path`."""
        if self.model != resampler.checksum():
            raise InputError(f"{path} holds latents of other weights than model {model}; give theirs")

    def save(self, path: str | os.PathLike) -> None:
        """Write safetensors: the `latents`, every channel's `mean` and `std`, and the rest as metadata."""
        values = self.values.detach().float().cpu()
        tensors = {
            "latents": values.half().contiguous(),
            "mean": values.mean(dim=(0, 2, 3)),
            "std": values.std(dim=(0, 2, 3), correction=0),
        }
        about = {name: getattr(self, name) for name in ("canvas", "labels", "model", "image_size")}
        write_whole(Path(path), lambda temporary: save_file(tensors, temporary, {FORMAT: json.dumps(about)}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Latents:
        """Read such a file. Raises InputError where it is none, or damaged."""
        path = Path(path)
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise InputError(f"{path} {what}; accepted is a file of latents ({SUFFIX}), as encode writes it")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if FORMAT not in metadata:
                    raise InputError(f"{path} holds no latents; accepted is what encode, sample or resample wrote")
                about, values = json.loads(metadata[FORMAT]), file.get_tensor("latents").float()
            canvas = check_canvas(about["canvas"])
            image_size = about.get("image_size") and check_size(about["image_size"], "image_size")
            labels, model = tuple(about["labels"]), int(about["model"])
            latents = cls(LatentTensor.of(values, canvas), canvas, labels, model, image_size)
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read as latents ({error})") from error
        if values.ndim != 4 or len(latents.labels) not in (0, len(values)) or not values.isfinite().all():
            shape = tuple(values.shape)
            raise InputError(f"{path} is damaged: {len(latents.labels)} labels and latents of shape {shape}")
        return latents

    @classmethod
    def joined(cls, parts: list[Latents]) -> Latents:
        """All of several files. Raises InputError where they do not belong together."""
        first = parts[0]
        for part in parts[1:]:
            if (part.canvas, part.model, part.values.shape[1:]) != (first.canvas, first.model, first.values.shape[1:]):
                raise InputError(
                    f"latents of {tuple(part.values.shape[1:])} on the canvas {part.canvas} do not belong to those of "
                    f"{tuple(first.values.shape[1:])} on {first.canvas}, or are of other weights"
                )
        labels = tuple(label for part in parts for label in part.labels)
        sizes = {part.image_size for part in parts}
        image_size = first.image_size if len(sizes) == 1 else None
        return cls(torch.cat([part.values for part in parts]), first.canvas, labels, first.model, image_size)
