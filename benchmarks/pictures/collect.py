"""Gather what the pyramid is trained on into one folder that travels: photographs as JPEG, drawings as SVG bodies.

    python benchmarks/pictures/collect.py --output out/pictures --photographs BSDS500/train --photographs WALLPAPERS \
        --drawings iconify-json-noto.tgz

Never give it what `measure.py` measures on: Set5, and BSDS500's val.
"""

from __future__ import annotations

import argparse
import json
import random
import tarfile
import zlib
from pathlib import Path

from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHORTEST, LONGEST = 320, 1100
"""Pixels: smaller photographs are left out, and larger ones made smaller, which also rids them of noise."""
VARIANTS = ("skin-tone", "-light", "-dark", "-medium")


def copy_photograph(path: Path, target: Path) -> bool:
    """Whether the photograph is large enough to be of use."""
    with Image.open(path) as picture:
        if min(picture.size) < SHORTEST:
            return False
        if max(picture.size) <= LONGEST and picture.format == "JPEG":
            target.write_bytes(path.read_bytes())
            return True
        picture = picture.convert("RGB")
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        picture.save(target, quality=93, subsampling=0)
    return True


def drawings_of(package: Path, most: int) -> dict[str, tuple[float, float, str]]:
    """Width, height and SVG body of drawings in an npm package of Iconify, skin tones left out."""
    with tarfile.open(package) as archive:
        icons = json.load(archive.extractfile("package/icons.json"))  # type: ignore[arg-type]
    names = sorted(name for name in icons["icons"] if not any(variant in name for variant in VARIANTS))
    random.Random(1).shuffle(names)
    width, height = icons.get("width", 16), icons.get("height", 16)
    chosen = {name: icons["icons"][name] for name in names[:most]}
    return {
        f"{icons['prefix']}:{name}": (one.get("width", width), one.get("height", height), one["body"])
        for name, one in chosen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, action="append", default=[], help="a folder; may be repeated")
    parser.add_argument("--drawings", type=Path, action="append", default=[], help="a package; may be repeated")
    parser.add_argument("--most-drawings", type=int, default=300, help="of each package")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    count = 0
    for folder in options.photographs:
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
            count += copy_photograph(path, options.output / f"{count:05d}-{path.stem}.jpg")
    drawings: dict[str, tuple[float, float, str]] = {}
    for package in options.drawings:
        drawings |= drawings_of(package, options.most_drawings)
    (options.output / "drawings.json.z").write_bytes(zlib.compress(json.dumps(drawings).encode(), 9))
    size = sum(path.stat().st_size for path in options.output.iterdir())
    print(f"{count} photographs and {len(drawings)} drawings, {size / 2**20:.1f} MiB, in {options.output}")


if __name__ == "__main__":
    main()
