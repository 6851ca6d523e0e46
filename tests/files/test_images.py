"""Reading image files: every kind of pixels, every way in which a file can be wrong."""

import struct
import zlib
from pathlib import Path

import numpy
import png
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from colour_profiles import linear_grey_profile, linear_rgb_profile
from r2id.errors import InputError
from r2id.files.images import read_image

FIXTURES = Path(__file__).parents[1] / "fixtures"


def picture(colour: int | float | tuple[int, ...], size: tuple[int, int] = (5, 4), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (200, 100, 0, 0), [90, 90, 90]),
        ("RGBA", (200, 100, 0, 255), [200, 100, 0]),
        ("LA", (200, 0), [90]),
        ("LA", (200, 255), [200]),
        ("L", 200, [200]),
        ("1", 1, [255]),
        ("I;16", 65535, [255]),
        ("I;16", 257 * 40, [40]),
    ],
)
def test_modes(tmp_path, mode, colour, expected):
    file = save(picture(colour, mode=mode), tmp_path / "image.png")
    image = read_image(file, channels=None, background=90)
    assert image.dtype == torch.uint8 and image.shape == (len(expected), 4, 5)
    assert image[:, 1, 2].tolist() == expected


SIXTEEN_BITS = [
    ({"greyscale": False}, 3, [40, 41, 42]),
    ({"greyscale": False, "alpha": True}, 4, [40, 41, 42]),
    ({"greyscale": True, "alpha": True}, 2, [40, 40, 40]),
]


@pytest.mark.parametrize(("kind", "samples", "expected"), SIXTEEN_BITS, ids=["RGB", "RGBA", "LA"])
def test_16_bits_of_every_kind_in_png(tmp_path, kind, samples, expected):
    pixel = [257 * level for level in (40, 41, 42)[: samples - 1 if "alpha" in kind else samples]]
    pixel += [65535] if "alpha" in kind else []
    with (tmp_path / "image.png").open("wb") as file:
        png.Writer(5, 4, bitdepth=16, **kind).write(file, [pixel * 5] * 4)
    assert read_image(tmp_path / "image.png", channels=3)[:, 0, 0].tolist() == expected


@pytest.mark.parametrize("levels", [[40, 41, 42], [40]], ids=["RGB", "grey"])
def test_16_bits_in_tiff(tmp_path, levels):
    array = numpy.full((4, 5, len(levels)), levels, numpy.uint16).squeeze() * 257
    tifffile.imwrite(tmp_path / "image.tif", array, photometric="rgb" if len(levels) == 3 else "minisblack")
    assert read_image(tmp_path / "image.tif", channels=None)[:, 0, 0].tolist() == levels


LEVELS = numpy.random.default_rng(0).integers(0, 256, (20, 34, 3))
OPAQUE = numpy.arange(34) < 17


