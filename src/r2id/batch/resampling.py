"""Photographs and other pictures at any size, by a pyramid R2IR, with all that their files hold (design §3)."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from r2id.batch.picture_field import PictureField, field_of
from r2id.batch.record import Record
from r2id.errors import InputError
from r2id.files.atomic import check_writable
from r2id.files.checksums import file_checksum
from r2id.files.folders import visible_files
from r2id.files.images import ACCEPTED_IMAGES, IMAGE_SUFFIXES, as_levels, check_background, is_large, is_picture
from r2id.files.large_reader import LargePicture, is_read_in_regions
from r2id.files.large_writer import write_large
from r2id.files.pictures import (
    FILE_TYPES,
    Picture,
    as_image,
    check_side,
    file_type,
    format_for,
    picture_of,
    read_picture,
    save_picture,
)
from r2id.files.tiff import TIFF_SUFFIXES
from r2id.geometry.sizes import Region, Size, check_region, scaled, size_text, with_height, with_width
from r2id.geometry.tiles import count_tiles, tiles_by_block
from r2id.networks.resampler import R2IR
from r2id.runtime.memory import check_bytes_fit
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.processes import Share
from r2id.runtime.progress import Progress, unseen


@dataclass(frozen=True)
class Target:
    """The size that pictures are resampled to, given in one of four ways, and the region of them that is wanted.

    Attributes:
        scale: factor of both sides.
        size: (height, width).
        width, height: one side; the other keeps the proportions.
        region: (top, left, bottom, right) in pixels of the resampled picture.
    Raises:
        InputError: unless exactly one way is given, with a number above 0.
    """

    scale: float | None = None
    size: Size | None = None
    width: int | None = None
    height: int | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        ways = [name for name in ("scale", "size", "width", "height") if getattr(self, name) is not None]
        if len(ways) != 1:
            given = " and ".join(f"--{name}" for name in ways) or "none"
            raise InputError(f"{given} is given; give one of --scale, --size, --width and --height")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise InputError(f"scale is {self.scale}; it must be a number above 0, such as 2.5")
        for name in ("width", "height"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise InputError(f"{name} is {side}; it must be at least 1")

    def of(self, size: Size) -> Size:
        """Return the size of what a picture of `size` becomes."""
        if self.size:
            return self.size
        if self.width:
            return with_width(self.width, size)
        if self.height:
            return with_height(self.height, size)
        assert self.scale
        if self.scale * max(size) > 2**62:
            raise InputError(f"scale is {self.scale}; no file holds {self.scale * max(size):g} pixels along a side")
        return scaled(size, (self.scale, self.scale))

    def shown(self, size: Size) -> Region:
        """Return the region of that picture which is rendered. Raises InputError for one outside of it."""
        return check_region(self.region, self.of(size)) if self.region else (0, 0, *self.of(size))


def render(
    field: PictureField, target: Target, precision: str = "fp32", progress: Progress = unseen, title: str = "resampling"
) -> Picture:
    """Render a picture at another size, or a region of that, in memory.

    Args:
        field: the picture.
        target: size and region.
        precision: "fp32" or "bf16".
        progress, title: display of the progress.
    Raises:
        InputError: for a region outside of the picture, or more pixels than memory.
    """
    size, region, form = target.of(field.size), target.shown(field.size), field.form
    height, width = region[2] - region[0], region[3] - region[1]
    check_bytes_fit(height * width * form.channels * form.depth // 8, f"a picture of {height}x{width}")
    levels: numpy.ndarray = numpy.empty((height, width, form.channels), form.dtype)
    with (
        torch.inference_mode(),
        autocast(precision, field.device),
        progress(count_tiles(region), title) as advance,
    ):
        for top, left, bottom, right in tiles_by_block(region, field.blocks(size)):
            tile = as_levels(field.render(size, (top, left, bottom, right))[0], form.depth)
            levels[top - region[0] : bottom - region[0], left - region[1] : right - region[1]] = tile
            advance(1)
    return Picture(levels, form)


def resample_picture(network: R2IR, picture: Picture, target: Target) -> Picture:
    """Resample a picture in memory by a pyramid. Raises InputError as `render` does."""
    return render(field_of(network, picture), target)


def resample_file(
    network: R2IR,
    source: Path,
    output: Path,
    target: Target,
    precision: str = "fp32",
    background: int | None = None,
    progress: Progress = unseen,
) -> Size:
    """Resample a picture file to another; return the size of the output.

    A large TIFF is read region by region. A large TIFF or PNG is written tile by tile, and resumed by the same call.

    Args:
        network: a pyramid that takes RGB.
        source: a picture.
        output: its suffix names the type of file.
        target: size and region.
        precision: "fp32" or "bf16".
        background: grey level, 0 to 255, behind transparent pixels; without one they stay transparent.
        progress: display of the progress.
    Raises:
        InputError: for a file that cannot be read, one that cannot hold the picture, or what `Target` refuses.
    """
    file_type(output)
    check_writable(output)
    if background is not None:
        check_background(background)
    field = _open(network, source, background)
    size, region = target.of(field.size), target.shown(field.size)
    shown = region[2] - region[0], region[3] - region[1]
    check_side(output, shown)
    form = format_for(output, field.form)
    if is_large(shown) and output.suffix.lower() in (*TIFF_SUFFIXES, ".png"):
        identity = {
            "precision": usable_precision(precision, network.device),
            "background": background,
            "checksum of the model": network.checksum(),
            "checksum of the picture": file_checksum(source),
        }
        with autocast(precision, network.device):
            write_large(field, size, target.region, output, identity, progress, form)
    else:
        save_picture(render(field, target, precision, progress, source.name), output)
    return shown


def _open(network: R2IR, source: Path, background: int | None) -> PictureField:
    if is_read_in_regions(source):
        large = LargePicture(source)
        if background is None or not large.form.transparent:
            return PictureField(network, large.levels, large.size, large.form)
        opaque = replace(large.form, channels=large.form.channels - 1)
        return PictureField(
            network, lambda region: Picture(large.levels(region), large.form).on(background).levels, large.size, opaque
        )
    picture = read_picture(source)
    return field_of(network, picture if background is None else picture.on(background))


@dataclass(frozen=True)
class Job:
    """A picture file, and the file that it is resampled to."""

    source: Path
    output: Path


def jobs_for(inputs: Sequence[Path], output: Path | None, target: Target) -> tuple[list[Job], int]:
    """Return which file each picture is resampled to.

    Args:
        inputs: picture files, and folders of them, at any depth.
        output: a file for a single picture, a folder for any number, in which those of a folder keep their places. None
            names a single one after the size, beside the picture.
        target: size and region.
    Returns:
        the jobs, and how many files of the folders are left out, being no pictures.
    Raises:
        InputError: for missing inputs, none, several without a folder, or an output that is an input or is given twice.
    """
    missing = next((path for path in inputs if not path.exists()), None)
    if missing:
        raise InputError(f"{missing} is not a file or a folder; give pictures, or folders of them")
    if len(inputs) == 1 and not inputs[0].is_dir() and (output is None or _names_a_file(output, False)):
        job = Job(inputs[0], output or inputs[0].with_name(_name_after(inputs[0], target)))
        _check_apart([job])
        return [job], 0
    if output is None or _names_a_file(output, True):
        given = "no output" if output is None else f"output {output}, one file,"
        raise InputError(f"{given} is given for several pictures; give a folder by --output")
    jobs, left_out = [], 0
    for path in inputs:
        found = [path]
        if path.is_dir():
            every = [file for file in visible_files(path) if not file.is_relative_to(output)]
            found = [file for file in every if is_picture(file)]
            left_out += len(every) - len(found)
        for file in found:
            place = output / (file.relative_to(path) if path.is_dir() else file.name)
            jobs.append(Job(file, place.with_suffix(_suffix(file))))
    if not jobs:
        raise InputError(f"{', '.join(map(str, inputs))} holds no pictures; {ACCEPTED_IMAGES}")
    _check_apart(jobs)
    return jobs, left_out


def _names_a_file(output: Path, several: bool) -> bool:
    # A folder for several pictures may well be called v1.2.
    known = (*FILE_TYPES, *IMAGE_SUFFIXES)
    return not output.is_dir() and (output.suffix.lower() in known if several else output.suffix != "")


def _suffix(source: Path) -> str:
    return source.suffix if source.suffix.lower() in FILE_TYPES else ".png"


def _name_after(source: Path, target: Target) -> str:
    """photo.jpg by 2.5 → photo-2.5x.jpg."""
    ways = {
        "": target.size and size_text(target.size),
        "w": target.width,
        "h": target.height,
        "x": target.scale and f"{target.scale:g}",
    }
    how = next(f"{value}{unit}" for unit, value in ways.items() if value)
    part = "-" + ",".join(map(str, target.region)) if target.region else ""
    return f"{source.stem}-{how}{part}{_suffix(source)}"


def _check_apart(jobs: Sequence[Job]) -> None:
    """Raises InputError where an output is one of the pictures, or is given twice."""
    sources = {job.source.resolve() for job in jobs}
    outputs: dict[Path, Path] = {}
    for job in jobs:
        place = job.output.resolve()
        if place in sources:
            raise InputError(f"output {job.output} is a picture that is given; give another --output")
        if place in outputs:
            raise InputError(f"{outputs[place]} and {job.source} would both be {job.output}; rename one of them")
        outputs[place] = job.source


def resample_files(
    jobs: Sequence[Job],
    resample: Callable[[Job], object],
    folder: Path,
    settings: dict[str, Any],
    resume: bool,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Do this process's share of many jobs, and go on after those that fail.

    Args:
        jobs: what is resampled.
        resample: does one.
        folder: that the outputs are in; it keeps a record of the settings.
        settings: what the outputs depend on beside the pictures, in what JSON has.
        resume: keep outputs that are there and no older than their pictures.
        progress: shows how many are done.
    Returns:
        how many were made, and a sentence for each that failed.
    Raises:
        InputError: where the folder holds what was made with other settings, or files of these names that were not made
            so.
        OSError: where the disk is full.
    """
    record = Record(folder / "resample.json", settings)
    mine = [jobs[number] for number in Share.of_this_process().of(len(jobs))]
    made, failures = 0, []
    with record.together():
        foreign = next((job.output for job in jobs if job.output.exists()), None)
        if foreign and not record.path.exists():
            raise InputError(f"{foreign} is there and {folder} has no record of how it was made; give another output")
        wanted = [job for job in mine if not (resume and _is_done(job))]
        with progress(len(mine), "resampling", len(mine) - len(wanted)) as advance:
            for job in wanted:
                try:
                    record.write()
                    resample(job)
                    made += 1
                except (InputError, MemoryError) as error:
                    failures.append(str(error) or f"{job.source} needs more memory than is free")
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    failures.append(f"{error.filename or job.output} cannot be written: {error.strerror or error}")
                advance(1)
    return made, failures


def _is_done(job: Job) -> bool:
    return job.output.exists() and job.output.stat().st_mtime >= job.source.stat().st_mtime


@cache
def _bundled() -> R2IR:
    return R2IR.from_pretrained("pictures").eval()


def upscale(image: Image.Image, scale: float) -> Image.Image:
    """Resample a Pillow image to `scale` times its height and width, by the bundled R2IR `pictures`.

    The result is upright, in mode L, LA, RGB, RGBA or I;16, with the ICC profile and the EXIF data of the image.

    Raises InputError for a scale that is not a number above 0, and for what is no Pillow image. It refuses animations,
    pixels of 32 bits and CMYK without a profile too.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"image is of type {type(image).__name__}; it must be a Pillow image, as of PIL.Image.open")
    if not isinstance(scale, (int, float)):
        raise InputError(f"scale is {scale!r}; it must be a number above 0")
    target = Target(scale=scale)
    return as_image(resample_picture(_bundled(), picture_of(image, "the image"), target))
