"""Latents as a codec: bytes and PSNR of stored latents, beside JPEG and WebP of the same bytes.

    python benchmarks/pictures/codec.py --photographs BSDS500/val

Bytes are those of whole files. Latents are stored by `Latents.save` and decoded from the file; deflated is that file
through zlib at its highest level. JPEG and WebP have the best quality whose file is no larger than the stored latents:
JPEG of full or halved chroma, whichever is better, and WebP without loss where that fits. Figures are medians over the
photographs, PSNR of RGB. R2IR was not trained to be coded, and is not expected to win.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measure import as_image, as_tensor, eight_bit, picture_of, psnr
from PIL import Image
from torch import Tensor

from r2id import R2IR
from r2id.files.latents import STORED, Latents

RESULTS = Path(__file__).parent / "results" / "codec.json"
DENSITIES = (16, 8, 4)
EXACT = 100.0
"""dB, written for no error at all."""


def stored(network: R2IR, picture: Tensor, pixels: float, dtype: str, file: Path) -> Tensor:
    """The picture decoded again from a file of its latents."""
    size = (picture.shape[-2], picture.shape[-1])
    latent = network.encode(picture, pixels_per_cell=pixels)
    Latents(latent, latent.canvas, (), network.checksum(), size).save(file, dtype)
    return eight_bit(network.decode(Latents.load(file).values, size))


def best_within(most: int, write: Callable[[int], bytes]) -> bytes | None:
    """The file of the highest quality, 0 to 100, of at most so many bytes; None if even the lowest has more."""
    found, low, high = None, 0, 100
    while low <= high:
        quality = (low + high) // 2
        data = write(quality)
        if len(data) <= most:
            found, low = data, quality + 1
        else:
            high = quality - 1
    return found


def written(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def jpeg(image: Image.Image, most: int) -> list[bytes | None]:
    return [
        best_within(most, lambda quality, chroma=chroma: written(image, "JPEG", quality=quality, subsampling=chroma))
        for chroma in (0, 2)
    ]


def webp(image: Image.Image, most: int) -> list[bytes | None]:
    exact = written(image, "WEBP", lossless=True)
    return [exact if len(exact) <= most else best_within(most, lambda quality: written(image, "WEBP", quality=quality))]


def best(files: list[bytes | None], picture: Tensor) -> float | None:
    """PSNR of the best of some files."""
    figures = [psnr(as_tensor(Image.open(io.BytesIO(data)).convert("RGB")), picture) for data in files if data]
    return min(EXACT, max(figures)) if figures else None


def measure(network: R2IR, pictures: list[Tensor], pixels: float, dtype: str) -> dict[str, float | None]:
    """Bytes a pixel, stored and deflated, and PSNR of latents, JPEG and WebP of the stored bytes."""
    rows: list[dict[str, float | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "latent.safetensors"
        for picture in pictures:
            again = stored(network, picture, pixels, dtype, file)
            data, count, image = file.read_bytes(), picture[0, 0].numel(), as_image(picture)
            rows.append(
                {
                    "bytes a pixel": len(data) / count,
                    "deflated": len(zlib.compress(data, 9)) / count,
                    "R2IR": psnr(again, picture),
                    "JPEG": best(jpeg(image, len(data)), picture),
                    "WebP": best(webp(image, len(data)), picture),
                }
            )
    # A format that a photograph does not fit into has no figure.
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: None if None in column else median(column) for name, column in columns.items()}  # type: ignore[type-var]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pictures", help="bundled name, folder or hub id of an R2IR")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="photograph that is measured")
    options = parser.parse_args()
    network = R2IR.from_pretrained(options.model).eval()
    paths = sorted(options.photographs.glob("*.jpg"))[:: options.every]
    pictures = [picture_of(path) for path in paths]
    results = {"checksum of the model": network.checksum(), "photographs": len(paths), "rows": []}
    for pixels in DENSITIES:
        for dtype in STORED:
            with torch.inference_mode():
                row = {"pixels a cell": pixels, "type": dtype} | measure(network, pictures, pixels, dtype)
            results["rows"].append(row)
            print(json.dumps(row), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
