"""Pictures in tiles: the same as in memory, resumable, and refused in a sentence."""

import errno
import os
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
import tifffile
import torch
from PIL import Image

from colour_profiles import linear_grey_profile, linear_rgb_profile
from r2id.batch.one_picture import encode_file
from r2id.errors import InputError
from r2id.files.images import as_levels, is_large, read_image
from r2id.files.large_reader import LargeImage, fits_at_once, tiff_size
from r2id.files.large_writer import check_output, write_large
from r2id.files.pictures import PixelFormat
from r2id.runtime.progress import unseen

SIZE = (300, 530)
IDENTITY = {"latent": 7}


class Interrupted(Exception):
    pass


def interrupt_after(tiles, interruption=Interrupted):
    """A progress bar that fails once so many tiles are done."""

    @contextmanager
    def progress(total, title, done=0):
        def advance(count):
            nonlocal done
            done += count
            if done == tiles:
                raise interruption

        advance(0)
        yield advance

    return progress


@pytest.fixture(params=[1, 3], ids=["grey", "RGB"])
def field(request, make_resampler):
    resampler = make_resampler(image_channels=request.param)
    latent = torch.rand(1, resampler.config.latent_channels, 3, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        return resampler.field(latent, SIZE)


def expected(field, region=None):
    with torch.inference_mode():
        return as_levels(field.render(SIZE, region)[0])


def pixels_of(path):
    image = numpy.array(Image.open(path))
    return image[..., None] if image.ndim == 2 else image


@pytest.mark.parametrize("suffix", [".tif", ".png"])
class TestWriting:
    @pytest.mark.parametrize("region", [None, (10, 20, 290, 529), (0, 0, 3, 2)])
    def test_the_file_holds_the_picture_as_in_memory(self, field, tmp_path, suffix, region):
        path = tmp_path / "new" / f"big{suffix}"
        write_large(field, SIZE, region, path, IDENTITY, unseen)
        written, rendered = pixels_of(path), expected(field, region)
        assert written.shape == rendered.shape and written.dtype == numpy.uint8
        assert numpy.abs(written.astype(int) - rendered).max() <= 1
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_an_interrupted_picture_goes_on_after_its_last_tile(self, field, tmp_path, suffix, monkeypatch):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(4))
        assert not path.exists()
        regions = []
        render = field.render
        monkeypatch.setattr(field, "render", lambda size, region: regions.append(region) or render(size, region))
        write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert regions == [(256, 256, 300, 512), (256, 512, 300, 530)]
        assert numpy.abs(pixels_of(path).astype(int) - expected(field)).max() <= 1

    @pytest.mark.parametrize(
        ("size", "region", "identity", "differs"),
        [
            ((300, 531), None, IDENTITY, "size is 300x531; .* begun with 300x530"),
            (SIZE, (0, 0, 300, 529), IDENTITY, "region is .0, 0, 300, 529.; .* begun with .0, 0, 300, 530."),
            (SIZE, None, {"latent": 8}, "latent is 8; .* begun with 7"),
            (SIZE, None, {"latent": 7, "precision": "bf16"}, "precision is bf16; .* begun with None"),
        ],
        ids=["size", "region", "latent", "precision"],
    )
    def test_tiles_of_another_picture_are_kept_and_not_gone_on_with(
        self, field, tmp_path, suffix, size, region, identity, differs
    ):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(2))
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(InputError, match=f"^{differs}; remove it to begin anew"):
            write_large(field, size, region, path, identity, unseen)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    def test_too_little_disk_space_is_said_before_a_tile_is_made(self, field, tmp_path, suffix, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
        with pytest.raises(InputError, match="needs 0.0 GiB of disk space .* 0.0 GiB are free"):
            write_large(field, SIZE, None, tmp_path / f"big{suffix}", IDENTITY, unseen)
        assert not list(tmp_path.iterdir())

    def test_a_picture_that_does_not_compress_has_room_beside_its_tiles(self, field, tmp_path, suffix, monkeypatch):
        path, tiles = tmp_path / f"big{suffix}", 6 * 256 * 256 * field.channels
        noise = torch.rand(1, field.channels, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
        monkeypatch.setattr(field, "render", lambda size, at: noise[:, :, at[0] : at[2], at[1] : at[3]])
        write_large(field, SIZE, None, path, IDENTITY, unseen)
        largest = tiles + (path.stat().st_size if suffix == ".png" else 0)
        path.unlink()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, largest - 1))
        with pytest.raises(InputError, match="needs 0.0 GiB"):
            write_large(field, SIZE, None, path, IDENTITY, unseen)
        enough = int(largest * 1.02)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, enough))
        write_large(field, SIZE, None, path, IDENTITY, unseen)

    def test_the_space_of_all_tiles_is_taken_before_the_first(self, field, tmp_path, suffix):
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, tmp_path / f"big{suffix}", IDENTITY, interrupt_after(1))
        taken = (tmp_path / f".big{suffix}.partial").stat()
        assert taken.st_blocks * 512 >= 6 * 256 * 256 * field.channels

    @pytest.mark.parametrize("at", ["tile", "note"])
    def test_a_disk_that_fills_up_keeps_the_tiles(self, field, tmp_path, suffix, monkeypatch, at):
        path, writes = tmp_path / f"big{suffix}", []
        method = ("open", "write_text")[at == "note"]
        write = getattr(Path, method)

        def full(file, *arguments, **options):
            # Room for a third of the tiles, after what reserves or begins the file.
            writes.extend([file] if arguments == ("r+b",) or at == "note" else [])
            if len(writes) > 3:
                raise OSError(errno.ENOSPC, "No space left on device", str(file))
            return write(file, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, method, full)
            with pytest.raises(OSError, match="No space left on device; 2 of 6 tiles are kept") as error:
                write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert error.value.filename == str(path)
        assert sorted(file.name for file in tmp_path.iterdir()) == [
            f".{path.name}.partial",
            f".{path.name}.partial.json",
        ]
        write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert numpy.abs(pixels_of(path).astype(int) - expected(field)).max() <= 1

    @pytest.mark.parametrize("tiles", [0, 4, 6])
    def test_ctrl_c_says_what_is_kept(self, field, tmp_path, suffix, monkeypatch, tiles):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(KeyboardInterrupt, match=f"stopped after tile {tiles} of 6; the same command goes on"):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(tiles, KeyboardInterrupt))
        write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert numpy.abs(pixels_of(path).astype(int) - expected(field)).max() <= 1

    def test_a_file_that_cannot_grow_is_named(self, field, tmp_path, suffix):
        path, limits = tmp_path / f"big{suffix}", resource.getrlimit(resource.RLIMIT_FSIZE)
        # Room for half of the tiles, all of which are reserved in the beginning.
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 256 * 256 * field.channels, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as error:
                write_large(field, SIZE, None, path, IDENTITY, unseen)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert error.value.filename == str(path) and not list(tmp_path.iterdir())

    def test_a_second_writer_is_refused_while_the_first_writes(self, field, tmp_path, suffix, monkeypatch):
        path, render = tmp_path / f"big{suffix}", field.render

        def second(size, region):
            monkeypatch.setattr(field, "render", render)
            with pytest.raises(InputError, match=f"another process is writing {path}"):
                write_large(field, SIZE, None, path, IDENTITY, unseen)
            return render(size, region)

        monkeypatch.setattr(field, "render", second)
        write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_a_damaged_note_of_the_progress_is_named(self, field, tmp_path, suffix):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(2))
        (tmp_path / f".big{suffix}.partial.json").write_text("{")
        with pytest.raises(InputError, match="is damaged .* remove it"):
            write_large(field, SIZE, None, path, IDENTITY, unseen)

    @pytest.mark.parametrize(
        ("damage", "why"),
        [
            (lambda file: file.write_bytes(b"garbage" * 100), "not a TIFF"),
            (lambda file: file.write_bytes(b""), ""),
            (lambda file: os.truncate(file, file.stat().st_size - 1), "bytes"),
            (lambda file: os.truncate(file, file.stat().st_size + 1), "bytes"),
            (lambda file: os.truncate(file, 100), ""),
            (lambda file: tifffile.imwrite(file, numpy.zeros((300, 530), numpy.uint8)), "its . tiles are not the 6 of"),
            (lambda file: tifffile.imwrite(file, numpy.zeros((9, 9), numpy.uint8), tile=(256, 256)), "not the 6 of"),
        ],
        ids=["garbage", "empty", "cut", "lengthened", "cut to its head", "not tiled", "of another size"],
    )
    def test_damaged_tiles_are_named(self, field, tmp_path, suffix, damage, why):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(2))
        damage(tmp_path / f".big{suffix}.partial")
        with pytest.raises(InputError, match=rf"\.big{suffix}\.partial is damaged \(.*{why}.*\); remove it") as error:
            write_large(field, SIZE, None, path, IDENTITY, unseen)
        assert "\n" not in str(error.value)
        (tmp_path / f".big{suffix}.partial").unlink()
        write_large(field, SIZE, None, path, IDENTITY, unseen)

    @pytest.mark.parametrize("done", [-1, 7])
    def test_more_tiles_than_there_are_are_not_believed(self, field, tmp_path, suffix, done):
        path = tmp_path / f"big{suffix}"
        with pytest.raises(Interrupted):
            write_large(field, SIZE, None, path, IDENTITY, interrupt_after(2))
        note = tmp_path / f".big{suffix}.partial.json"
        note.write_text(note.read_text().replace('"done": 2', f'"done": {done}'))
        with pytest.raises(InputError, match=f"is damaged .{done} of 6 tiles are said to be done.; remove it"):
            write_large(field, SIZE, None, path, IDENTITY, unseen)

    def test_a_size_over_the_limit_of_the_format_is_refused(self, field, tmp_path, suffix):
        with pytest.raises(InputError, match="over the limit"):
            write_large(field, (1, 2**31), None, tmp_path / f"big{suffix}", IDENTITY, unseen)


