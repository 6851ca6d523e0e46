"""How clean the strokes of digits are to the eye, rated blind: generated ones of several kinds among real ones.

    r2id sample --labels 0-9 --per-label 10 --latent-size 4x4 --size 32x32 --seed 5000 --output out/strokes/4x4
    r2id sample --labels 0-9 --per-label 10 --latent-size 8x8 --size 32x32 --seed 5000 --output out/strokes/8x8
    python benchmarks/quality/strokes.py sheets out/strokes/4x4/32x32 out/strokes/8x8/32x32 --data MNIST

adds ten test digits of each label, shuffles them all, and writes out/strokes/sheets: pictures of 30 digits each, with
a number and the label asked for, and key.json, which says where each comes from. Whoever rates sees the sheets alone
and gives every number 0, clean; 1, a mild flaw: a notch, a grey part, a half-filled loop; or 2, faulty: a break, a
piece or a stroke that does not belong, a knot, a blot, or hard to read; as JSON, {"0": 1, "1": 0, …}. Then

    python benchmarks/quality/strokes.py count out/strokes/sheets/key.json FIRST.json SECOND.json

counts them by where they come from.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from r2id.errors import InputError
from r2id.evaluation.report import markdown_table
from r2id.files import make_folder, write_whole
from r2id.images import save_image
from r2id.pipeline import as_output
from r2id.training.data import load_images

SEED = 7
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


def generated(folder: Path) -> list[Digit]:
    """Digits that `r2id sample` wrote, named NUMBER-LABEL.png; the folder above names the kind.

    Raises InputError where there are none.
    """
    names = (re.fullmatch(r"(\d+)-(.+)\.png", path.name) for path in folder.iterdir())
    found = sorted((int(name[1]), name[2], name.string) for name in names if name)
    if not found:
        raise InputError(f"{folder} holds no pictures named NUMBER-LABEL.png, as r2id sample writes them")
    return [(folder.parent.name, Path(file).stem, label, Image.open(folder / file)) for _, label, file in found]


def real(data: str, choice: random.Random) -> list[Digit]:
    """Some test digits of each label."""
    test = load_images(data, "test", image_size=(32, 32))
    assert test.labels is not None
    digits = []
    for label in range(10):
        numbers = choice.sample([number for number, one in enumerate(test.labels.tolist()) if one == label], PER_LABEL)
        pictures = as_output(test.batch(numbers), "pil")
        digits += [(REAL, str(number), str(label), one) for number, one in zip(numbers, pictures, strict=True)]
    return digits


def sheets(folders: Iterable[Path], data: str, output: Path) -> None:
    """Write all digits, shuffled, as numbered pictures, and where each comes from."""
    choice = random.Random(SEED)
    digits = [digit for folder in folders for digit in generated(folder)] + real(data, choice)
    choice.shuffle(digits)
    make_folder(output)
    for first in range(0, len(digits), COLUMNS * ROWS):
        sheet = Image.new("L", (COLUMNS * (SIDE + MARGIN), ROWS * (SIDE + MARGIN + LINE)), 90)
        draw = ImageDraw.Draw(sheet)
        for place, (_, _, label, picture) in enumerate(digits[first : first + COLUMNS * ROWS]):
            row, column = divmod(place, COLUMNS)
            x, y = column * (SIDE + MARGIN) + MARGIN // 2, row * (SIDE + MARGIN + LINE) + MARGIN // 2
            draw.text((x, y), f"#{first + place}  a {label}", fill=255)
            sheet.paste(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, y + LINE))
        save_image(sheet, output / f"{first // (COLUMNS * ROWS)}.png")
    key = json.dumps([(kind, name) for kind, name, _, _ in digits])
    write_whole(output / "key.json", lambda path: path.write_text(key))


def count(kinds: Sequence[str], ratings: Any) -> dict[str, Counter[int]]:
    """How many digits of each kind were given each rating.

    Raises InputError unless every digit has one.
    """
    if not isinstance(ratings, dict) or set(ratings) != {str(number) for number in range(len(kinds))}:
        raise InputError(f"ratings must be JSON with every number from 0 to {len(kinds) - 1}, and no other")
    if wrong := set(ratings.values()) - set(RATINGS):
        raise InputError(f"{wrong.pop()!r} is no rating; accepted are {', '.join(map(str, RATINGS))}")
    counted = {kind: Counter[int]() for kind in sorted(set(kinds))}
    for number, kind in enumerate(kinds):
        counted[kind][ratings[str(number)]] += 1
    return counted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("sheets", help="write pictures to rate")
    making.add_argument("folders", type=Path, nargs="+", help="folders of pictures that r2id sample wrote")
    making.add_argument("--data", default="ylecun/mnist", help="MNIST: a folder of its IDX files, or a hub id")
    making.add_argument("--output", type=Path, default=Path("out/strokes/sheets"))
    counting = commands.add_parser("count", help="count ratings")
    counting.add_argument("key", type=Path)
    counting.add_argument("ratings", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "sheets":
        sheets(options.folders, options.data, options.output)
        return
    kinds = [kind for kind, _ in json.loads(options.key.read_text())]
    rows = [
        [path.stem, kind, *(str(counted[rating]) for rating in RATINGS)]
        for path in options.ratings
        for kind, counted in count(kinds, json.loads(path.read_text())).items()
    ]
    print("\n".join(markdown_table(["ratings", "digits", *RATINGS.values()], rows)))


if __name__ == "__main__":
    try:
        main()
    except (InputError, OSError, json.JSONDecodeError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
