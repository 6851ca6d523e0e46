"""Measure memory beyond the model while a large picture is resampled from a tiled TIFF to a tiled TIFF.

    python benchmarks/pictures/memory.py --blocks 2

The picture is noise. Every block takes as much memory as another, so a region of a few blocks tells what the whole
takes. `--whole` renders it all.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy
import psutil
import tifffile
from PIL import Image

from r2id import R2IR
from r2id.batch.resampling import Target, resample_file
from r2id.files import images


class Peak:
    """The most memory that this process holds while it is entered, in bytes."""

    def __enter__(self) -> Peak:
        self.before = self.most = psutil.Process().memory_info().rss
        self._ends = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ends.wait(0.01):
            self.most = max(self.most, psutil.Process().memory_info().rss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=int, default=4096, help="side of the picture that is resampled")
    parser.add_argument("--side", type=int, default=16384, help="side of the resampled picture")
    parser.add_argument("--blocks", type=int, default=2, help="blocks along the width of the region that is rendered")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    network = R2IR.from_pretrained("pictures").eval()
    block = network.field_of(lambda region: None, (options.source,) * 2).blocks((options.side,) * 2)
    top, left = block
    region = None if options.whole else (top, left, top + 256, left + options.blocks * left)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "source.tif", Path(folder) / "output.tif"
        random = numpy.random.default_rng(0)
        tiles = (random.integers(0, 256, (256, 256, 3), numpy.uint8) for _ in range((options.source // 256) ** 2))
        shape = (options.source, options.source, 3)
        tifffile.imwrite(source, tiles, shape=shape, dtype=numpy.uint8, tile=(256, 256), photometric="rgb")
        # So that a region, too, is read and written in tiles.
        images.LARGE, Image.MAX_IMAGE_PIXELS = 1 << 16, 1 << 20
        began = time.monotonic()
        target = Target(size=(options.side, options.side), region=region)
        with Peak() as peak:
            size = resample_file(network, source, output, target, options.precision)
        seconds = time.monotonic() - began
    print(
        f"{options.source}x{options.source} to {size[0]}x{size[1]} pixels of {options.side}x{options.side}, blocks of "
        f"{block[0]}x{block[1]}: {(peak.most - peak.before) / 2**30:.2f} GiB beyond the model, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