def test_what_would_not_be_written_is_refused_before(tmp_path, monkeypatch):
    monkeypatch.setattr("r2id.files.images.LARGE", 100)
    (tmp_path / "folder.tif").mkdir()
    check_output(tmp_path / "new" / "big.tif", SIZE, PixelFormat(3))
    for name, size, sentence in (
        ("folder.tif", SIZE, "is a folder"),
        ("folder.tif", (9, 9), "is a folder"),
        ("big.jpg", SIZE, "needs .tif or .png"),
        ("big.tif", (1, 2**31), "over the limit of .tif"),
        ("big.png", (2**31 - 1, 2**31 - 1), "GiB of disk space"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_output(tmp_path / name, size, PixelFormat(3))
    assert [file.name for file in tmp_path.iterdir()] == ["folder.tif"]


def test_other_types_cannot_be_written_in_tiles(field, tmp_path):
    with pytest.raises(InputError, match="needs .tif or .png"):
        write_large(field, SIZE, None, tmp_path / "big.jpg", IDENTITY, unseen)


def test_a_written_tiff_is_a_tiled_bigtiff(field, tmp_path):
    write_large(field, SIZE, None, tmp_path / "big.tif", IDENTITY, unseen)
    with tifffile.TiffFile(tmp_path / "big.tif") as file:
        assert file.is_bigtiff and file.pages.first.is_tiled and tiff_size(tmp_path / "big.tif") == SIZE


NOISE = numpy.random.default_rng(0).integers(0, 256, (70, 90, 4), dtype=numpy.uint8)


class TestReading:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(
        ("levels", "options"),
        [
            (NOISE[..., 0], {"tile": (32, 16)}),
            (NOISE[..., 0], {"tile": (32, 16), "compression": "zlib"}),
            (NOISE[..., 0], {"rowsperstrip": 9}),
            (NOISE[..., 0].astype(numpy.uint16) * 257, {"tile": (32, 16)}),
            (NOISE[..., :3], {"tile": (32, 16), "photometric": "rgb"}),
            (NOISE, {"tile": (32, 16), "photometric": "rgb", "extrasamples": ["unassalpha"]}),
            (NOISE[..., :2], {"tile": (32, 16), "photometric": "miniswhite", "extrasamples": ["unassalpha"]}),
        ],
        ids=["grey", "compressed", "strips", "16 bits", "RGB", "transparent", "white is 0"],
    )
    def test_its_pieces_are_the_image(self, tmp_path, levels, options, channels, monkeypatch):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, levels, **options)
        monkeypatch.setattr("r2id.files.large_reader.CHUNK_PIXELS", 64)
        image = LargeImage(path, channels, background=40)
        whole = torch.full((channels, *image.size), torch.nan)
        advanced = []
        for rows, columns, pixels in image.chunks(advanced.append):
            assert whole[:, rows, columns].isnan().all()
            whole[:, rows, columns] = pixels[0]
        assert sum(advanced) == 70 * 90
        together = read_image(path, channels=channels, background=40)
        assert torch.equal(((whole + 1) * 127.5).round().to(torch.uint8), together)

    @pytest.mark.parametrize("kind", ["RGB", "transparent", "16 bits", "grey"])
    def test_its_levels_mean_what_the_colour_profile_says(self, tmp_path, kind, monkeypatch):
        levels, options, profile = {
            "RGB": (NOISE[..., :3], {"photometric": "rgb"}, linear_rgb_profile()),
            "transparent": (NOISE, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, linear_rgb_profile()),
            "16 bits": (NOISE[..., :3].astype(numpy.uint16) * 257, {"photometric": "rgb"}, linear_rgb_profile()),
            "grey": (NOISE[..., 0], {}, linear_grey_profile()),
        }[kind]
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, levels, iccprofile=profile, tile=(32, 16), **options)
        image = LargeImage(path, 3, background=40)
        whole = torch.full((3, *image.size), torch.nan)
        for rows, columns, pixels in image.chunks(lambda count: None):
            whole[:, rows, columns] = pixels[0]
        together = read_image(path, channels=3, background=40)
        assert torch.equal(((whole + 1) * 127.5).round().to(torch.uint8), together)
        tifffile.imwrite(path, levels, tile=(32, 16), **options)
        assert not torch.equal(together, read_image(path, channels=3, background=40))

    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_one_that_is_to_be_turned_is_read_at_once(self, tmp_path, orientation, monkeypatch):
        path = tmp_path / "image.tif"
        note = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, NOISE[..., :3], photometric="rgb", tile=(32, 16), extratags=note)
        size = tuple(read_image(path, channels=3).shape[1:])
        assert tiff_size(path) == size and fits_at_once(path, size)
        with pytest.raises(InputError, match="give a TIFF of .*, upright"):
            LargeImage(path, 3)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "palette"])
    def test_what_tiles_cannot_be_read_of_is_read_at_once(self, tmp_path, compression, make_resampler, monkeypatch):
        path, whole = tmp_path / "image.tif", tmp_path / "image.png"
        if compression == "palette":
            Image.fromarray(NOISE[..., :3]).quantize(16).save(path)
        else:
            Image.fromarray(NOISE[..., :3]).save(path, compression=compression)
        monkeypatch.setattr("r2id.files.images.LARGE", 100)
        Image.open(path).convert("RGB").save(whole)
        resampler = make_resampler(image_channels=3)
        with torch.inference_mode():
            one, other = (encode_file(resampler, file, (3, 4)) for file in (path, whole))
        assert torch.equal(one.values, other.values)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(InputError, match="image.tif is too large to be read at once"):
            encode_file(resampler, path, (3, 4))

    @pytest.mark.parametrize(
        ("levels", "options"),
        [(NOISE[..., 0].astype(numpy.float32), {}), (NOISE, {"photometric": "separated"})],
        ids=["floating point", "CMYK"],
    )
    def test_other_pixels_are_refused(self, tmp_path, levels, options):
        tifffile.imwrite(tmp_path / "image.tif", levels, **options)
        with pytest.raises(InputError, match="give a TIFF of grey or RGB pixels of 8 or 16 bits"):
            LargeImage(tmp_path / "image.tif", 1)

    def test_pieces_that_are_large_themselves_are_refused(self, tmp_path, monkeypatch):
        tifffile.imwrite(tmp_path / "image.tif", NOISE[..., 0])
        monkeypatch.setattr("r2id.files.large_reader.LARGEST_CHUNK", 1000)
        with pytest.raises(InputError, match="chunks of 6300 pixels; they must have at most 1000"):
            LargeImage(tmp_path / "image.tif", 1)

    def test_a_truncated_file_is_named(self, tmp_path):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, NOISE[..., 0], tile=(32, 16), compression="zlib")
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(InputError, match="image.tif cannot be read"):
            list(LargeImage(path, 1).chunks(lambda count: None))

    def test_what_is_no_tiff_has_no_tiff_size(self, tmp_path):
        (tmp_path / "image.tif").write_bytes(b"hello")
        assert tiff_size(tmp_path / "image.tif") is None and tiff_size(tmp_path / "image.png") is None


def test_large_begins_above_the_limit():
    assert is_large((4097, 4096)) and not is_large((4096, 4096))
