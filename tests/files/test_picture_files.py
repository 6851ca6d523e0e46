"""Pictures keep what their files hold: depth, grey, transparency, colour profile, EXIF; and bad files are named."""

import io
from dataclasses import replace

import numpy
import png
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import GPS, IFD, Base

from colour_profiles import linear_grey_profile, linear_rgb_profile
from r2id.errors import InputError
from r2id.files.exif import kept_exif
from r2id.files.pictures import Picture, PixelFormat, as_image, check_side, read_picture, save_picture

RANDOM = numpy.random.default_rng(0)


def levels(channels, depth):
    return RANDOM.integers(0, 2**depth, (7, 9, channels)).astype(f"uint{depth}")


def profile_for(channels):
    return linear_grey_profile() if channels < 3 else linear_rgb_profile()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_comes_back_with_its_levels_and_profile(tmp_path, channels, depth, suffix):
    picture = Picture(levels(channels, depth), PixelFormat(channels, depth, profile_for(channels)))
    save_picture(picture, tmp_path / f"one{suffix}")
    again = read_picture(tmp_path / f"one{suffix}")
    # tifffile notes a resolution.
    assert replace(again.form, exif=None) == picture.form
    assert numpy.array_equal(again.levels, picture.levels)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".bmp"])
def test_16_bits_become_8_where_a_file_has_no_more(tmp_path, suffix):
    even = numpy.full((16, 16, 3), 40 * 257, numpy.uint16)
    save_picture(Picture(even, PixelFormat(3, 16)), tmp_path / f"one{suffix}")
    again = read_picture(tmp_path / f"one{suffix}")
    assert again.form == PixelFormat(3, 8) and abs(again.levels.astype(int) - 40).max() <= 1


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("I;16", 1)],
)
def test_modes_of_a_png(tmp_path, mode, channels):
    image = Image.fromarray(levels(1, 16)[..., 0]) if mode == "I;16" else Image.linear_gradient("L").convert(mode)
    image.save(tmp_path / "one.png")
    picture = read_picture(tmp_path / "one.png")
    assert picture.form == PixelFormat(channels, 16 if mode == "I;16" else 8)
    shown = numpy.asarray(image.convert("L") if mode in ("1", "P") else image)
    assert numpy.array_equal(picture.levels[..., 0], shown if shown.ndim == 2 else shown[..., 0])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_becomes_alpha(tmp_path, mode):
    image = Image.new("L", (4, 3), 255).convert(mode)
    image.paste(Image.new("L", (2, 3), 0).convert(mode))
    hidden = {"P": image.getpixel((0, 0)), "RGB": (0, 0, 0)}.get(mode, 0)
    image.save(tmp_path / "one.png", transparency=hidden)
    picture = read_picture(tmp_path / "one.png")
    assert picture.form.transparent
    assert picture.levels[0, :, -1].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    "kind", [{"greyscale": True, "transparent": 7}, {"greyscale": False, "transparent": (7, 8, 9)}]
)
def test_a_transparent_colour_of_16_bits_becomes_alpha(tmp_path, kind):
    row = [7, 300] if kind["greyscale"] else [7, 8, 9, 7, 8, 65000]
    with (tmp_path / "one.png").open("wb") as file:
        png.Writer(2, 3, bitdepth=16, **kind).write(file, [row] * 3)
    picture = read_picture(tmp_path / "one.png")
    assert picture.form.depth == 16 and picture.levels[:, :, -1].tolist() == [[0, 65535]] * 3


def test_premultiplied_colours_are_divided(tmp_path):
    stored = numpy.array([[[100, 200, 300, 30000], [0, 0, 0, 0]]], numpy.uint16)
    tifffile.imwrite(tmp_path / "one.tif", stored, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    first, second = read_picture(tmp_path / "one.tif").levels[0]
    assert first.tolist() == [round(level * 65535 / 30000) for level in (100, 200, 300)] + [30000]
    assert second.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_s_orientation_is_applied_and_not_kept(tmp_path, orientation):
    image = Image.fromarray(levels(3, 8))
    exif = image.getexif()
    exif[Base.Orientation], exif[Base.Make] = orientation, "A camera"
    exif.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] = 200
    exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] = 9
    image.save(tmp_path / "one.png", exif=exif)
    picture = read_picture(tmp_path / "one.png")
    assert numpy.array_equal(picture.levels, numpy.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "one.png"))))
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        save_picture(picture, tmp_path / f"again{suffix}")
        kept = Image.open(tmp_path / f"again{suffix}").getexif()
        assert kept.get(Base.Orientation, 1) == 1 and kept[Base.Make] == "A camera"
        assert kept.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 200
        assert Base.ExifImageWidth not in kept.get_ifd(IFD.Exif)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [".tif", ".png"])
