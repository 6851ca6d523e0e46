"""Pictures of every kind, resampled by a small pyramid: sizes, regions, transparency, and many at once."""

import json
import os
from dataclasses import replace

import numpy
import pytest
import tifffile
import torch
from PIL import Image
from PIL.ExifTags import Base

import r2id
from colour_profiles import linear_rgb_profile
from r2id import R2IR
from r2id.batch import resampling
from r2id.batch.picture_field import field_of
from r2id.batch.resampling import Target, jobs_for, render, resample_file, resample_files, resample_picture
from r2id.errors import InputError
from r2id.files.large_reader import LargePicture
from r2id.files.pictures import Picture, PixelFormat, read_picture
from r2id.runtime.progress import unseen


@pytest.fixture(scope="module")
def network():
    """A small pyramid that keeps every coefficient, a little off a cosine transform."""
    torch.manual_seed(0)
    shape = {"widths": (12, 48, 192, 192), "encoder_blocks": (1, 0, 0, 0), "decoder_blocks": (1, 0, 0, 0)}
    one = R2IR(image_channels=3, latent_channels=192, attention="pyramid", read_channels=4, read_dim=8, **shape)
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            if "levels" in name or "colour" in name:
                parameter.add_(0.01 * torch.randn_like(parameter))
    return one.eval()


def picture(channels, depth=8, size=(20, 30)):
    random = numpy.random.default_rng(0).integers(0, 2**depth, (*size, channels))
    return Picture(random.astype(f"uint{depth}"), PixelFormat(channels, depth))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_picture_keeps_its_kind_and_a_region_is_the_whole_s(network, channels, depth):
    source = picture(channels, depth)
    whole = resample_picture(network, source, Target(size=(310, 290)))
    assert whole.form == source.form and whole.levels.shape == (310, 290, channels)
    part = resample_picture(network, source, Target(size=(310, 290), region=(7, 250, 300, 290)))
    assert numpy.array_equal(part.levels, whole.levels[7:300, 250:290])


@pytest.mark.parametrize("scale", [0.4, 1, 2.7])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_even_colour_stays_so(network, scale, level):
    source = Picture(numpy.full((20, 30, 3), level, numpy.uint8), PixelFormat(3))
    assert (resample_picture(network, source, Target(scale=scale)).levels == level).all()


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (Target(scale=2.7), (54, 81)),
        (Target(scale=0.01), (1, 1)),
        (Target(width=15), (10, 15)),
        (Target(height=10), (10, 15)),
        (Target(size=(9, 70)), (9, 70)),
        (Target(size=(9, 70), region=(2, 3, 5, 70)), (3, 67)),
    ],
)
def test_sizes(network, target, size):
    assert resample_picture(network, picture(3), target).size == size


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1)])
def test_a_picture_one_pixel_wide(network, size):
    assert resample_picture(network, picture(4, size=size), Target(scale=3)).size == (3 * size[0], 3 * size[1])


def test_what_is_hidden_has_no_colour_and_opaque_stays_opaque(network):
    levels = numpy.zeros((16, 24, 4), numpy.uint8)
    levels[:, :12] = (200, 100, 50, 255)
    levels[:, 12:] = (0, 255, 0, 0)  # Green that nobody sees.
    made = resample_picture(network, Picture(levels, PixelFormat(4)), Target(scale=4)).levels.astype(int)
    assert (made[:, :44, 3] == 255).all() and (made[:, 52:, 3] == 0).all()
    shown = made[made[..., 3] > 0]
    assert abs(shown[:, :3] - (200, 100, 50)).max() < 30
    other = numpy.where(levels[..., 3:] == 0, numpy.array([9, 9, 9, 0]), levels).astype(numpy.uint8)
    again = resample_picture(network, Picture(other, PixelFormat(4)), Target(scale=4))
    assert numpy.array_equal(again.levels, made)


def test_a_picture_said_to_be_transparent_that_is_not(network):
    opaque = picture(3)
    full = Picture(numpy.concatenate([opaque.levels, numpy.full((20, 30, 1), 255, numpy.uint8)], -1), PixelFormat(4))
    one, other = (resample_picture(network, each, Target(scale=2)).levels for each in (opaque, full))
    assert numpy.array_equal(other[..., :3], one) and (other[..., 3] == 255).all()


