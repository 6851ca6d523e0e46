"""Whatever text or file comes in: it is understood, or refused in one sentence."""

import io
import json
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from r2id.cli.parsing import parse_labels, parse_region, parse_size
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.images import read_image
from r2id.files.large_reader import LargeImage, LargePicture, tiff_size
from r2id.files.large_writer import write_large
from r2id.files.latents import Latents
from r2id.files.pictures import read_picture, save_picture
from r2id.runtime.progress import unseen
from r2id.training.setup import network_arguments

RUN = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
DIGITS = "9" * 5000
NUMBERS = st.one_of(st.integers().map(str), st.text("0123456789٣²-+_ .e", max_size=6), st.just(DIGITS))


def refuses(call, *arguments):
    """The result, or None where the arguments were refused with a sentence. Any other error is the test's."""
    try:
        return call(*arguments)
    except InputError as error:
        assert str(error).strip() and "\n" not in str(error).strip()
        return None


@RUN
@given(st.one_of(st.text(), st.tuples(NUMBERS, NUMBERS).map("x".join)))
@example(f"{DIGITS}x1")
def test_sizes(text):
    size = refuses(parse_size, text)
    assert size is None or (min(size) >= 1 and f"{size[0]}x{size[1]}".lstrip("0") in text.lower().replace("x0", "x"))


@RUN
@given(st.one_of(st.text(), st.lists(NUMBERS, max_size=5).map(",".join)))
def test_regions(text):
    region = refuses(parse_region, text)
    assert region is None or (len(region) == 4 and text.count(",") == 3)


@RUN
@given(st.one_of(st.text(), st.lists(st.tuples(NUMBERS, NUMBERS).map("-".join), max_size=3).map(",".join)))
@example(f"0-{DIGITS}")
def test_labels(text):
    labels = refuses(parse_labels, text)
    assert labels is None or (labels and all(label and label == label.strip() for label in labels))


@RUN
@given(st.one_of(st.text(), st.text("[]{}()'\"-,:=0123456789 ab").map("name=".__add__)))
@example("name={[]: 1}")
@example(f"name={DIGITS}")
@example("name=" + "-" * 20_000 + "1")
def test_model_arguments(text):
    arguments = refuses(network_arguments, (text,))
    assert arguments is None or list(arguments) == [text.partition("=")[0]]


