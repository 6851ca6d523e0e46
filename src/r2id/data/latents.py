"""Stored latents as training data in place of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from r2id.data.content import index_names
from r2id.data.dataset import LatentDataset, first_and_more, labels_and_captions
from r2id.errors import InputError
from r2id.files.latents import Latents
from r2id.geometry.sizes import size_text


def load_latents(files: Sequence[Path]) -> list[LatentDataset]:
    """Load files of latents as a data set for each grid and canvas, the largest first.

    Latents are mapped from the files and may be larger than memory. Raises InputError if a file holds no latents, or
    its weights, channels, labels or captions differ from those of the first file.
    """
    stored = [Latents.mapped(file) for file in files]
    first = stored[0]
    for file, one in zip(files, stored, strict=True):
        for name, here, there in (
            ("weights that encoded them", one.model, first.model),
            ("channels", one.values.shape[1], first.values.shape[1]),
            ("labels", bool(one.labels), bool(first.labels)),
            ("captions", bool(one.captions), bool(first.captions)),
        ):
            if here != there:
                raise InputError(f"{file} has other {name} than {files[0]}; give files that have the same")
    buckets: dict[object, list[int]] = {}
    for number, one in enumerate(stored):
        buckets.setdefault((one.canvas, one.size, one.image_size, one.mirrored), []).append(number)
    labels, label_names = index_names([label for one in stored for label in one.labels])
    of_files = labels.split([len(one.labels) for one in stored])
    total = sum(len(one.values) for one in stored)
    place = Path(os.path.commonpath(files)).resolve()
    sets = []
    for numbers in buckets.values():
        some = [stored[number] for number in numbers]
        captions, more_captions = first_and_more([texts for one in some for texts in one.captions])
        sets.append(
            LatentDataset(
                parts=tuple(one.values for one in some),
                canvas=some[0].canvas,
                image_size=some[0].image_size,
                model=first.model,
                labels=torch.cat([of_files[number] for number in numbers]) if first.labels else None,
                label_names=label_names,
                captions=captions,
                source=f"latents {place.name}, {total} latents",
                more_captions=more_captions,
                mirrored=some[0].mirrored,
            )
        )
    sets.sort(key=len, reverse=True)
    grids = list(dict.fromkeys(size_text(one.size) for one in sets))
    sizes = ", ".join([*grids[:4], *(["…"] if len(grids) > 4 else [])])
    found = f"{sets[0].source} of {sizes}; {labels_and_captions(sets[0])}"
    return [replace(one, found=found) for one in sets]
