"""Files of latents, which `r2id encode` and `sample` write, and `decode` and `resample` read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
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
    """The encoder of latents, an `R2IR`."""

    def checksum(self) -> int: ...


FORMAT = "r2id latents"
SUFFIX = ".safetensors"
STORED = ("float16", "uint8")
"""Types of the numbers in a file."""
PER_LATENT = ("labels", "captions", "names")


@dataclass(frozen=True)
class Latents:
    """Latents of one size, with the settings to decode them.

    Attributes:
        values: [N, C, h, w], in half precision or 8 bits on disk; in [−1, 1], except a pyramid's.
        canvas: (height, width) of the pictures, in cells, as of a `LatentTensor`.
        labels: one name per latent; empty without labels.
        model: `R2IR.checksum()` of their weights.
        image_size: height and width in pixels of the pictures that were encoded or sampled; None where none were.
        captions: one or several texts for each latent; empty without captions.
        names: of the files that were encoded, one per latent; empty where there were none.
        mirrored: whether the pictures were mirrored before they were encoded.
    """

    values: Tensor
    canvas: Canvas
    labels: tuple[str, ...]
    model: int
    image_size: Size | None = None
    captions: tuple[tuple[str, ...], ...] = ()
    names: tuple[str, ...] = ()
    mirrored: bool = False

    @property
    def size(self) -> Size:
        """Height and width of the latents."""
        return self.values.shape[-2], self.values.shape[-1]

    @classmethod
    def of(
        cls, pipeline: Any, values: Tensor, labels: Sequence[str | int] = (), image_size: Size | None = None
    ) -> Latents:
        """Return the `latents` of a call of a pipeline with the settings to decode them.

        Raises InputError for a pipeline without a resampler.
        """
        if pipeline.resampler is None:
            raise InputError("this model works on pixels and has no latents to keep")
        canvas = canvas_of(values) or pipeline.diffuser.config.canvas or values.shape[-2:]
        return cls(values, check_canvas(canvas), tuple(map(str, labels)), pipeline.resampler.checksum(), image_size)

    def picture_size(self, longer_side: int) -> Size:
        """Return height and width of the pictures: `image_size`, or else the canvas's proportions with `longer_side`
        pixels along the longer side."""
        return self.image_size or with_longer_side(longer_side, self.canvas)

    def split(self) -> list[Latents]:
        """Return each latent on its own."""
        return [
            replace(self, values=value[None], **{name: getattr(self, name)[number : number + 1] for name in PER_LATENT})
            for number, value in enumerate(self.values)
        ]

    def check_weights(self, resampler: Encoder, path: Path, model: str) -> None:
        """Raise InputError if another R2IR than that of `model` made the latents of `path`."""
        if self.model != resampler.checksum():
            raise InputError(
                f"{path} holds latents of other weights than model {model}; give the model that encoded them by --model"
            )

    def save(self, path: str | os.PathLike, dtype: str = "float16") -> None:
        """Write safetensors with the `latents`, `mean` and `std` per channel, and the rest as metadata.

        Args:
            path: the file.
            dtype: "float16", or "uint8" for 256 levels between the least and the greatest value of each channel.
        Raises:
            InputError: for another type.
        """
        if dtype not in STORED:
            raise InputError(f"dtype is {dtype!r}; it must be one of {', '.join(STORED)}")
        values = self.values.detach().float().cpu()
        tensors = {
            **({"latents": values.half().contiguous()} if dtype == "float16" else _in_levels(values)),
            "mean": values.mean(dim=(0, 2, 3)),
            "std": values.std(dim=(0, 2, 3), correction=0),
        }
        about = {name: getattr(self, name) for name in ("canvas", "model", "image_size", *PER_LATENT)}
        about |= {"mirrored": True} if self.mirrored else {}
        write_whole(Path(path), lambda temporary: save_file(tensors, temporary, {FORMAT: json.dumps(about)}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Latents:
        """Read a file of latents. Raises InputError if it is damaged or of another kind."""
        latents = cls.mapped(path)
        return replace(latents, values=LatentTensor.of(latents.values.float(), latents.canvas))

    @classmethod
    def mapped(cls, path: str | os.PathLike) -> Latents:
        """Read a file with values in half precision, mapped into memory on access; those in 8 bits are converted."""
        path = Path(path)
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise InputError(f"{path} {what}; give a file of latents ({SUFFIX}), as encode writes it")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if FORMAT not in metadata:
                    raise InputError(f"{path} holds no latents; give what encode, sample or resample wrote")
                about, values = json.loads(metadata[FORMAT]), file.get_tensor("latents")
                if values.dtype == torch.uint8:
                    values = _of_levels(values, file.get_tensor("least"), file.get_tensor("step"))
            canvas = check_canvas(about["canvas"])
            image_size = about.get("image_size") and check_size(about["image_size"], "image_size")
            labels, names = tuple(about["labels"]), tuple(about.get("names", ()))
            captions = tuple(map(tuple, about.get("captions", ())))
            mirrored = bool(about.get("mirrored", False))
            latents = cls(values, canvas, labels, int(about["model"]), image_size, captions, names, mirrored)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read as latents ({error})") from error
        counts = {name: len(getattr(latents, name)) for name in PER_LATENT}
        if values.ndim != 4 or not {0, len(values)}.issuperset(counts.values()) or not _are_finite(values):
            found = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise InputError(f"{path} is damaged: {found} and latents of shape {tuple(values.shape)}")
        return latents

    @classmethod
    def joined(cls, parts: list[Latents]) -> Latents:
        """Join latents of several files. Raises InputError if their shapes, canvases or weights differ."""
        first = parts[0]
        for part in parts[1:]:
            if (part.canvas, part.model, part.values.shape[1:]) != (first.canvas, first.model, first.values.shape[1:]):
                raise InputError(
                    f"latents of {tuple(part.values.shape[1:])} on the canvas {part.canvas} do not belong to those of "
                    f"{tuple(first.values.shape[1:])} on {first.canvas}, or are of other weights"
                )
        own: dict[str, Any] = {
            name: tuple(chain.from_iterable(getattr(part, name) for part in parts)) for name in PER_LATENT
        }
        sizes = {part.image_size for part in parts}
        image_size = first.image_size if len(sizes) == 1 else None
        return replace(first, values=torch.cat([part.values for part in parts]), image_size=image_size, **own)


def _in_levels(values: Tensor) -> dict[str, Tensor]:
    """8-bit `latents` [N, C, h, w] with the `least` value and the `step` between levels of each channel, [C]."""
    least, greatest = values.amin(dim=(0, 2, 3)), values.amax(dim=(0, 2, 3))
    step = (greatest - least).clamp(min=1e-12) / 255
    levels = ((values - least[:, None, None]) / step[:, None, None]).round().byte()
    return {"latents": levels.contiguous(), "least": least, "step": step}


def _of_levels(levels: Tensor, least: Tensor, step: Tensor) -> Tensor:
    return (least[:, None, None] + levels * step[:, None, None]).half()


def _are_finite(values: Tensor) -> bool:
    # In parts, so that memory does not grow with the file.
    return all(bool(some.isfinite().all()) for some in values.split(64))


def latent_files(path: Path) -> list[Path]:
    """Return the files of latents at a path: itself, or all in a folder of latents only; otherwise none.

    Records beside latents and hidden files are ignored.
    """
    if path.is_file():
        return [path] if path.suffix == SUFFIX else []
    files: list[Path] = []
    for file in path.rglob("*"):
        if file.name.startswith(".") or file.suffix == ".json" or file.is_dir():
            continue
        if file.suffix != SUFFIX:
            return []
        files.append(file)
    return sorted(files)
