"""Image data sets: MNIST-style IDX files, folders of images, and Hugging Face data sets.

Images are decoded once, to 8-bit pixels in a temporary file that is mapped into memory. A training step then costs
little, and data may be larger than memory. Images of several sizes give a data set for each size.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from r2id.data.content import ACCEPTED_SOURCES, Content
from r2id.data.dataset import ImageDataset, first_and_more, labels_and_captions, picked
from r2id.data.folder import folder_content
from r2id.data.hub import hub_content
from r2id.data.idx import IDX_PREFIXES, idx_content, idx_file
from r2id.data.pixels import store_pixels
from r2id.errors import InputError
from r2id.files.images import check_background, check_channels, in_channels
from r2id.geometry.sizes import Size, alike_size, size_text

HUB_IDENTIFIER = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
Item = TypeVar("Item")


def load_images(
    source: str | Path,
    split: str = "train",
    *,
    image_size: Size | None = None,
    channels: int | None = None,
    background: int = 0,
    limit: int | None = None,
    caption_column: str | None = None,
) -> ImageDataset:
    """Load a data set of images of one size.

    Arguments and errors are those of `load_sizes`. With `image_size` None, all images must have the same size.
    """
    datasets = load_sizes(
        source,
        split,
        image_size=image_size,
        channels=channels,
        background=background,
        limit=limit,
        caption_column=caption_column,
    )
    check_one_size(datasets)
    return datasets[0]


def check_one_size(datasets: Sequence[ImageDataset]) -> None:
    """Raise InputError for images of several sizes."""
    if len(datasets) > 1:
        one, other = (size_text((data.images.shape[-2], data.images.shape[-1])) for data in datasets[:2])
        raise InputError(
            f"{datasets[0].source}, such as {one} and {other} (height x width); "
            "give images of one size, or an image size (--image-size HxW), which resizes them all."
        )


def load_sizes(
    source: str | Path,
    split: str = "train",
    *,
    image_size: Size | None = None,
    keep_proportions: bool = False,
    multiple: int | None = None,
    pad_to: Size | None = None,
    channels: int | None = None,
    background: int = 0,
    limit: int | None = None,
    caption_column: str | None = None,
    num_workers: int = 0,
    pixels: Path | None = None,
) -> list[ImageDataset]:
    """Load images as a data set for each of their sizes, the largest data set first.

    Args:
        source: one of

            - a folder with MNIST-style IDX files, gzipped or not: `train-images-idx3-ubyte.gz` and
              `train-labels-idx1-ubyte.gz`, and `t10k-...` for the split "test". Without a labels file the
              images have no labels.
            - a folder of images in any of the `FORMATS`, whatever their suffix, flat or with one subfolder per
              label. Either may also lie inside one subfolder per split (`train`, `test`, ...). A folder without
              such subfolders is the split "train". A `metadata.jsonl` or `metadata.csv` beside the images
              decides which are loaded: each row has a `file_name` relative to it, and may have a caption and a
              `label`. Without metadata, captions are texts beside the images: `name.txt` or
              `name.caption` for `name.png`.
            - the id of a data set on the Hugging Face hub, when no local path has that name. The images are
              its first image column, the labels its first class label column (or the integers in `label`).
        split: the part to load; "train" by default.
        image_size: (height, width) to resize every image to, bicubic on 8-bit pixels; other proportions are stretched.
            None, the default, keeps the images' own sizes.
        keep_proportions: resize every image to about as many pixels as `image_size`, in its own proportions. Sides
            are rounded, so that images of similar proportions share a size (`alike_size`).
        multiple: number of pixels of which the sides are then multiples.
        pad_to: (height, width) of a canvas with every image in its middle and the background around it; None, the
            default, for the images alone.
        channels: 1 for grey, 3 for RGB. None, the default, gives grey if every image is stored as grey, else
            RGB.
        background: grey level, 0 (black, the default) to 255, behind transparent pixels.
        limit: most images to load; None, the default, loads all. The first ones are loaded, in the order of the IDX
            file, the metadata or the hub, or else of the sorted paths.
        caption_column: column of the captions, in metadata or on the hub. None, the default, is `text`,
            `caption` or `prompt`, or on the hub the only column of strings. A list holds several captions.
        num_workers: threads that decode images; 0, the default, uses only the caller's.
        pixels: a new file for the pixels, which other processes may map (`map_pixels`). The default is a temporary
            file in the folder of the environment variable TMPDIR.

    Raises:
        InputError: an argument is invalid, there is nothing to load, or a file is damaged.
    """
    check_channels(channels)
    check_background(background)
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise InputError(f"image_size is {image_size}; it must be (height, width), each at least 1.")
    if keep_proportions and image_size is None:
        raise InputError("keep_proportions is on and image_size is None; give a size, of about as many pixels.")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1, or None for all images.")

    if num_workers < 0:
        raise InputError(f"num_workers is {num_workers}; it must be at least 0.")

    if pad_to and (image_size is None or keep_proportions or pad_to[0] < image_size[0] or pad_to[1] < image_size[1]):
        raise InputError(f"pad_to is {pad_to} and image_size {image_size}; images of one size must fit in it.")

    content = find_content(source, split, background, caption_column)
    count = min(content.count, limit or content.count)
    stored_sizes: set[Size] = set()

    def fitted(index: int) -> Image.Image:
        picture = in_channels(content.picture(index), channels)
        size = (picture.height, picture.width)
        stored_sizes.add(size)
        if image_size is None:
            return picture
        height, width = alike_size(size, image_size, multiple) if keep_proportions else image_size
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return on_canvas(picture, pad_to, background) if pad_to else picture

    buckets = store_pixels(in_order(fitted, count, num_workers), pixels)
    sizes = f" of {len(buckets)} sizes" if len(buckets) > 1 else ""
    firsts, others = first_and_more(content.captions)
    source_text = f"{content.description}, split {split}, {count} images{sizes}"
    datasets = [
        ImageDataset(
            images=images,
            labels=None if content.labels is None else content.labels[numbers],
            label_names=content.label_names,
            captions=picked(firsts, numbers),
            source=source_text,
            more_captions=picked(others, numbers),
            names=picked(content.names, numbers),
        )
        for numbers, images in buckets
    ]
    found = _found(datasets, stored_sizes, content.left_out)
    return [replace(data, found=found) for data in datasets]


def on_canvas(picture: Image.Image, size: Size, background: int) -> Image.Image:
    """Return a picture in the middle of a canvas of `size` (height, width), with a grey level around it."""
    canvas = Image.new(picture.mode, (size[1], size[0]), (background,) * len(picture.getbands()))
    canvas.paste(picture, ((size[1] - picture.width) // 2, (size[0] - picture.height) // 2))
    return canvas


def _found(datasets: Sequence[ImageDataset], stored_sizes: Collection[Size], left_out: Sequence[str]) -> str:
    """Describe the loaded and the ignored contents in one line."""
    first = datasets[0]
    least, *_, most = sorted(stored_sizes, key=math.prod) * 2
    stored = size_text(least) if len(stored_sizes) == 1 else f"{size_text(least)} to {size_text(most)}"
    taken = [size_text((data.images.shape[-2], data.images.shape[-1])) for data in datasets]
    taken = [*taken[:4], *(["…"] if len(taken) > 4 else [])]
    parts = [
        f"{first.source}, {'grey' if first.images.shape[1] == 1 else 'RGB'}",
        f"stored at {stored}, taken at {', '.join(taken)}",
        labels_and_captions(first),
    ]
    return "; ".join(parts + [f"left out {one}" for one in left_out])


def in_order(make: Callable[[int], Item], count: int, num_workers: int) -> Iterator[Item]:
    """Yield `make` of all numbers below `count`, computed a little ahead by several threads."""
    if not num_workers:
        yield from map(make, range(count))
        return
    # Threads that set and reset warnings would restore each other's state.
    with warnings.catch_warnings(), ThreadPoolExecutor(num_workers) as pool:
        ahead: deque[Future[Item]] = deque()
        for index in range(count):
            ahead.append(pool.submit(make, index))
            if len(ahead) > 2 * num_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def find_content(source: str | Path, split: str, background: int, caption_column: str | None) -> Content:
    """Return what a source holds; arguments and errors are those of `load_sizes`."""
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
