"""How clean the strokes of digits are to the eye, rated blind: generated ones of several grids among real ones.

    r2id sample --labels 0-9 --per-label 10 --latent-size 4x4 --size 32x32 --seed 5000 --output out/strokes/4x4
    r2id sample --labels 0-9 --per-label 10 --latent-size 8x8 --size 32x32 --seed 5000 --output out/strokes/8x8
    python benchmarks/quality/strokes.py sheets out/strokes/4x4 out/strokes/8x8 --data MNIST

adds ten test digits of each label, shuffles them all, and writes out/strokes/sheets, pictures of 30 digits each with a
number and the label asked for, and out/strokes/key.json, which says where each comes from. Whoever rates sees the
sheets alone and gives every number 0, clean; 1, a mild flaw: a notch, a grey part, a half-filled loop; or 2, faulty: a
break, a piece or a stroke that does not belong, a knot, a blot, or hard to read; as JSON, {"0": 1, "1": 0, …}. Then

    python benchmarks/quality/strokes.py count out/strokes/key.json FIRST.json SECOND.json

counts them by where they come from. Key and ratings of the bundled weights are in benchmarks/quality/results/strokes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from r2id.batch.pictures import Pictures
from r2id.data.loading import load_images
from r2id.errors import InputError
from r2id.files.atomic import make_folder, write_whole
from r2id.files.images import as_output, save_image
from r2id.files.markdown import markdown_table
from r2id.geometry.sizes import Size, size_text

SEED = 7
"""Of the order, and of which test digits are shown."""
REAL = "real"
PER_LABEL = 10
SIDE = 128
"""Of a digit on a sheet, in pixels."""
MARGIN = 12
LINE = 16
"""Height of the text above a digit."""
COLUMNS, ROWS = 6, 5
RATINGS = {0: "clean", 1: "mild flaw", 2: "faulty"}

Digit = tuple[str, str, str, Image.Image]
"""Where it comes from, its name there, its label, and its picture."""


def generated(folder: Path, kind: str, labels: Sequence[str], sizes: Sequence[Size]) -> list[Digit]:
    """Digits that `r2id sample --output` wrote to a folder, at the one size that it was asked for.

    Raises InputError unless it was one, and OSError for a digit that is missing.
    """
    if len(sizes) != 1:
        raise InputError(f"{folder} has digits of {len(sizes)} sizes; strokes are compared at one")
    pictures = Pictures(folder, labels, sizes)
    files = [pictures.file(index, sizes[0]) for index in range(len(labels))]
    return [(kind, file.stem, label, Image.open(file)) for file, label in zip(files, labels, strict=True)]


def real(data: str, choice: random.Random) -> list[Digit]:
    """Some test digits of each label.

    Raises InputError where there are fewer.
    """
    test = load_images(data, "test", image_size=(32, 32))
    labels = [] if test.labels is None else test.labels.tolist()
    digits = []
    for label in range(10):
        numbers = [number for number, one in enumerate(labels) if one == label]
        if len(numbers) < PER_LABEL:
            raise InputError(f"{data} has {len(numbers)} test digits with the label {label}; {PER_LABEL} are needed")
        numbers = choice.sample(numbers, PER_LABEL)
        pictures = as_output(test.batch(numbers), "pil")
        digits += [(REAL, str(number), str(label), one) for number, one in zip(numbers, pictures, strict=True)]
    return digits


def place_of(number: int) -> tuple[int, int]:
    """Where a digit's picture begins on its sheet, as (x, y)."""
    row, column = divmod(number % (COLUMNS * ROWS), COLUMNS)
    return column * (SIDE + MARGIN) + MARGIN // 2, row * (SIDE + MARGIN + LINE) + MARGIN // 2 + LINE


def sheets(folders: Iterable[Path], data: str, output: Path) -> None:
    """Write all digits, shuffled, as numbered pictures to output/sheets, and where each comes from to output/key.json.

    Raises InputError for folders that `r2id sample` did not write, or of which two are of the same latents.
    """
    settings, digits, choice = {}, [], random.Random(SEED)
    for folder in folders:
        try:
            made_with = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{folder} has no sample.json; give a folder that r2id sample wrote") from error
        kind = size_text(made_with["latent_size"])
        if kind in settings:
            raise InputError(f"{folder} has {kind} latents, as another folder has; they would be counted as one")
        settings[kind] = made_with
        digits += generated(folder, kind, made_with["labels"], made_with["size"])
    digits += real(data, choice)
    choice.shuffle(digits)
    make_folder(output / "sheets")
    for first in range(0, len(digits), COLUMNS * ROWS):
        sheet = Image.new("L", (COLUMNS * (SIDE + MARGIN), ROWS * (SIDE + MARGIN + LINE)), 90)
        draw = ImageDraw.Draw(sheet)
        for number, (_, _, label, picture) in enumerate(digits[first : first + COLUMNS * ROWS], first):
            x, y = place_of(number)
            draw.text((x, y - LINE), f"#{number}  a {label}", fill=255)
            sheet.paste(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, y))
        save_image(sheet, output / "sheets" / f"{first // (COLUMNS * ROWS)}.png")
    key = {"made with": settings, "digits": [(kind, name) for kind, name, _, _ in digits]}
    write_whole(output / "key.json", lambda path: path.write_text(json.dumps(key), encoding="utf-8"))


def count(kinds: Sequence[str], ratings: Any) -> dict[str, Counter[int]]:
    """How many digits of each kind were given each rating.

    Raises InputError unless every digit has one.
    """
    if not isinstance(ratings, dict) or set(ratings) != {str(number) for number in range(len(kinds))}:
        raise InputError(f"ratings must be JSON with every number from 0 to {len(kinds) - 1}, and no other")
    for number, rating in ratings.items():
        if type(rating) is not int or rating not in RATINGS:
            raise InputError(f"{number} is rated {rating!r}; choose from {', '.join(map(str, RATINGS))}")
    counted = {kind: Counter[int]() for kind in sorted(set(kinds))}
    for number, kind in enumerate(kinds):
        counted[kind][ratings[str(number)]] += 1
    return counted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("sheets", help="write pictures to rate")
    making.add_argument("folders", type=Path, nargs="+", help="folders that r2id sample wrote")
    making.add_argument("--data", default="ylecun/mnist", help="MNIST: a folder of its IDX files, or a hub id")
    making.add_argument("--output", type=Path, default=Path("out/strokes"))
    counting = commands.add_parser("count", help="count ratings")
    counting.add_argument("key", type=Path)
    counting.add_argument("ratings", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "sheets":
        sheets(options.folders, options.data, options.output)
        return
    kinds = [kind for kind, _ in json.loads(options.key.read_text(encoding="utf-8"))["digits"]]
    rows = []
    for path in options.ratings:
        try:
            counted = count(kinds, json.loads(path.read_text(encoding="utf-8")))
        except (InputError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: {error}") from error
        rows += [[path.stem, kind, *(str(one[rating]) for rating in RATINGS)] for kind, one in counted.items()]
    print("\n".join(markdown_table(["ratings", "digits", *RATINGS.values()], rows)))


if __name__ == "__main__":
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
