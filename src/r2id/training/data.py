"""Image data sets for training: MNIST-style IDX files, folders of images, and Hugging Face data sets.

Everything is held in memory as 8-bit pixels: 60,000 digits are 61 MB at 32x32, and a training step then costs
nothing but an index and a division. Images of several sizes are several data sets, one for each size.
"""

import csv
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from r2id.errors import InputError
from r2id.images import (
    ACCEPTED_IMAGES,
    IMAGE_SUFFIXES,
    as_values,
    check_background,
    check_channels,
    flatten,
    in_channels,
    open_picture,
    pixels,
    reason,
    unreadable,
)
from r2id.sizes import Size, alike_size, size_text

SPLIT_FOLDERS = frozenset({"train", "test", "validation", "valid", "val", "dev"})
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
CAPTION_COLUMNS = ("text", "caption")
CAPTION_SUFFIX = ".txt"
LABEL_COLUMN = "label"
LARGEST_LABEL = 65535

IDX_PREFIXES = {"train": "train", "test": "t10k"}
IDX_IMAGES_MAGIC = 0x00000803
IDX_LABELS_MAGIC = 0x00000801

HUB_IDENTIFIER = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
ACCEPTED_SOURCES = "accepted is a folder of images or of MNIST-style IDX files, or the id of a data set on the hub"