def test_a_field_gives_any_region(network):
    field = field_of(network, picture(4))
    with torch.inference_mode():
        whole = field.render((40, 60))
        assert torch.equal(field.render((40, 60), (3, 5, 17, 59)), whole[:, :, 3:17, 5:59])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "none is given; give one of --scale, --size, --width and --height"),
        ({"scale": 2.0, "width": 9}, "--scale and --width is given"),
        ({"scale": 0.0}, "scale is 0.0; it must be"),
        ({"scale": -1.0}, "scale is -1.0; it must be"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"height": -4}, "height is -4"),
    ],
)
def test_targets_that_are_none(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Target(**arguments)


@pytest.mark.parametrize("scale", [1e9, 1e300])
@pytest.mark.parametrize("name", ["one.png", "one.jpg", "one.tif"])
def test_a_scale_that_nothing_holds(network, tmp_path, scale, name):
    Image.new("RGB", (4, 3)).save(tmp_path / "small.png")
    with pytest.raises(InputError):
        resample_file(network, tmp_path / "small.png", tmp_path / name, Target(scale=scale))
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_files_keep_profile_and_transparency_and_fill_it_where_asked(network, tmp_path):
    Image.new("RGBA", (8, 6), (250, 0, 0, 0)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="cannot hold the picture's transparency"):
        resample_file(network, tmp_path / "one.png", tmp_path / "two.jpg", Target(scale=2))
    assert not (tmp_path / "two.jpg").exists()
    assert resample_file(network, tmp_path / "one.png", tmp_path / "two.jpg", Target(scale=2), background=128) == (
        12,
        16,
    )
    assert abs(read_picture(tmp_path / "two.jpg").levels.astype(int) - 128).max() < 12


def touch(*paths):
    for path in paths:
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 3)).save(path)


def test_where_outputs_go(tmp_path):
    photo, other, drawing = tmp_path / "photo.jpg", tmp_path / "all" / "b" / "x.JPG", tmp_path / "all" / "c.gif"
    touch(photo, other, drawing)
    (tmp_path / "all" / "notes.txt").write_text("no picture")
    out = tmp_path / "all" / "out"
    touch(out / "old.png")

    def outputs(inputs, output, **target):
        jobs, left_out = jobs_for(inputs, output, Target(**target or {"scale": 2.5}))
        return [str(job.output.relative_to(tmp_path)) for job in jobs], left_out

    assert outputs([photo], None) == (["photo-2.5x.jpg"], 0)
    assert outputs([photo], None, size=(30, 20)) == (["photo-30x20.jpg"], 0)
    assert outputs([drawing], None, width=30) == (["all/c-30w.png"], 0)
    assert outputs([photo], tmp_path / "big.png") == (["big.png"], 0)
    assert outputs([photo], out) == (["all/out/photo.jpg"], 0)
    assert outputs([photo, drawing], tmp_path / "v1.2") == (["v1.2/photo.jpg", "v1.2/c.png"], 0)
    assert outputs([photo, tmp_path / "all"], out) == (["all/out/photo.jpg", "all/out/b/x.JPG", "all/out/c.png"], 1)


def test_outputs_that_are_refused(tmp_path):
    photo, twin, other = tmp_path / "photo.png", tmp_path / "b" / "photo.gif", tmp_path / "b" / "other.png"
    touch(photo, twin, other)
    (tmp_path / "empty").mkdir()
    for inputs, output, sentence in (
        ([photo], photo, "is a picture that is given"),
        ([photo], tmp_path, "is a picture that is given"),
        ([photo, twin], None, "no output is given for several pictures"),
        ([tmp_path / "b"], tmp_path / "one.png", "one file, is given for several"),
        ([photo, twin], tmp_path / "out", "would both be"),
        ([tmp_path / "missing.png"], None, "missing.png is not a file or a folder"),
        ([tmp_path / "empty"], tmp_path / "out", "holds no pictures"),
    ):
        with pytest.raises(InputError, match=sentence):
            jobs_for(inputs, output, Target(scale=2))


