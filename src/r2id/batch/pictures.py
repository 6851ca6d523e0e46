"""Generation of many pictures by several processes, resumable.

Under `accelerate launch` or `torchrun`, every process does its share without communication.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from r2id.batch.record import Record
from r2id.diffusion.defaults import sampling_options
from r2id.diffusion.pipeline import R2Pipeline, R2PipelineOutput
from r2id.files.atomic import file_name
from r2id.files.contact_sheets import contact_sheet
from r2id.files.images import save_image
from r2id.files.latents import SUFFIX, Latents
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.processes import Share, batches
from r2id.runtime.progress import Progress

GRID_PICTURES = 400
"""Most pictures of a contact sheet."""


class Pictures(NamedTuple):
    """Files of generated pictures: folder/<H>x<W>/<index>-<label>.png, and a contact sheet for each size.

    With `keeps_latents`, the latent of each goes to folder/latents/<index>.safetensors.
    """

    folder: Path
    labels: Sequence[str]
    sizes: Sequence[Size]
    keeps_latents: bool = False

    def file(self, index: int, size: Size) -> Path:
        """Return the file of a picture at a size."""
        return self.folder / size_text(size) / f"{index}-{file_name(self.labels[index])}.png"

    def latent_file(self, index: int) -> Path:
        """Return the file of a latent; names sort by index."""
        return self.folder / "latents" / f"{index:08d}{SUFFIX}"

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Return the indices that lack a picture or the latent."""
        return [index for index in indices if not all(path.exists() for path in self._files(index))]

    def _files(self, index: int) -> list[Path]:
        latents = [self.latent_file(index)] if self.keeps_latents else []
        return [self.file(index, size) for size in self.sizes] + latents

    def write_grids(self, columns: int) -> None:
        """Write a contact sheet of the first pictures of each size."""
        for size in self.sizes:
            shown = [Image.open(self.file(index, size)) for index in range(min(len(self.labels), GRID_PICTURES))]
            save_image(contact_sheet(shown, columns), self.folder / f"{size_text(size)}.png")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How pictures are generated: picture i from `seed` + i; the rest as for `r2id sample`."""

    seed: int
    latent_size: Size
    num_inference_steps: int
    guidance_scale: float
    guidance_interval: tuple[float, float]
    precision: str
    joint: bool = False
    panorama: bool = False

    def call(
        self,
        pipeline: R2Pipeline,
        labels: Sequence[str],
        sizes: Sequence[Size],
        generators: list[torch.Generator],
        output_type: str = "pil",
    ) -> R2PipelineOutput:
        """Return the pictures of labels, a list for each size; a panorama has one size. With the output_type "latent",
        which a panorama does not have, return their latents alone."""
        options: dict[str, Any] = {"generator": generators, "output_type": output_type, **sampling_options(self)}
        if not self.panorama:
            return pipeline(labels, self.latent_size, list(sizes), joint=self.joint, **options)
        result = pipeline.panorama(labels, sizes[0], self.latent_size, **options)
        return R2PipelineOutput(images=[result.images], latents=result.latents)


def generate(
    pipeline: R2Pipeline, pictures: Pictures, how: Generation, batch_size: int, resume: bool, progress: Progress
) -> int:
    """Generate this process's share of the pictures; returns the number generated.

    Args:
        pipeline: the pipeline.
        pictures: labels, sizes and files of the pictures.
        how: settings of the generation.
        batch_size: pictures generated at once.
        resume: keep existing pictures, if they have the same settings.
        progress: display of the progress.
    Raises:
        InputError: if files in the folder, or of another process writing there, have other settings.
    """
    how = replace(how, precision=usable_precision(how.precision, pipeline.device))
    settings = asdict(how) | {"labels": pictures.labels, "size": pictures.sizes, "model": pipeline.checksum()}
    record = Record(pictures.folder / "sample.json", settings, {"joint": False, "panorama": False})
    mine = Share.of_this_process().of(len(pictures.labels))
    with record.together(), autocast(how.precision, pipeline.device):
        wanted = pictures.missing(mine) if resume else mine
        with progress(len(mine), "generating", len(mine) - len(wanted)) as advance:
            for batch in batches(wanted, batch_size):
                labels = [pictures.labels[index] for index in batch]
                generators = [torch.Generator().manual_seed(how.seed + index) for index in batch]
                result = how.call(pipeline, labels, pictures.sizes, generators)
                record.write()
                if pictures.keeps_latents:
                    latents = Latents.of(pipeline, result.latents, labels, pictures.sizes[0])
                    for index, latent in zip(batch, latents.split(), strict=True):
                        latent.save(pictures.latent_file(index))
                for size, images in zip(pictures.sizes, result.images, strict=True):
                    for index, image in zip(batch, images, strict=True):
                        save_image(image, pictures.file(index, size))
                advance(len(batch))
    return len(wanted)