@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [None, "unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_arrangement_of_tiff(tmp_path, bits, photometric, extra, planar, compression, tile):
    expected = LEVELS if photometric == "rgb" else LEVELS[..., :1]
    most = 2**bits - 1
    stored = expected * (most // 255)
    if extra == "assocalpha":
        stored = stored * OPAQUE[None, :, None]
    stored = most - stored if photometric == "miniswhite" else stored
    if extra:
        stored = numpy.concatenate([stored, numpy.broadcast_to(OPAQUE[None, :, None] * most, (20, 34, 1))], -1)
    stored = stored.transpose(2, 0, 1) if planar == "separate" else stored
    options = {"planarconfig": planar, "extrasamples": [extra] if extra else None}
    if not extra and photometric != "rgb":
        stored, options = stored.reshape(20, 34), {}
    tifffile.imwrite(
        tmp_path / "image.tif", stored.astype(f"uint{bits}"), photometric=photometric, compression=compression,
        tile=tile, metadata=None, **options,
    )  # fmt: skip
    if extra and extra != "unspecified":
        expected = numpy.where(OPAQUE[None, :, None], expected, 90)
    read = read_image(tmp_path / "image.tif", channels=None, background=90)
    assert torch.equal(read, torch.from_numpy(expected.transpose(2, 0, 1)).to(torch.uint8))


def test_16_bits_that_pillow_reads_are_not_negative(tmp_path, monkeypatch):
    monkeypatch.setattr("r2id.files.tiff.is_decodable", lambda page: False)
    tifffile.imwrite(tmp_path / "image.tif", numpy.full((4, 5), 65535 - 257 * 40, numpy.uint16), photometric=0)
    assert read_image(tmp_path / "image.tif", channels=1).unique().tolist() == [40]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_as_the_camera_noted(tmp_path, orientation):
    for bits in (8, 16):
        levels = (LEVELS * (257 if bits == 16 else 1)).astype(f"uint{bits}")
        note = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / f"{bits}.tif", levels, photometric="rgb", extratags=note)
    eight, sixteen = (read_image(tmp_path / f"{bits}.tif", channels=3) for bits in (8, 16))
    assert torch.equal(eight, sixteen)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_tiff_of_16_bits(tmp_path, compression):
    levels = (LEVELS * 257).astype(numpy.uint16)
    tifffile.imwrite(tmp_path / "image.tif", levels, photometric="rgb", compression=compression, metadata=None)
    whole = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "image.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="image.tif cannot be read as an image"):
        read_image(tmp_path / "image.tif", channels=3)


def test_a_huge_tiff_of_16_bits(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "image.tif", numpy.zeros((30, 30), numpy.uint16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="image.tif is too large"):
        read_image(tmp_path / "image.tif", channels=3)


@pytest.mark.parametrize(("colour", "kind"), [((1000,), True), ((1000, 2000, 3000), False)], ids=["grey", "RGB"])
def test_the_transparent_colour_of_16_bits_in_png(tmp_path, colour, kind):
    transparent = colour[0] if kind else colour
    with (tmp_path / "image.png").open("wb") as file:
        writer = png.Writer(2, 1, bitdepth=16, greyscale=kind, transparent=transparent)
        writer.write(file, [[*colour, *(257 * 200 for _ in colour)]])
    read = read_image(tmp_path / "image.png", channels=1, background=90)
    assert read.tolist() == [[[90, 200]]]


def test_half_transparent_lies_between(tmp_path):
    file = save(picture((200, 100, 0, 128), mode="RGBA"), tmp_path / "image.png")
    assert read_image(file, channels=3)[:, 0, 0].tolist() == pytest.approx([100, 50, 0], abs=1)


def test_transparent_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    file = save(image, tmp_path / "image.png", transparency=0)
    assert read_image(file, channels=3, background=90)[:, 0].T.tolist() == [[90, 90, 90], [40, 50, 60]]
    assert read_image(file, channels=3)[:, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk(tmp_path, suffix):
    file = save(picture((0, 255, 255, 0), mode="CMYK"), tmp_path / f"image.{suffix}")
    assert read_image(file, channels=3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_levels_mean_what_the_colour_profile_says(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    image = picture((128, 32, 255), (16, 16))
    file = save(image, tmp_path / f"image.{suffix}", icc_profile=linear_rgb_profile(), **options)
    # sRGB's curve of 128/255 and 32/255.
    assert read_image(file, channels=3)[:, 0, 0].tolist() == pytest.approx([188, 99, 255], abs=2)


def test_colour_profiles_of_grey_and_transparent_pictures(tmp_path):
    grey = save(picture(128, mode="L"), tmp_path / "grey.png", icc_profile=linear_grey_profile())
    assert read_image(grey, channels=None)[:, 0, 0].tolist() == pytest.approx([188], abs=1)
    clear = save(picture((128, 32, 255, 0), mode="RGBA"), tmp_path / "clear.png", icc_profile=linear_rgb_profile())
    assert read_image(clear, channels=3, background=90)[:, 0, 0].tolist() == [90, 90, 90]
    opaque = save(picture((128, 32, 255, 255), mode="RGBA"), tmp_path / "opaque.png", icc_profile=linear_rgb_profile())
    assert read_image(opaque, channels=3, background=90)[:, 0, 0].tolist() == pytest.approx([188, 99, 255], abs=2)
    for name, mode, profile in (("wrong", "RGB", linear_grey_profile()), ("damaged", "RGB", b"no profile")):
        other = save(picture((128, 32, 255), mode=mode), tmp_path / f"{name}.png", icc_profile=profile)
        assert read_image(other, channels=3)[:, 0, 0].tolist() == [128, 32, 255]


def test_srgb_itself_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = save(picture((128, 32, 255)), tmp_path / "image.png", icc_profile=profile)
    assert read_image(file, channels=3)[:, 0, 0].tolist() == [128, 32, 255]


def test_camera_orientation(tmp_path):
    image = picture(0, (2, 1), mode="L")
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to show"
    file = save(image, tmp_path / "image.png", exif=exif)
    assert read_image(file, channels=1)[0].tolist() == [[255], [0]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [picture((255, 0, 0)), picture((0, 0, 255))]
    options = {"lossless": True} if suffix == "webp" else {}
    file = save(frames[0], tmp_path / f"image.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert read_image(file, channels=3)[:, 0, 0].tolist() == [255, 0, 0]


def test_channels_are_converted(tmp_path):
    file = save(picture((255, 0, 0)), tmp_path / "image.png")
    assert read_image(file, channels=1).shape == (1, 4, 5)
    assert read_image(file, channels=1)[0, 0, 0] == 76


def test_floating_point_pixels(tmp_path):
    file = save(picture(0.5, mode="F"), tmp_path / "image.tif")
    with pytest.raises(InputError, match="image.tif has 32-bit pixels; they must have 8 or 16 bits"):
        read_image(file, channels=1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
def test_truncated_file(tmp_path, suffix):
    noise = numpy.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=numpy.uint8)
    file = save(Image.fromarray(noise), tmp_path / f"image.{suffix}")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"image.{suffix} cannot be read as an image"):
        read_image(file, channels=3)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="gone.png is not a file"):
        read_image(tmp_path / "gone.png", channels=3)


def test_decompression_bomb(tmp_path, monkeypatch):
    file = save(picture(0, (30, 30)), tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"image.png is too large .* at most 200 pixels\.$"):
        read_image(file, channels=3)
    file = save(picture(0, (30, 30)), tmp_path / "image.tif")
    with pytest.raises(InputError, match=r"image.tif is too large .* at most 200 pixels, or a larger .tif to"):
        read_image(file, channels=3)


def test_a_header_that_promises_a_huge_picture(tmp_path):
    file = save(picture(0, (30, 30)), tmp_path / "image.png")
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    with pytest.raises(InputError, match="image.png is too large"):
        read_image(file, channels=3)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"]
)
def test_other_files_under_the_name_of_a_picture(tmp_path, content):
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(InputError, match="image.png cannot be read as an image .no known format."):
        read_image(tmp_path / "image.png", channels=3)


def test_a_large_picture_or_odd_metadata_is_no_warning(tmp_path, monkeypatch, recwarn):
    file = save(picture(0, (30, 30)), tmp_path / "image.jpg", exif=b"Exif\0\0garbage")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_image(file, channels=3).shape == (3, 30, 30) and not recwarn.list


def test_other_channels_and_backgrounds_are_refused():
    file = next((FIXTURES / "emoji").glob("*.png"))
    with pytest.raises(InputError, match="channels is 2"):
        read_image(file, channels=2)
    with pytest.raises(InputError, match="background is 300"):
        read_image(file, channels=3, background=300)