def file_bytes(suffix: str, mode: str) -> bytes:
    levels = numpy.arange(12 * 9 * 4, dtype=numpy.uint8).reshape(12, 9, 4)
    picture = Image.fromarray(levels, "RGBA").convert(mode)
    content = io.BytesIO()
    picture.save(content, format={"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    return content.getvalue()


def tiled_tiff() -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, numpy.arange(40 * 50, dtype=numpy.uint8).reshape(40, 50), tile=(16, 16))
    return content.getvalue()


def latents_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Latents(torch.zeros(2, 3, 2, 2), (8, 8), ("cat", "dog"), 7).save(Path(folder) / "latents.safetensors")
        return (Path(folder) / "latents.safetensors").read_bytes()


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file with some bytes changed, and perhaps its end cut off or something appended."""
    result = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        result[draw(st.integers(0, len(result) - 1))] = draw(st.integers(0, 255))
    return bytes(result[: draw(st.integers(0, len(result)))]) + draw(st.binary(max_size=8))


KINDS = [("png", "RGBA"), ("png", "P"), ("jpg", "CMYK"), ("gif", "P"), ("bmp", "RGB"), ("webp", "RGBA"), ("tif", "L")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_damaged_images(suffix, mode, tmp_path):
    path, content = tmp_path / f"image.{suffix}", file_bytes(suffix, mode)

    @RUN
    @given(damaged(content))
    def check(changed):
        path.write_bytes(changed)
        image = refuses(lambda: read_image(path, channels=3))
        assert image is None or (image.dtype == torch.uint8 and image.shape[0] == 3)

    check()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_damaged_pictures_are_kept_as_they_are_or_refused(suffix, mode, tmp_path):
    path, content = tmp_path / f"image.{suffix}", file_bytes(suffix, mode)

    @RUN
    @given(damaged(content))
    def check(changed):
        path.write_bytes(changed)
        picture = refuses(lambda: read_picture(path))
        if picture:
            save_picture(picture, tmp_path / "again.png")
            assert numpy.array_equal(read_picture(tmp_path / "again.png").levels, picture.levels)

    check()


@pytest.mark.filterwarnings("ignore")
def test_damaged_large_pictures(tmp_path):
    path, content = tmp_path / "image.tif", tiled_tiff()

    def read():
        large = LargePicture(path)
        return large, large.levels((0, 0, *(min(side, 64) for side in large.size)))

    @RUN
    @given(damaged(content))
    def check(changed):
        path.write_bytes(changed)
        read_or_none = refuses(read)
        if read_or_none:
            large, levels = read_or_none
            assert levels.shape[-1] == large.form.channels and levels.dtype == large.form.dtype

    check()


@pytest.mark.filterwarnings("ignore")
def test_damaged_large_images(tmp_path):
    path, content = tmp_path / "image.tif", tiled_tiff()

    def read():
        image = LargeImage(path, 1)
        return [(rows, columns, pixels.shape) for rows, columns, pixels in image.chunks(lambda count: None)]

    @RUN
    @given(damaged(content))
    def check(changed):
        path.write_bytes(changed)
        size = tiff_size(path)
        assert size is None or len(size) == 2
        for rows, columns, shape in refuses(read) or ():
            assert shape[2:] == (rows.stop - rows.start, columns.stop - columns.start)

    check()


def test_damaged_tiles_of_an_unfinished_picture(tmp_path, monkeypatch):
    """Two tiles, of which one is written."""
    for module in ("files.large_writer", "geometry.tiles"):
        monkeypatch.setattr(f"r2id.{module}.TILE", 16)
    path, size = tmp_path / "big.tif", (16, 30)

    class Ones:
        channels = 1

        def render(self, size, region):
            return torch.ones(1, 1, region[2] - region[0], region[3] - region[1])

    @contextmanager
    def one_tile(total, title, done=0):
        def advance(count):
            if count:
                raise KeyboardInterrupt

        yield advance

    def write(progress):
        write_large(Ones(), size, None, path, {"latent": 1}, progress)
        return True

    with suppress(KeyboardInterrupt):
        write(one_tile)
    left = {name: tmp_path / f".big.tif.partial{name}" for name in ("", ".json")}
    contents = {name: file.read_bytes() for name, file in left.items()}

    def check(name, changed):
        for other, file in left.items():
            file.write_bytes(changed if other == name else contents[other])
        if refuses(lambda: write(unseen)):
            with tifffile.TiffFile(path) as file:
                assert (file.pages.first.imagelength, file.pages.first.imagewidth) == size

    RUN(given(damaged(contents[""]))(lambda changed: check("", changed)))()
    RUN(given(damaged(contents[".json"]))(lambda changed: check(".json", changed)))()
    for text in ('{"done": Infinity, "picture": {}}', "[" * 100_000, '{"done": 1, "picture": 3}', '{"done": "x"}'):
        check(".json", text.encode())


@pytest.mark.filterwarnings("ignore")
def test_damaged_latents(tmp_path):
    path, content = tmp_path / "latents.safetensors", latents_bytes()

    @RUN
    @given(damaged(content))
    def check(changed):
        path.write_bytes(changed)
        latents = refuses(Latents.load, path)
        assert latents is None or latents.values.isfinite().all()

    check()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model_index.json", "resampler/config.json", "conditioner/config.json"])
def test_damaged_configs(name, tmp_path, make_pipeline):
    make_pipeline().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()

    @settings(RUN, max_examples=60)
    @given(damaged(content))
    @example(b"")
    @example(b"[]")
    @example(b"{}")
    @example(b"[" * 100_000)
    @example(b'{"_class_name": "os.system"}')
    def check(changed):
        path.write_bytes(changed)
        pipeline = refuses(R2Pipeline.from_pretrained, tmp_path / "model")
        assert pipeline is None or isinstance(pipeline, R2Pipeline)

    check()


@pytest.mark.parametrize("about", ["[" * 100_000, json.dumps({"canvas": [8, 8], "labels": 3, "model": "x"}), "null"])
def test_latents_whose_notes_are_something_else(tmp_path, about, monkeypatch):
    monkeypatch.setattr("r2id.files.latents.json.dumps", lambda value: about)
    Latents(torch.zeros(1, 3, 2, 2), (8, 8), (), 7).save(tmp_path / "latents.safetensors")
    with pytest.raises(InputError, match="cannot be read as latents"):
        Latents.load(tmp_path / "latents.safetensors")
