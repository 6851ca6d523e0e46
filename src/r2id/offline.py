"""Many pictures or latents at a time: shared between processes, written as they are made, gone on with if interrupted.

Under `accelerate launch` or `torchrun`, every process does its share and needs no word from the others.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image

from r2id.errors import InputError
from r2id.files import clear_leftovers, file_name, write_whole
from r2id.gallery import contact_sheet
from r2id.images import save_image
from r2id.latents import SUFFIX, Latents
from r2id.locks import together
from r2id.model import checksum
from r2id.pipeline import R2Pipeline
from r2id.processes import Share
from r2id.progress import Progress
from r2id.resampler import R2IR
from r2id.sizes import Size, size_text

if TYPE_CHECKING:
    from r2id.training.data import ImageDataset

GRID_PICTURES = 400
"""Pictures that a grid of all shows at most."""


class Record:
    """What the files in a folder were made with, kept beside them.

    Args:
        path: a JSON file.
        settings: what the files depend on, in what JSON has.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))

    def write(self) -> None:
        """Leave the settings beside the files."""
        write_whole(self.path, lambda path: path.write_text(json.dumps(self.settings, indent=1)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make files with other processes of the same settings; raises InputError where others make some, or made."""
        folder = self.path.parent

        def clear() -> None:
            for one in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                clear_leftovers(one)

        with together(folder / f".{self.path.name}.lock", self.settings, clear):
            self._compare()
            yield

    def _compare(self) -> None:
        """Raises InputError where the files that are there were made with other settings."""
        if not self.path.exists():
            return
        try:
            before = dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path} is damaged ({error}); remove it, or give another output") from error
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise InputError(
                    f"{name} is {value}; what {self.path.parent} holds was made with {before.get(name)}; "
                    "give another output"
                )


class Pictures(NamedTuple):
    """Where generated pictures go: folder/<H>x<W>/<index>-<label>.png, and a grid of them for each size beside these.

    With `keeps_latents`, the latent that each is decoded from goes to folder/latents/<index>.safetensors.
    """

    folder: Path
    labels: Sequence[str]
    sizes: Sequence[Size]
    keeps_latents: bool = False

    def file(self, index: int, size: Size) -> Path:
        """The file of a picture at a size."""
        return self.folder / size_text(size) / f"{index}-{file_name(self.labels[index])}.png"

    def latent_file(self, index: int) -> Path:
        """The file of a latent, such that the names are in the order of the indices."""
        return self.folder / "latents" / f"{index:08d}{SUFFIX}"

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Those of which a size is not there, or the latent."""
        return [index for index in indices if not all(path.exists() for path in self._files(index))]

    def _files(self, index: int) -> list[Path]:
        latents = [self.latent_file(index)] if self.keeps_latents else []
        return [self.file(index, size) for size in self.sizes] + latents

    def write_grids(self, columns: int) -> None:
        """A contact sheet of the first pictures of each size."""
        for size in self.sizes:
            shown = [Image.open(self.file(index, size)) for index in range(min(len(self.labels), GRID_PICTURES))]
            save_image(contact_sheet(shown, columns), self.folder / f"{size_text(size)}.png")


def generate(
    pipeline: R2Pipeline,
    pictures: Pictures,
    latent_size: Size,
    seed: int,
    batch_size: int,
    resume: bool,
    settings: dict[str, Any],
    arguments: dict[str, Any],
    progress: Progress,
) -> int:
    """Generate this process's share of the pictures, picture i from seed + i; returns how many were made.

    Args:
        pipeline: what generates.
        pictures: what to generate and where to.
        latent_size, seed, batch_size: as for `r2id sample`.
        resume: keep the pictures that are there, if they were made with the same settings.
        settings: what the pictures depend on, in what JSON has.
        arguments: further arguments of the pipeline.
        progress: shows how far it is.
    Raises:
        InputError: where the folder holds what was made with other settings, or another process is writing such.
    """
    record = Record(pictures.folder / "sample.json", settings)
    mine = Share.of_this_process().of(len(pictures.labels))
    with record.together():
        wanted = pictures.missing(mine) if resume else mine
        with progress(len(mine), "generating", len(mine) - len(wanted)) as advance:
            for batch in _batches(wanted, batch_size):
                labels = [pictures.labels[index] for index in batch]
                result = pipeline(
                    labels,
                    latent_size,
                    list(pictures.sizes),
                    generator=[torch.Generator().manual_seed(seed + index) for index in batch],
                    **arguments,
                )
                record.write()
                if pictures.keeps_latents:
                    for index, latent in zip(batch, Latents.of(pipeline, result.latents, labels).split(), strict=True):
                        latent.save(pictures.latent_file(index))
                for size, images in zip(pictures.sizes, result.images, strict=True):
                    for index, image in zip(batch, images, strict=True):
                        save_image(image, pictures.file(index, size))
                advance(len(batch))
    return len(wanted)


def encode(
    resampler: R2IR,
    data: ImageDataset,
    latent_size: Size,
    folder: Path,
    batch_size: int,
    resume: bool,
    progress: Progress,
) -> int:
    """Encode this process's share of a data set, a file of latents for every batch; returns how many were encoded.

    Args:
        resampler: what encodes.
        data: the images.
        latent_size, folder, batch_size: as for `r2id encode`.
        resume: keep the files that are there, if they were made with the same settings.
        progress: shows how far it is.
    Raises:
        InputError: where the folder holds what was made with other settings, or another process is writing such.
    """
    model, canvas = resampler.checksum(), (data.images.shape[-2], data.images.shape[-1])
    settings = {"data": data.source, "images": checksum([data.images]), "latent_size": latent_size, "model": model}
    record = Record(folder / "encode.json", settings | {"batch_size": batch_size})
    batches = list(_batches(range(len(data)), batch_size))
    mine = [batches[number] for number in Share.of_this_process().of(len(batches))]

    def file(batch: Sequence[int]) -> Path:
        return folder / f"{batch[0]:08d}{SUFFIX}"

    with record.together():
        wanted = [batch for batch in mine if not (resume and file(batch).exists())]
        total, encoded = sum(map(len, mine)), sum(map(len, wanted))
        with progress(total, "encoding", total - encoded) as advance:
            for batch in wanted:
                images = data.batch(list(batch)).to(resampler.device, resampler.dtype)
                labels = () if data.labels is None else [data.label_names[data.labels[index]] for index in batch]
                with torch.inference_mode():
                    values = resampler.encode(images, latent_size)
                record.write()
                Latents(values, canvas, tuple(labels), model).save(file(batch))
                advance(len(batch))
    return encoded


def encode_one(
    encode_file: Callable[[], Latents], file: Path, settings: dict[str, Any], folder: Path, resume: bool
) -> int:
    """Encode a data set of one picture, by the first process alone; returns how many were encoded.

    Args:
        encode_file: what encodes it.
        file: the picture.
        settings: what the latent depends on beside the picture, in what JSON has.
        folder, resume: as for `r2id encode`.
    Raises:
        InputError: where the folder holds what was made of another picture or with other settings, or another process
            is writing such.
    """
    if Share.of_this_process().index:
        return 0
    record = Record(folder / "encode.json", {"data": file.name, "images": _file_checksum(file)} | settings)
    path = folder / f"{0:08d}{SUFFIX}"
    with record.together():
        if resume and path.exists():
            return 0
        latents = encode_file()
        record.write()
        latents.save(path)
    return 1


def _file_checksum(path: Path) -> int:
    """Of a file that may be larger than memory."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (indices[start : start + size] for start in range(0, len(indices), size))