def test_exif_of_16_bits_is_kept(tmp_path, channels, kind):
    exif = Image.Exif()
    exif[Base.Make], exif[Base.ImageDescription] = "A camera of a long name", "odd"
    exif[Base.XResolution], exif[Base.ResolutionUnit] = 300.0, 2
    exif.get_ifd(IFD.Exif).update({Base.ISOSpeedRatings: 200, Base.ExposureTime: 0.25, Base.LensModel: "A lens"})
    exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (47.0, 22.0, 30.5)})
    values = levels(channels, 16)
    save_picture(Picture(values, PixelFormat(channels, 16, None, kept_exif(exif))), tmp_path / f"one{kind}")
    first = read_picture(tmp_path / f"one{kind}")
    save_picture(first, tmp_path / "two.tif")
    second = read_picture(tmp_path / "two.tif")
    assert numpy.array_equal(second.levels, values) and first.form.exif == second.form.exif
    found = Image.Exif()
    found.load(second.form.exif)
    assert found[Base.Make] == "A camera of a long name" and found[Base.ImageDescription] == "odd"
    assert (found[Base.XResolution], found[Base.ResolutionUnit]) == (300, 2)
    assert found.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 200 and found.get_ifd(IFD.Exif)[Base.ExposureTime] == 0.25
    assert found.get_ifd(IFD.Exif)[Base.LensModel] == "A lens"
    assert found.get_ifd(IFD.GPSInfo) == {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (47, 22, 30.5)}
    with tifffile.TiffFile(tmp_path / "two.tif") as file:
        assert file.pages.first.tags["ExifTag"].value["ISOSpeedRatings"] == 200
        assert file.pages.first.tags["GPSTag"].value["GPSLatitudeRef"] == "N"


def test_damaged_exif_is_left_out(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "one.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_picture(tmp_path / "one.jpg").form == PixelFormat(3)


def test_a_profile_of_another_kind_of_picture_is_left_out(tmp_path):
    Image.new("L", (4, 3)).save(tmp_path / "one.tif", icc_profile=linear_rgb_profile())
    assert read_picture(tmp_path / "one.tif").form == PixelFormat(1)


def test_grey_with_a_profile_is_converted_where_a_file_has_no_grey(tmp_path):
    picture = Picture(numpy.full((8, 8, 1), 55, numpy.uint8), PixelFormat(1, 8, linear_grey_profile()))
    save_picture(picture, tmp_path / "one.webp")
    again = read_picture(tmp_path / "one.webp")
    assert again.form.profile is None and again.levels.mean() > 100


def test_a_cmyk_picture_needs_a_profile(tmp_path):
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "one.jpg")
    with pytest.raises(InputError, match="CMYK without a colour profile"):
        read_picture(tmp_path / "one.jpg")
    Image.new("CMYK", (4, 3)).save(tmp_path / "odd.jpg", icc_profile=b"no profile")
    with pytest.raises(InputError, match="CMYK with a colour profile that cannot be read"):
        read_picture(tmp_path / "odd.jpg")


def test_bad_files_are_named_in_a_sentence(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-60])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "zero.png").write_bytes(whole[:16] + bytes(8) + whole[24:])
    (tmp_path / "text.jpg").write_text("no picture")
    deep = io.BytesIO()
    png.Writer(64, 64, bitdepth=16, greyscale=False).write(deep, [[9] * 192] * 64)
    (tmp_path / "deep.png").write_bytes(deep.getvalue()[:-40])
    tifffile.imwrite(tmp_path / "nan.tif", numpy.full((4, 5), numpy.nan, numpy.float32))
    tifffile.imwrite(tmp_path / "floats.tif", numpy.full((4, 5, 3), numpy.nan, numpy.float32), photometric="rgb")
    frames = [Image.new("L", (4, 3), level) for level in (0, 99)]
    for suffix in (".gif", ".webp", ".png"):
        frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:])
    for path in sorted(tmp_path.iterdir()):
        if path.name != "whole.png":
            with pytest.raises(InputError) as error:
                read_picture(path)
            sentence = str(error.value)
            assert path.name in sentence and "\n" not in sentence and len(sentence) < 300
            if path.name.startswith("moving"):
                assert "animation of 2 frames" in sentence
            if path.suffix == ".tif":
                assert "32-bit pixels" in sentence


@pytest.mark.parametrize(("name", "kind"), [("one.jpg", "MPO"), ("one.tif", "TIFF")])
def test_of_the_pictures_of_a_camera_or_the_pages_of_a_tiff_the_first_is_read(tmp_path, name, kind):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / name, format=kind, save_all=True, append_images=[second])
    assert read_picture(tmp_path / name).levels[0, 0, 0] > 250


def test_a_file_type_that_this_pillow_does_not_write_is_refused(tmp_path, monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF", raising=False)
    with pytest.raises(InputError, match=r"one\.avif has no suffix"):
        save_picture(Picture(levels(3, 8), PixelFormat(3)), tmp_path / "one.avif")


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    see_through = Picture(levels(4, 8), PixelFormat(4))
    with pytest.raises(InputError, match=r"one\.jpg cannot hold the picture's transparency; give --background"):
        save_picture(see_through, tmp_path / "one.jpg")
    with pytest.raises(InputError, match=r"one\.gif has no suffix"):
        save_picture(see_through, tmp_path / "one.gif")
    for name, side in (("one.jpg", 65535), ("one.webp", 16383), ("one.png", 2**31 - 1)):
        check_side(tmp_path / name, (side, 1))
        with pytest.raises(InputError, match=f"has at most {side} along a side"):
            check_side(tmp_path / name, (1, side + 1))
    assert not list(tmp_path.iterdir())


def test_a_background_fills_what_is_transparent():
    picture = Picture(numpy.array([[[200, 0], [200, 255], [200, 128]]], numpy.uint8), PixelFormat(2))
    opaque = picture.on(100)
    assert opaque.form == PixelFormat(1) and opaque.levels[0, :, 0].tolist() == [100, 200, 150]


def test_a_pillow_image_has_8_bits_except_in_grey():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert as_image(Picture(levels(1, 16), PixelFormat(1, 16))).mode == "I;16"
    image = as_image(Picture(levels(4, 16), PixelFormat(4, 16, profile)))
    assert image.mode == "RGBA" and image.info["icc_profile"] == profile
