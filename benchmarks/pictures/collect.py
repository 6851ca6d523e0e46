"""Pack photographs and drawings into one folder that travels to a GPU: small JPEGs, and packages of fewer drawings.

    python benchmarks/pictures/collect.py --output out/pictures --photographs BSDS500/train --photographs WALLPAPERS \
        --drawings iconify-json-noto.tgz

`r2id train resampler pictures` needs none of this: it takes folders and packages as they are. Never give it what
`measure.py` measures on: Set5, and BSDS500's val.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tarfile
from pathlib import Path

from PIL import Image

from r2id.data.drawings import distinct_names, read_icons
from r2id.errors import InputError
from r2id.files.images import IMAGE_SUFFIXES, open_picture

SHORTEST, LONGEST = 320, 1100
"""Pixels: smaller photographs are left out, and larger ones made smaller, which also rids them of noise."""


def copy_photograph(path: Path, target: Path) -> bool:
    """Write a photograph as a JPEG of at most LONGEST pixels; return whether it is of use."""
    try:
        picture = open_picture(path, 0)
    except InputError:
        return False
    if min(picture.size) < SHORTEST:
        return False
    if path.suffix.lower() in (".jpg", ".jpeg") and max(picture.size) <= LONGEST:
        target.write_bytes(path.read_bytes())
        return True
    picture = picture.convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    picture.save(target, quality=93, subsampling=0)
    return True


def copy_drawings(package: Path, target: Path, most: int) -> int:
    """Write a package with at most so many of another's drawings; return how many it has."""
    icons = read_icons(package)
    names = distinct_names(icons)
    chosen = random.Random(1).sample(names, min(most, len(names)))
    kept = {name: value for name, value in icons.items() if name in ("prefix", "left", "top", "width", "height")}
    data = json.dumps(kept | {"icons": {name: icons["icons"][name] for name in chosen}}).encode()
    with tarfile.open(target, "w:gz") as archive:
        member = tarfile.TarInfo("package/icons.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, action="append", default=[], help="a folder; may be repeated")
    parser.add_argument("--drawings", type=Path, action="append", default=[], help="a package; may be repeated")
    parser.add_argument("--most-drawings", type=int, default=300, help="of each package")
    options = parser.parse_args()
    photographs, drawings = options.output / "photographs", options.output / "drawings"
    for folder in (photographs, drawings):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [path for folder in options.photographs for path in sorted(folder.rglob("*"))]
    paths = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    taken = sum(copy_photograph(path, photographs / f"{n:05d}-{path.stem}.jpg") for n, path in enumerate(paths))
    drawn = sum(copy_drawings(one, drawings / one.name, options.most_drawings) for one in options.drawings)
    size = sum(path.stat().st_size for path in options.output.rglob("*"))
    print(f"{taken} photographs and {drawn} drawings, {size / 2**20:.1f} MiB, in {options.output}")


if __name__ == "__main__":
    main()
