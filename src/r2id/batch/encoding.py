"""Encoding of data sets by several processes, resumable, with a file for each batch."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from r2id.batch.record import Record
from r2id.data.dataset import ImageDataset, all_captions, picked
from r2id.files.checksums import checksum, file_checksum
from r2id.files.latents import SUFFIX, Latents
from r2id.geometry.canvas import canvas_of, plain
from r2id.geometry.sizes import Size
from r2id.networks.refinement import refine
from r2id.networks.resampler import R2IR
from r2id.runtime.processes import Share, batches
from r2id.runtime.progress import Progress

DEFAULTS = {"refine": 0, "dtype": "float16"}
"""Settings that records leave out."""
REFINED_AT_ONCE = 50
"""Images that are refined together, which bound the memory for gradients."""


def encode(
    resampler: R2IR,
    data: ImageDataset,
    latent_size: Size | None,
    folder: Path,
    batch_size: int,
    resume: bool,
    progress: Progress,
    dtype: str = "float16",
    pixels_per_cell: float | None = None,
    mirrored: bool = False,
    refinement: int = 0,
) -> tuple[int, int]:
    """Encode this process's share of a data set to a file per batch.

    Returns the number of images that were encoded, and that of the share.

    Args:
        resampler: the encoder.
        data: the images.
        latent_size, folder, batch_size: as for `r2id encode`.
        resume: keep existing files, if they have the same settings.
        progress: display of the progress.
        dtype: of the numbers in the files, as for `Latents.save`.
        pixels_per_cell: pixels along a side for each latent of a pyramid, in place of `latent_size`.
        mirrored: mirror every image from left to right first.
        refinement: gradient steps that refine each latent.
    Raises:
        InputError: if files in the folder, or of another process writing there, have other settings.
    """
    model, size = resampler.checksum(), (data.images.shape[-2], data.images.shape[-1])
    labels = () if data.labels is None else picked(data.label_names, data.labels.tolist())
    about: dict[str, Any] = {"labels": labels, "captions": all_captions(data), "names": data.names or ()}
    cells = {"pixels_per_cell": pixels_per_cell} if latent_size is None else {"latent_size": latent_size}
    source = f"{data.source}, mirrored" if mirrored else data.source
    settings = {"data": source, "images": checksum([data.images]), **cells, "model": model}
    settings |= {"refine": refinement, "dtype": dtype}
    settings["labels_and_captions"] = zlib.crc32(json.dumps(about).encode())
    record = Record(folder / "encode.json", settings | {"batch_size": batch_size}, DEFAULTS)
    every = list(batches(range(len(data)), batch_size))
    mine = [every[number] for number in Share.of_this_process().of(len(every))]

    def file(batch: Sequence[int]) -> Path:
        return folder / f"{batch[0]:08d}{SUFFIX}"

    with record.together():
        wanted = [batch for batch in mine if not (resume and file(batch).exists())]
        total, encoded = sum(map(len, mine)), sum(map(len, wanted))
        with progress(total, "encoding", total - encoded) as advance:
            for batch in wanted:
                # A pyramid takes photographs, of which a batch may not fit.
                together = 1 if resampler.is_pyramid else REFINED_AT_ONCE if refinement else len(batch)
                with torch.inference_mode():
                    images = (
                        data.batch(batch[first : first + together]).to(resampler.device, resampler.dtype)
                        for first in range(0, len(batch), together)
                    )
                    parts = [
                        refine(
                            resampler,
                            resampler.encode(some, latent_size, pixels_per_cell=pixels_per_cell),
                            some,
                            refinement,
                        )
                        for some in (one.flip(-1) if mirrored else one for one in images)
                    ]
                values, canvas = torch.cat([plain(part) for part in parts]), canvas_of(parts[0]) or size
                record.write()
                of_batch: dict[str, Any] = {name: picked(given, batch) for name, given in about.items() if given}
                latents = Latents(values, canvas, (), model, size, mirrored=mirrored)
                replace(latents, **of_batch).save(file(batch), dtype)
                advance(len(batch))
    return encoded, total


def encode_one(
    encode_file: Callable[[], Latents],
    file: Path,
    settings: dict[str, Any],
    folder: Path,
    resume: bool,
    dtype: str = "float16",
) -> int:
    """Encode a data set of one picture, in the first process only; returns the number of encoded pictures.

    Args:
        encode_file: encodes the picture.
        file: the picture.
        settings: settings of the latent, as JSON types.
        folder, resume: as for `r2id encode`.
        dtype: of the numbers in the file, as for `Latents.save`.
    Raises:
        InputError: if files in the folder, or of another process writing there, are of another picture or have other
            settings.
    """
    if Share.of_this_process().index:
        return 0
    settings = {"data": file.name, "images": file_checksum(file), "refine": 0, "dtype": dtype} | settings
    record = Record(folder / "encode.json", settings, DEFAULTS)
    path = folder / f"{0:08d}{SUFFIX}"
    with record.together():
        if resume and path.exists():
            return 0
        latents = encode_file()
        record.write()
        replace(latents, names=(file.name,)).save(path, dtype)
    return 1