def run(folder, made, resume=False, **settings):
    def resample(job):
        if "bad" in job.source.name:
            raise InputError(f"{job.source} cannot be read")
        made.append(job.source.name)
        touch(job.output)

    jobs, _ = jobs_for([folder / "in"], folder / "out", Target(scale=2))
    return resample_files(jobs, resample, folder / "out", {"scale": 2} | settings, resume, unseen)


def test_a_bad_file_among_many_is_told_at_the_end(tmp_path):
    touch(*(tmp_path / "in" / f"{name}.png" for name in ("a", "bad", "c")))
    made = []
    count, failures = run(tmp_path, made)
    assert (count, made) == (2, ["a.png", "c.png"]) and failures == [f"{tmp_path / 'in' / 'bad.png'} cannot be read"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "resample.json"]
    assert json.loads((tmp_path / "out" / "resample.json").read_text()) == {"scale": 2}


def test_resuming_makes_what_is_missing_or_older_than_its_picture(tmp_path):
    touch(*(tmp_path / "in" / f"{name}.png" for name in "abc"))
    made = []
    run(tmp_path, made)
    (tmp_path / "out" / "b.png").unlink()
    os.utime(tmp_path / "in" / "c.png", (2**31, 2**31))
    made.clear()
    assert run(tmp_path, made, resume=True) == (2, []) and made == ["b.png", "c.png"]
    made.clear()
    assert run(tmp_path, made) == (3, [])
    with pytest.raises(InputError, match="scale is 3; what .*out holds was made with 2"):
        run(tmp_path, made, scale=3)


def test_files_of_others_are_not_replaced(tmp_path):
    touch(tmp_path / "in" / "a.png", tmp_path / "out" / "a.png")
    with pytest.raises(InputError, match=r"a\.png is there and .*out has no record"):
        run(tmp_path, [])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_upscale_takes_and_returns_pillow_images(network, monkeypatch, mode):
    monkeypatch.setattr(resampling, "_bundled", lambda: network)
    image = (
        Image.new("I;16", (8, 6), 30000) if mode == "I;16" else Image.linear_gradient("L").resize((8, 6)).convert(mode)
    )
    image.info["icc_profile"] = None
    made = r2id.upscale(image, 2.5)
    assert made.size == (20, 15) and made.mode == {"1": "L", "P": "RGB"}.get(mode, mode)
    for bad in (0, -1, float("nan")):
        with pytest.raises(InputError, match="scale is"):
            r2id.upscale(image, bad)


def stored(path, levels, **options):
    colours = "rgb" if levels.shape[-1] > 2 else "minisblack"
    alpha = ["unassalpha"] if levels.shape[-1] % 2 == 0 else None
    levels = levels[..., 0] if levels.shape[-1] == 1 else levels
    tifffile.imwrite(path, levels, photometric=colours, extrasamples=alpha, metadata=None, **options)
    return path


LAYOUTS = [{"tile": (16, 32)}, {"rowsperstrip": 7}, {"tile": (32, 16), "compression": "zlib"}]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["tiles", "strips", "deflated tiles"])
def test_a_region_of_a_large_tiff_is_read_as_in_the_whole(tmp_path, channels, depth, layout):
    whole = picture(channels, depth, (50, 75)).levels
    large = LargePicture(stored(tmp_path / "large.tif", whole, **layout))
    assert large.size == (50, 75) and replace(large.form, exif=None) == PixelFormat(channels, depth)
    for region in ((0, 0, 50, 75), (3, 40, 50, 41), (16, 32, 32, 64), (49, 74, 50, 75)):
        assert numpy.array_equal(large.levels(region), whole[region[0] : region[2], region[1] : region[3]])


