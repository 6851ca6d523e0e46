"""Image data sets for training: MNIST-style IDX files, folders of images, and Hugging Face data sets.

Everything is held in memory as 8-bit pixels: 60,000 digits are 61 MB at 32x32, and a training step then costs
nothing but an index and a division. Images of several sizes are several data sets, one for each size.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy
import torch
from PIL import Image

from r2id.data.content import ACCEPTED_SOURCES, Content
from r2id.data.dataset import ImageDataset
from r2id.data.folder import folder_content
from r2id.data.hub import hub_content
from r2id.data.idx import IDX_PREFIXES, idx_content, idx_file
from r2id.errors import InputError
from r2id.files.images import check_background, check_channels, in_channels, pixels
from r2id.geometry.sizes import Size, alike_size, size_text

HUB_IDENTIFIER = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_images(
    source: str | Path,
    split: str = "train",
    *,
    image_size: Size | None = None,
    channels: int | None = None,
    background: int = 0,
    limit: int | None = None,
) -> ImageDataset:
    """Load a data set of images of one size into memory.

    The arguments are those of `load_sizes`, and so are the errors. With `image_size` None, the images' own size must be
    the same for all.
    """
    datasets = load_sizes(source, split, image_size=image_size, channels=channels, background=background, limit=limit)
    if len(datasets) > 1:
        one, other = (size_text((data.images.shape[-2], data.images.shape[-1])) for data in datasets[:2])
        raise InputError(
            f"{datasets[0].source}, such as {one} and {other} (height x width); "
            "accepted are images of one size, or an image size (--image-size HxW), which resizes them all."
        )
    return datasets[0]


def load_sizes(
    source: str | Path,
    split: str = "train",
    *,
    image_size: Size | None = None,
    keep_proportions: bool = False,
    channels: int | None = None,
    background: int = 0,
    limit: int | None = None,
    caption_column: str | None = None,
) -> list[ImageDataset]:
    """Load images into memory, a data set for each size that they have, that of the most images first.

    Args:
        source: one of

            - a folder with MNIST-style IDX files, gzipped or not: `train-images-idx3-ubyte.gz` and
              `train-labels-idx1-ubyte.gz`, and `t10k-...` for the split "test". Without a labels file the
              images have no labels.
            - a folder of images (png, jpg, jpeg, webp, bmp, gif, tif, tiff), flat or with one subfolder per
              label, and either of these also inside one subfolder per split (`train`, `test`, ...). A folder
              without such subfolders is the split "train". A `metadata.jsonl` or `metadata.csv` beside the
              images decides which are loaded: each row has a `file_name` relative to it, and may have a
              caption and a `label`. Without metadata, captions are texts beside the images: `name.txt` for
              `name.png`.
            - the id of a data set on the Hugging Face hub, when no local path has that name. The images are
              its first image column, the labels its first class label column (or the integers in `label`).
        split: the part to load; "train" by default.
        image_size: (height, width) that every image is resized to, bicubic on 8-bit pixels, stretched where
            its shape differs. None, the default, keeps the images' own sizes.
        keep_proportions: resize every image to about as many pixels as `image_size` has, in its own proportions. Sides
            are rounded, so that images of like proportions have one size (`alike_size`).
        channels: 1 for grey, 3 for RGB. None, the default, gives grey if every image is stored as grey, else
            RGB.
        background: the grey level, 0 (black, the default) to 255, that transparent pixels are composited on.
        limit: how many images to load at most; None, the default, loads all. The first ones are taken, in the
            order of the IDX file, the metadata or the hub, and without these in the sorted order of the
            files' paths.
        caption_column: column of the captions, in metadata or on the hub. None, the default, is `text` or
            `caption`, or on the hub the only column of strings.

    Raises:
        InputError: an argument is not among what is accepted, nothing is there to load, or a file is broken.
    """
    check_channels(channels)
    check_background(background)
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise InputError(f"image_size is {image_size}; accepted is (height, width), each at least 1.")
    if keep_proportions and image_size is None:
        raise InputError("keep_proportions is on and image_size is None; accepted is a size, of about as many pixels.")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; accepted is at least 1, or None for all images.")

    content = _find_content(source, split, background, caption_column)

    def fitted(picture: Image.Image) -> Image.Image:
        if image_size is None:
            return picture
        height, width = alike_size(picture.size[::-1], image_size) if keep_proportions else image_size
        return picture.resize((width, height), Image.Resampling.BICUBIC)

    by_size: dict[Size, list[tuple[int, Image.Image]]] = {}
    for index, original in enumerate(islice(content.pictures, limit)):
        picture = fitted(in_channels(original, channels))
        by_size.setdefault(picture.size[::-1], []).append((index, picture))
    count = sum(map(len, by_size.values()))
    # Only now is it known whether any of them has colour.
    common = 1 if all(picture.mode == "L" for some in by_size.values() for _, picture in some) else 3
    sizes = f" of {len(by_size)} sizes" if len(by_size) > 1 else ""

    def of(some: list[tuple[int, Image.Image]]) -> ImageDataset:
        indices = [index for index, _ in some]
        return ImageDataset(
            images=torch.from_numpy(numpy.stack([pixels(in_channels(picture, common)) for _, picture in some])),
            labels=None if content.labels is None else content.labels[indices],
            label_names=content.label_names,
            captions=None if content.captions is None else tuple(content.captions[index] for index in indices),
            source=f"{content.description}, split {split}, {count} images{sizes}",
        )

    return [of(some) for some in sorted(by_size.values(), key=len, reverse=True)]


def _find_content(source: str | Path, split: str, background: int, caption_column: str | None) -> Content:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if any(idx_file(folder, name, "images") for name in IDX_PREFIXES):
            return idx_content(folder, split)
        return folder_content(folder, split, background, caption_column)
    if folder.exists():
        raise InputError(f"{source} is a file; {ACCEPTED_SOURCES}.")
    if isinstance(source, str) and HUB_IDENTIFIER.fullmatch(source):
        return hub_content(source, split, background, caption_column)
    raise InputError(f"{source} does not exist; {ACCEPTED_SOURCES}.")