@dataclass(frozen=True)
class ImageDataset:
    """Images of one size, held in memory, with their labels or captions where the data has them.

    Attributes:
        images: uint8 [N, C, H, W]; C is 1 (grey) or 3 (RGB).
        labels: int64 [N], each an index into `label_names`; None without labels.
        label_names: the name of every label, "0" to the largest for labels that are integers; empty without
            labels.
        captions: one text per image; None without captions.
        source: what was loaded, in words, for model cards.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    source: str

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: torch.Tensor | Sequence[int] | slice) -> torch.Tensor:
        """The images at `indices` as float32 [B, C, H, W] in [-1, 1]."""
        return as_values(self.images[indices])

    def some(self, count: int) -> "ImageDataset":
        """`count` images, always the same, drawn at random; or all if there are no more.

        The first would not do: MNIST's first 5,000 test digits are by other people than the last, and neater.
        """
        if count >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:count]
        labels = None if self.labels is None else self.labels[drawn]
        captions = None if self.captions is None else tuple(self.captions[index] for index in drawn.tolist())
        return replace(self, images=self.images[drawn], labels=labels, captions=captions)


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


@dataclass(frozen=True)
class _Content:
    """What a source holds. The pictures are read only as they are taken."""

    pictures: Iterator[Image.Image]
    description: str
    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None


def _find_content(source: str | Path, split: str, background: int, caption_column: str | None) -> _Content:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if any(_idx_file(folder, name, "images") for name in IDX_PREFIXES):
            return _idx_content(folder, split)
        return _folder_content(folder, split, background, caption_column)
    if folder.exists():
        raise InputError(f"{source} is a file; {ACCEPTED_SOURCES}.")
    if isinstance(source, str) and HUB_IDENTIFIER.fullmatch(source):
        return _hub_content(source, split, background, caption_column)
    raise InputError(f"{source} does not exist; {ACCEPTED_SOURCES}.")


def _idx_content(folder: Path, split: str) -> _Content:
    available = [name for name in IDX_PREFIXES if _idx_file(folder, name, "images")]
    images_file = _idx_file(folder, split, "images")
    if images_file is None:
        raise _missing_split(folder, split, available)
    images = _read_idx(images_file, IDX_IMAGES_MAGIC, dimensions=3)
    if not images.size:
        raise InputError(f"{images_file} has the size {_by(images.shape)}; accepted is at least one pixel.")

    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    labels_file = _idx_file(folder, split, "labels")
    if labels_file is not None:
        values = _read_idx(labels_file, IDX_LABELS_MAGIC, dimensions=1)
        if len(values) != len(images):
            raise InputError(
                f"{labels_file} holds {len(values)} labels and {images_file.name} holds {len(images)} "
                "images; accepted is one label per image."
            )
        labels, label_names = _index_values(values.tolist(), labels_file)
    return _Content(
        pictures=map(Image.fromarray, images),
        description=f"MNIST-style IDX files {folder.resolve().name}",
        labels=labels,
        label_names=label_names,
    )


def _idx_file(folder: Path, split: str, kind: str) -> Path | None:
    if split not in IDX_PREFIXES:
        return None
    rank = {"images": 3, "labels": 1}[kind]
    names = [f"{IDX_PREFIXES[split]}-{kind}{separator}idx{rank}-ubyte" for separator in "-."]
    files = [folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz")]
    return next((file for file in files if file.is_file()), None)


def _read_idx(file: Path, magic: int, dimensions: int) -> numpy.ndarray:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} cannot be read ({error}); accepted is a whole IDX file, gzipped or not.") from error
    header = 4 + 4 * dimensions
    found = int.from_bytes(content[:4], "big")
    if len(content) >= 4 and found != magic:
        raise InputError(f"{file} starts with the number 0x{found:08x}; accepted is 0x{magic:08x} for this IDX file.")
    if len(content) < header:
        raise InputError(
            f"{file} holds {len(content)} bytes; accepted is an IDX file, whose header alone has {header}."
        )
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    values = numpy.frombuffer(content, dtype=numpy.uint8, offset=header)
    if len(values) != math.prod(shape):
        raise InputError(
            f"{file} holds {len(values)} values; its header promises {_by(shape)}, and accepted are exactly these."
        )
    return values.reshape(shape)


def _folder_content(root: Path, split: str, background: int, caption_column: str | None) -> _Content:
    subfolders = {
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and any(_image_files(folder))
    }
    if not subfolders and not any(_image_files(root)):
        raise InputError(f"{root} holds no images; {ACCEPTED_IMAGES}, or MNIST-style IDX files.")
    split_names = subfolders & SPLIT_FOLDERS
    # A label may well be called "train", the vehicle; but not with "test" beside it, nor as the only one.
    has_splits = len(split_names) >= 2 or (split_names == subfolders and not _is_flat(root))
    available = sorted(subfolders) if has_splits else ["train"]
    if split not in available:
        raise _missing_split(root, split, available)

    folder = root / split if has_splits else root
    metadata = next(
        (place / name for place in (folder, root) for name in METADATA_FILES if (place / name).is_file()),
        None,
    )
    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None
    if metadata is not None:
        files, rows = _read_metadata(metadata, folder)
        columns = [caption_column] if caption_column else CAPTION_COLUMNS
        caption_values = next(filter(None, (_column(metadata, rows, name) for name in columns)), None)
        if caption_column and caption_values is None:
            raise InputError(f"{metadata} has no column {caption_column!r}; accepted is a column of captions.")
        captions = None if caption_values is None else tuple(map(str, caption_values))
        label_values = _column(metadata, rows, LABEL_COLUMN)
        if label_values is not None:
            labels, label_names = _index_values(label_values, metadata)
    else:
        files = sorted(_image_files(folder))
        nested = [file.relative_to(folder).parts for file in files if file.parent != folder]
        if nested and len(nested) < len(files):
            loose = next(file for file in files if file.parent == folder)
            raise InputError(
                f"{loose} lies beside subfolders of images; accepted are images in one flat folder, or all "
                "of them in subfolders that name their labels."
            )
        if nested:
            labels, label_names = _index_names([parts[0] for parts in nested])
        captions = _caption_files(files)
    return _Content(
        pictures=(open_picture(file, background) for file in files),
        description=f"image folder {root.resolve().name}",
        labels=labels,
        label_names=label_names,
        captions=captions,
    )


def _image_files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in IMAGE_SUFFIXES and not hidden and file.is_file():
            yield file


def _caption_files(images: Sequence[Path]) -> tuple[str, ...] | None:
    """Texts beside the images; None where no image has one."""
    texts = [image.with_suffix(CAPTION_SUFFIX) for image in images]
    missing = [text for text in texts if not text.is_file()]
    if len(missing) == len(texts):
        return None
    if missing:
        raise InputError(f"{missing[0]} does not exist; accepted is a caption for every image, or for none.")
    try:
        return tuple(" ".join(text.read_text(encoding="utf-8-sig").split()) for text in texts)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a caption cannot be read ({error}); accepted is text in UTF-8.") from error


def _is_flat(folder: Path) -> bool:
    return any(file.parent == folder for file in _image_files(folder))


def _read_metadata(metadata: Path, folder: Path) -> tuple[list[Path], list[Mapping[str, Any]]]:
    """The rows about files in `folder`, and these files; a metadata file above the splits covers them all."""
    files: list[Path] = []
    rows: list[Mapping[str, Any]] = []
    for line, row in _metadata_rows(metadata):
        name = row.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{metadata}, line {line}, has the file_name {name!r}; accepted is an image's relative path."
            )
        file = metadata.parent / name
        if not file.is_relative_to(folder):
            continue
        if not file.is_file():
            raise InputError(
                f"{metadata}, line {line}, names {name}, which does not exist; accepted are existing files."
            )
        files.append(file)
        rows.append(row)
    if not files:
        raise InputError(f"{metadata} names no images in {folder}; accepted is at least one row with a file_name.")
    return files, rows


def _metadata_rows(metadata: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as stream:
            if metadata.suffix == ".csv":
                table = csv.DictReader(stream, strict=True)
                for row in table:
                    yield table.line_num, row
                return
            for line, text in enumerate(stream, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise InputError(
                        f"{metadata}, line {line}, is {text.strip()[:40]}; accepted is a JSON object per line."
                    )
                yield line, row
    except json.JSONDecodeError as error:
        raise InputError(
            f"{metadata}, line {line}, is not JSON ({error}); accepted is a JSON object per line."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{metadata} cannot be read ({error}); accepted is a JSON lines or CSV file in UTF-8."
        ) from error


def _column(metadata: Path, rows: Sequence[Mapping[str, Any]], name: str) -> list[Any] | None:
    values = [row.get(name) for row in rows]
    empty = [value is None or value == "" for value in values]
    if all(empty):
        return None
    if any(empty):
        file_name = rows[empty.index(True)]["file_name"]
        raise InputError(
            f"{metadata} has no {name} for {file_name}; accepted is a {name} for every image, or for none."
        )
    return values


def _hub_content(identifier: str, split: str, background: int, caption_column: str | None) -> _Content:
    # Importing datasets takes seconds, which local data need not pay.
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise InputError(
            f"{identifier!r} is no local folder; to take it from the Hugging Face hub, pip install 'r2id[train]'"
        ) from error

    try:
        dataset = datasets.load_dataset(identifier, split=split)
    except Exception as error:
        # The hub's client raises a dozen unrelated types; all are about what was asked for or how it was
        # reached.
        raise InputError(
            f"{identifier!r} is no local folder and its split {split!r} could not be loaded from the Hugging "
            f"Face hub ({reason(error)}); {ACCEPTED_SOURCES}."
        ) from error
    name = f"the hub data set {identifier!r}"
    if not len(dataset):
        raise InputError(f"The split {split!r} of {name} is empty; accepted is at least one image.")
    features = dataset.features
    image_column = next((column for column, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if image_column is None:
        raise InputError(
            f"There is no image column in {name}, only {', '.join(features)}; accepted is a data set of images."
        )

    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    class_column = next((column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    label_kind = features.get(LABEL_COLUMN)
    plain_labels = isinstance(label_kind, datasets.Value) and re.search("int|string", label_kind.dtype)
    label_column = class_column or (LABEL_COLUMN if plain_labels else None)
    if label_column is not None:
        values = list(dataset[label_column])
        # The hub marks labels that were never published as -1 throughout: a data set without labels.
        missing = [value is None or value == -1 for value in values]
        if any(missing) and not all(missing):
            raise InputError(
                f"Row {missing.index(True)} of {name} has no {label_column}; "
                "accepted is one for every image, or for none."
            )
        if not any(missing):
            labels, label_names = _index_values(values, f"Column {label_column} of {name}")
            if class_column is not None:
                label_names = tuple(features[class_column].names)

    captions: tuple[str, ...] | None = None
    text_columns = [
        column
        for column, kind in features.items()
        if isinstance(kind, datasets.Value) and "string" in kind.dtype and column != label_column
    ]
    if caption_column and caption_column not in text_columns:
        raise InputError(
            f"There is no column of strings {caption_column!r} in {name}, only {', '.join(features)}; "
            "accepted is a column of captions."
        )
    preferred = [caption_column] if caption_column else [name for name in CAPTION_COLUMNS if name in text_columns]
    if preferred or len(text_columns) == 1:
        caption_column = (preferred or text_columns)[0]
        captions = tuple(dataset[caption_column])
        if None in captions:
            raise InputError(
                f"Row {captions.index(None)} of {name} has no {caption_column}; accepted is one for every image."
            )
    return _Content(
        pictures=_hub_pictures(dataset.select_columns([image_column]), image_column, name, background),
        description=f"Hugging Face data set {identifier}",
        labels=labels,
        label_names=label_names,
        captions=captions,
    )


def _hub_pictures(dataset: Any, column: str, name: str, background: int) -> Iterator[Image.Image]:
    for index in range(len(dataset)):
        row = f"row {index} of {name}"
        try:
            picture = dataset[index][column]
        except Exception as error:
            raise unreadable(row, error) from error
        if picture is None:
            raise InputError(f"There is no image in {row}; accepted is an image in every row.")
        yield flatten(picture, background, row)


def _index_values(values: Sequence[Any], origin: object) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Labels from a file: whole numbers are indices already, anything else is a name."""
    texts = [str(value) for value in values]
    if not all(re.fullmatch(r"-?(0|[1-9]\d*)", text) for text in texts):
        return _index_names(texts)
    numbers = [int(text) for text in texts]
    for number in (min(numbers), max(numbers)):
        if not 0 <= number <= LARGEST_LABEL:
            raise InputError(f"{origin} has the label {number}; accepted are 0 to {LARGEST_LABEL}, or names.")
    return torch.tensor(numbers, dtype=torch.int64), tuple(map(str, range(max(numbers) + 1)))


def _index_names(names: Sequence[str]) -> tuple[torch.Tensor, tuple[str, ...]]:
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        # "10" comes after "9".
        distinct.sort(key=int)
    index = {name: position for position, name in enumerate(distinct)}
    return torch.tensor([index[name] for name in names], dtype=torch.int64), tuple(distinct)


def _missing_split(folder: Path, split: str, available: Sequence[str]) -> InputError:
    return InputError(f"{folder} has no split {split!r}; accepted: {', '.join(map(repr, available))}.")


def _by(lengths: Iterable[int]) -> str:
    return "x".join(map(str, lengths))