def test_tiles_read_last_are_kept_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("r2id.files.large_reader.KEPT_BYTES", 3 * 16 * 32 * 3)
    large = LargePicture(stored(tmp_path / "large.tif", picture(3, 8, (64, 64)).levels, tile=(16, 32)))
    decoded = []
    decode = large._page.decode
    monkeypatch.setattr(large._page, "decode", lambda data, index: decoded.append(index) or decode(data, index))
    for _ in range(3):
        large.levels((16, 0, 32, 64))
    assert decoded == [2, 3]
    large.levels((0, 0, 64, 64))
    assert len(large._kept) == 3


def test_a_large_tiff_that_is_cut_is_named(tmp_path):
    path = stored(tmp_path / "large.tif", picture(3, 8, (64, 64)).levels, tile=(16, 32))
    os.truncate(path, path.stat().st_size - 9)
    with pytest.raises(InputError, match=r"large\.tif cannot be read .*truncated"):
        LargePicture(path).levels((0, 0, 64, 64))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_tiles_give_what_the_whole_gives(network, tmp_path, monkeypatch, channels, depth, suffix):
    source = stored(tmp_path / "source.tif", picture(channels, depth, (45, 35)).levels, tile=(16, 32))
    target, part = Target(size=(290, 270)), Target(size=(290, 270), region=(100, 17, 280, 260))
    whole = tmp_path / f"whole{suffix}"
    resample_file(network, source, whole, target)
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    for name, one in (("tiles", target), ("part", part)):
        assert resample_file(network, source, tmp_path / f"{name}{suffix}", one) == (
            (290, 270) if name == "tiles" else (180, 243)
        )
    expected = read_picture(whole)
    for name, levels in (("tiles", expected.levels), ("part", expected.levels[100:280, 17:260])):
        made = read_picture(tmp_path / f"{name}{suffix}")
        assert numpy.array_equal(made.levels, levels)
        assert (made.form.channels, made.form.depth) == (channels, depth)


@pytest.mark.parametrize("tile", [32, 64, 256])
@pytest.mark.parametrize("block", [8, 20, 96])
def test_no_block_is_decoded_twice(network, tmp_path, monkeypatch, tile, block):
    for module in ("geometry.tiles", "fields.cell_field", "files.large_writer"):
        monkeypatch.setattr(f"r2id.{module}.TILE", tile)
    monkeypatch.setattr("r2id.fields.cell_field.BLOCK", block)
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    source = stored(tmp_path / "source.tif", picture(3, 8, (70, 90)).levels, tile=(16, 32))
    decoded = []
    decode = network.decoder.forward
    monkeypatch.setattr(network.decoder, "forward", lambda *one: decoded.append(one[1]) or decode(*one))
    target = Target(size=(260, 300), region=(30, 10, 250, 300))
    resample_file(network, source, tmp_path / "tiles.tif", target)
    assert len(decoded) == len(set(decoded))
    expected = render(field_of(network, read_picture(source)), Target(size=(260, 300))).levels[30:250, 10:300]
    assert abs(read_picture(tmp_path / "tiles.tif").levels.astype(int) - expected).max() <= 1


def test_a_large_jpeg_is_made_in_memory(network, tmp_path, monkeypatch):
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    Image.linear_gradient("L").resize((20, 16)).save(tmp_path / "one.png")
    assert resample_file(network, tmp_path / "one.png", tmp_path / "two.jpg", Target(scale=2)) == (32, 40)


def test_a_large_picture_keeps_profile_and_exif(network, tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[Base.Make] = "A camera"
    Image.new("RGB", (20, 16)).save(tmp_path / "one.png", icc_profile=linear_rgb_profile(), exif=exif)
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    resample_file(network, tmp_path / "one.png", tmp_path / "two.png", Target(scale=2))
    resample_file(network, tmp_path / "one.png", tmp_path / "two.tif", Target(scale=2))
    assert read_picture(tmp_path / "two.png").form == read_picture(tmp_path / "one.png").form
    assert read_picture(tmp_path / "two.tif").form == read_picture(tmp_path / "one.png").form


@pytest.mark.parametrize(("image", "scale", "named"), [("photo.jpg", 2, "str"), (Image.new("RGB", (4, 4)), "2", "'2'")])
def test_what_upscale_cannot_take_is_named(image, scale, named):
    with pytest.raises(InputError, match=named):
        r2id.upscale(image, scale)
