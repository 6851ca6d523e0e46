"""Loading images: every kind of source, every way in which one can be wrong."""

import gzip
import json
import tempfile
from pathlib import Path

import datasets
import numpy
import pytest
import torch
from PIL import Image

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images, load_sizes
from r2id.data.pixels import map_pixels
from r2id.errors import InputError
from r2id.files.images import read_image
from r2id.geometry.sizes import alike_size, in_proportion

FIXTURES = Path(__file__).parent.parent / "fixtures"
DIGITS = FIXTURES / "digits"
EMOJI = FIXTURES / "emoji"


def picture(colour: int | tuple[int, ...], size: tuple[int, int] = (5, 4), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def idx(values: numpy.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.astype(numpy.uint8).tobytes()


def write_idx(folder: Path, images: numpy.ndarray, labels: numpy.ndarray | None = None) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    if labels is not None:
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))


class TestImageDataset:
    def test_batch_spans_minus_one_to_one(self):
        images = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(3, 1, 1, 1)
        dataset = ImageDataset(images, None, (), None, "three pixels")
        assert len(dataset) == 3
        for indices in ([0, 1, 2], torch.tensor([0, 1, 2]), slice(None)):
            batch = dataset.batch(indices)
            assert batch.dtype == torch.float32
            torch.testing.assert_close(batch.flatten(), torch.tensor([-1.0, 1.0, -0.6]))
        assert dataset.batch([2, 0]).shape == (2, 1, 1, 1)

    def test_some_are_always_the_same_from_all_over_with_what_belongs_to_them(self):
        numbers = torch.arange(200)
        images = numbers.to(torch.uint8).reshape(200, 1, 1, 1)
        dataset = ImageDataset(images, numbers, (), tuple(map(str, range(200))), "numbers")
        some = dataset.some(20)
        assert len(some) == 20 and torch.equal(some.labels, dataset.some(20).labels)
        assert some.images.flatten().tolist() == some.labels.tolist() == [int(text) for text in some.captions]
        assert some.labels.min() < 50 and some.labels.max() > 150 and len(some.labels.unique()) == 20
        assert dataset.some(500) is dataset


class TestSizes:
    @pytest.fixture
    def mixed(self, tmp_path) -> Path:
        """Tall, wide and nearly as wide pictures, each with its number as its grey level, caption and label."""
        rows = []
        for index, size in enumerate([(20, 40), (64, 32), (30, 60), (66, 32), (128, 64)]):
            save(picture(index, size, "L"), tmp_path / f"{index}.png")
            rows.append({"file_name": f"{index}.png", "text": str(index), "label": index})
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return tmp_path

    def test_images_of_several_sizes_are_a_data_set_for_each(self, mixed):
        sets = load_sizes(mixed)
        assert [len(data) for data in sets] == [1] * 5
        sets = load_sizes(mixed, image_size=(32, 32), keep_proportions=True)
        assert [tuple(data.images.shape) for data in sets] == [(3, 1, 22, 46), (2, 1, 46, 22)]
        for data in sets:
            assert data.images[:, 0, 5, 5].tolist() == data.labels.tolist() == [int(text) for text in data.captions]
            assert data.label_names == tuple("01234") and "5 images of 2 sizes" in data.source

    def test_one_size_is_as_load_images_has_it(self):
        (data,) = load_sizes(EMOJI, image_size=(9, 7), keep_proportions=False)
        assert torch.equal(data.images, load_images(EMOJI, image_size=(9, 7)).images)

    def test_proportions_need_a_size_to_keep_to(self, mixed):
        with pytest.raises(InputError, match="keep_proportions is on and image_size is None"):
            load_sizes(mixed, keep_proportions=True)

    @pytest.mark.parametrize("size", [(32, 32), (100, 37), (37, 100), (3000, 2000), (5, 4), (1, 40)])
    def test_alike_sizes_have_the_proportions_and_the_pixels(self, size):
        height, width = alike_size(size, (64, 64))
        assert height % 4 == width % 4 == 0
        if max(size) < 10 * min(size):
            assert height * width == pytest.approx(64 * 64, rel=0.15)
            assert height / width == pytest.approx(size[0] / size[1], rel=0.15)

    def test_workers_and_files_change_nothing(self, mixed, tmp_path_factory):
        for options in ({}, {"image_size": (32, 32), "keep_proportions": True}, {"channels": 3}):
            save(picture((7, 8, 9), (20, 40)), mixed / "5.png")
            (mixed / "metadata.jsonl").unlink(missing_ok=True)
            path = tmp_path_factory.mktemp("pixels") / "pixels"
            alone, helped, kept = (
                load_sizes(mixed, **options, **more) for more in ({}, {"num_workers": 3}, {"pixels": path})
            )
            again = map_pixels(path, [tuple(data.images.shape) for data in kept])
            assert [path.name for path in path.parent.iterdir()] == ["pixels"]
            for one, two, three, four in zip(alone, helped, kept, again, strict=True):
                assert all(torch.equal(one.images, other) for other in (two.images, three.images, four))
                assert one.images.shape[1] == 3

    def test_a_full_disk_is_named(self, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", "/dev/full/no")
        with pytest.raises(InputError, match="the pixels cannot be kept in /dev/full/no .*set TMPDIR"):
            load_sizes(DIGITS)

    def test_a_grid_in_proportion_is_as_dense(self):
        assert in_proportion((16, 16), (90, 160)) == (12, 21)
        assert in_proportion((8, 12), (32, 32)) == (8, 12)
        assert in_proportion((1, 1), (1, 100)) == (1, 10)


class TestIdxFiles:
    def test_train_and_test_digits(self):
        train, test = load_images(DIGITS), load_images(str(DIGITS), "test")
        assert train.images.shape == (400, 1, 28, 28) and test.images.shape == (200, 1, 28, 28)
        assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
        assert train.labels[:6].tolist() == [5, 0, 4, 1, 9, 2] and test.labels[:4].tolist() == [7, 2, 1, 0]
        assert train.label_names == tuple("0123456789") and train.captions is None
        assert train.source == "MNIST-style IDX files digits, split train, 400 images"
        assert train.images[0].float().mean().round() == 35

    def test_resized_digits_stay_grey_and_alike(self):
        small, large = load_images(DIGITS, limit=20), load_images(DIGITS, image_size=(32, 40), limit=20)
        assert large.images.shape == (20, 1, 32, 40)
        expected = Image.fromarray(small.images[3, 0].numpy()).resize((40, 32), Image.Resampling.BICUBIC)
        assert numpy.array_equal(large.images[3, 0].numpy(), numpy.asarray(expected))

    def test_limit_cuts_labels_but_not_their_names(self):
        dataset = load_images(DIGITS, limit=3)
        assert len(dataset) == len(dataset.labels) == 3 and len(dataset.label_names) == 10
        assert "3 images" in dataset.source

    def test_three_channels_repeat_the_grey(self):
        images = load_images(DIGITS, channels=3, limit=2).images
        assert images.shape == (2, 3, 28, 28) and torch.equal(images[:, 0], images[:, 2])

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_names_with_dots_and_without_gzip(self, tmp_path, suffix):
        pack = gzip.compress if suffix else bytes
        images = numpy.arange(24).reshape(2, 3, 4)
        (tmp_path / f"train-images.idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
        (tmp_path / f"train-labels.idx1-ubyte{suffix}").write_bytes(pack(idx(numpy.array([2, 0]))))
        dataset = load_images(tmp_path)
        assert numpy.array_equal(dataset.images[:, 0].numpy(), images)
        assert dataset.labels.tolist() == [2, 0] and dataset.label_names == ("0", "1", "2")

    def test_without_labels(self, tmp_path):
        write_idx(tmp_path, numpy.zeros((2, 3, 4)))
        dataset = load_images(tmp_path)
        assert dataset.labels is None and dataset.label_names == ()

    def test_missing_split_names_the_one_there_is(self, tmp_path):
        write_idx(tmp_path, numpy.zeros((2, 3, 4)))
        with pytest.raises(InputError, match=r"no split 'test'; choose from 'train'\."):
            load_images(tmp_path, "test")
        with pytest.raises(InputError, match="no split 'validation'; choose from 'train', 'test'"):
            load_images(DIGITS, "validation")

    def test_labels_that_do_not_match(self, tmp_path):
        write_idx(tmp_path, numpy.zeros((2, 3, 4)), numpy.zeros(3))
        with pytest.raises(InputError, match="3 labels and train-images-idx3-ubyte holds 2 images"):
            load_images(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (idx(numpy.zeros(5)), "starts with the number 0x00000801; it must be 0x00000803"),
            (idx(numpy.zeros((2, 3, 4)))[:-1], "holds 23 values; its header promises 2x3x4"),
            (idx(numpy.zeros((2, 3, 4))) + b"0", "holds 25 values; its header promises 2x3x4"),
            (idx(numpy.zeros((2, 3, 4)))[:10], "holds 10 bytes; give an IDX file"),
            (
                bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"0",
                "its header promises 4294967295x4294967295x4294967295",
            ),
            (idx(numpy.zeros((0, 3, 4))), "has the size 0x3x4"),
        ],
        ids=["magic", "truncated", "too long", "header only", "huge", "empty"],
    )
    def test_broken_file(self, tmp_path, content, message):
        file = tmp_path / "train-images-idx3-ubyte"
        file.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_images(tmp_path)
        assert str(file) in str(caught.value)

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip"])
    def test_corrupt_gzip(self, tmp_path, damage):
        whole = gzip.compress(idx(numpy.arange(240).reshape(2, 10, 12)))
        damaged = {
            "truncated": whole[: len(whole) // 2],
            "flipped": whole[:40] + bytes(byte ^ 255 for byte in whole[40:60]) + whole[60:],
            "not gzip": b"plain text",
        }[damage]
        file = tmp_path / "train-images-idx3-ubyte.gz"
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="train-images-idx3-ubyte.gz cannot be read"):
            load_images(tmp_path)


class TestFolders:
    def test_captioned_emoji(self):
        dataset = load_images(EMOJI)
        assert dataset.images.shape == (6, 3, 128, 128) and dataset.labels is None
        assert dataset.captions[:2] == ("rainbow", "sunflower") and dataset.captions[-1] == "parrot"
        assert dataset.source == "image folder emoji, split train, 6 images"
        first = json.loads((EMOJI / "metadata.jsonl").read_text().splitlines()[0])["file_name"]
        assert torch.equal(dataset.images[0], read_image(EMOJI / first, channels=None))

    def test_background_shows_where_emoji_are_transparent(self):
        assert load_images(EMOJI, limit=1).images[0, :, 0, 0].tolist() == [0, 0, 0]
        assert load_images(EMOJI, limit=1, background=200).images[0, :, 0, 0].tolist() == [200, 200, 200]

    def test_flat_folder_in_sorted_order(self, tmp_path):
        for name, grey in (("b.png", 2), ("a.bmp", 1), ("c.tiff", 3)):
            save(picture(grey, mode="L"), tmp_path / name)
        (tmp_path / "notes.txt").write_text("not an image")
        (tmp_path / ".hidden.png").write_text("not an image either")
        (tmp_path / ".thumbnails").mkdir()
        (tmp_path / ".thumbnails" / "a.png").write_text("nor this")
        dataset = load_images(tmp_path)
        assert dataset.images.shape == (3, 1, 4, 5) and dataset.labels is None and dataset.captions is None
        assert dataset.images[:, 0, 0, 0].tolist() == [1, 2, 3]

    @pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "bmp", "gif", "tif", "tiff"])
    def test_every_accepted_format(self, tmp_path, suffix):
        save(picture((200, 200, 200)), tmp_path / f"image.{suffix}")
        assert (load_images(tmp_path, channels=1).images.float() - 200).abs().max() <= 2

    def test_one_coloured_image_makes_all_rgb(self, tmp_path):
        save(picture(7, mode="L"), tmp_path / "a.png")
        save(picture((1, 2, 3)), tmp_path / "b.png")
        assert load_images(tmp_path).images[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]
        assert load_images(tmp_path, channels=1).images.shape == (2, 1, 4, 5)

    def test_subfolders_are_labels(self, tmp_path):
        save(picture(1), tmp_path / "dog" / "1.png")
        save(picture(2), tmp_path / "cat" / "deeper" / "2.png")
        save(picture(3), tmp_path / "cat" / "3.png")
        dataset = load_images(tmp_path)
        assert dataset.label_names == ("cat", "dog") and dataset.labels.tolist() == [0, 0, 1]
        assert dataset.images.shape[0] == 3

    def test_numbered_subfolders_sort_as_numbers(self, tmp_path):
        for name in ("10", "9"):
            save(picture(1), tmp_path / name / "image.png")
        assert load_images(tmp_path).label_names == ("9", "10")

    def test_splits_with_labels_and_flat(self, tmp_path):
        save(picture(1), tmp_path / "train" / "dog" / "1.png")
        save(picture(2), tmp_path / "train" / "cat" / "1.png")
        save(picture(3), tmp_path / "test" / "3.png")
        train, test = load_images(tmp_path), load_images(tmp_path, "test")
        assert train.label_names == ("cat", "dog") and len(train) == 2
        assert test.labels is None and test.images[0, 0, 0, 0] == 3
        with pytest.raises(InputError, match=r"no split 'validation'; choose from 'test', 'train'\."):
            load_images(tmp_path, "validation")

    def test_a_label_may_be_called_train(self, tmp_path):
        for name in ("train", "aeroplane"):
            save(picture(1), tmp_path / name / "image.png")
        assert load_images(tmp_path).label_names == ("aeroplane", "train")

    def test_a_folder_without_splits_is_train(self):
        with pytest.raises(InputError, match="no split 'test'; choose from 'train'"):
            load_images(EMOJI, "test")

    def test_images_beside_subfolders(self, tmp_path):
        save(picture(1), tmp_path / "loose.png")
        save(picture(1), tmp_path / "cat" / "image.png")
        with pytest.raises(InputError, match="loose.png lies beside subfolders"):
            load_images(tmp_path)

    def test_csv_metadata_with_labels(self, tmp_path):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        (tmp_path / "metadata.csv").write_text('file_name,caption,label\nb.png,"one, two",2\na.png,three,0\n')
        dataset = load_images(tmp_path)
        assert dataset.captions == ("one, two", "three")
        assert dataset.labels.tolist() == [2, 0] and dataset.label_names == ("0", "1", "2")

    def test_named_labels_in_metadata(self, tmp_path):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        rows = [{"file_name": "a.png", "label": "pear"}, {"file_name": "b.png", "label": "fig"}]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        dataset = load_images(tmp_path)
        assert dataset.label_names == ("fig", "pear") and dataset.labels.tolist() == [1, 0]
        assert dataset.captions is None

    def test_metadata_above_the_splits(self, tmp_path):
        save(picture(1), tmp_path / "train" / "a.png")
        save(picture(2), tmp_path / "test" / "b.png")
        rows = [{"file_name": "train/a.png", "text": "one"}, {"file_name": "test/b.png", "text": "two"}]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert load_images(tmp_path).captions == ("one",)
        assert load_images(tmp_path, "test").captions == ("two",)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"file_name": "a.png"}\n{broken', "metadata.jsonl, line 2, is not JSON"),
            ("[1, 2]", r"metadata.jsonl, line 1, is \[1, 2\]; give a JSON object"),
            ('{"text": "no file"}', "line 1, has the file_name None"),
            ('{"file_name": "gone.png"}', "line 1, names gone.png, which does not exist"),
            ('{"file_name": "a.png", "text": "x"}\n{"file_name": "b.png"}', "has no text for b.png"),
            ('{"file_name": "a.png", "label": -1}', "has the label -1; it must be from 0 to"),
            ('{"file_name": "a.png", "label": 70000}', "has the label 70000; it must be from 0 to"),
            ("", "names no images in"),
        ],
    )
    def test_broken_metadata(self, tmp_path, text, message):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        (tmp_path / "metadata.jsonl").write_text(text)
        with pytest.raises(InputError, match=message):
            load_images(tmp_path)

    def test_metadata_that_is_not_text(self, tmp_path):
        save(picture(1), tmp_path / "a.png")
        (tmp_path / "metadata.csv").write_bytes(b"file_name\n\xff\xfe.png\n")
        with pytest.raises(InputError, match="metadata.csv cannot be read"):
            load_images(tmp_path)

    def test_two_sizes_need_an_image_size(self, tmp_path):
        save(picture(1, (5, 4)), tmp_path / "a.png")
        save(picture(1, (7, 6)), tmp_path / "b.png")
        with pytest.raises(
            InputError, match=r"2 images of 2 sizes, such as 4x5 and 6x7 .*image size .*, which resizes"
        ):
            load_images(tmp_path)
        assert load_images(tmp_path, image_size=(3, 2)).images.shape == (2, 3, 3, 2)

    def test_a_caption_may_be_a_text_beside_the_image(self, tmp_path):
        for name, text in (("a", "one\n two"), ("b", "three")):
            save(picture(1), tmp_path / f"{name}.png")
            (tmp_path / f"{name}.txt").write_text(text)
        assert load_images(tmp_path).captions == ("one two", "three")
        save(picture(1), tmp_path / "c.png")
        with pytest.raises(InputError, match=r"c.txt does not exist; give a caption for every image"):
            load_images(tmp_path)

    def test_the_column_of_captions_may_be_chosen(self, tmp_path):
        save(picture(1), tmp_path / "a.png")
        (tmp_path / "metadata.csv").write_text("file_name,text,long\na.png,one,one and more\n")
        assert load_sizes(tmp_path)[0].captions == ("one",)
        assert load_sizes(tmp_path, caption_column="long")[0].captions == ("one and more",)
        with pytest.raises(InputError, match="no column 'other'; give a column of captions"):
            load_sizes(tmp_path, caption_column="other")

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("a.jfif", "JPEG"), ("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.tga", "TGA"), ("a.ppm", "PPM"),
         ("a", "PNG"), ("a.1", "JPEG")],
    )  # fmt: skip
    def test_pictures_of_other_formats_and_without_a_suffix(self, tmp_path, name, kind):
        picture((200, 200, 200), (16, 16)).save(tmp_path / name, format=kind)
        save(picture((200, 200, 200), (16, 16)), tmp_path / "b.png")
        assert (load_images(tmp_path, channels=1).images.float() - 200).abs().max() <= 2
        assert len(load_images(tmp_path)) == 2

    def test_what_is_left_out_is_told(self, tmp_path):
        save(picture((1, 2, 3)), tmp_path / "a.png")
        save(picture((1, 2, 3)), tmp_path / "b.png")
        for name in ("c.heic", "d.heic", "e.psd"):
            (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic and more")
        (tmp_path / "notes.md").write_text("about them")
        (tmp_path / "metadata.csv").write_text("file_name,label,licence\na.png,x,free\n")
        found = load_images(tmp_path, image_size=(3, 2)).found
        assert found == (
            f"image folder {tmp_path.name}, split train, 1 images, RGB; stored at 4x5, taken at 3x2; 1 labels; "
            "no captions; left out files in no format that can be read (2 of .heic, 1 of .psd); "
            "left out 1 images that metadata.csv does not name; left out columns licence"
        )
        assert "\n" not in found

    def test_nothing_left_out_is_not_mentioned(self):
        assert load_images(DIGITS, limit=2).found == (
            "MNIST-style IDX files digits, split train, 2 images, grey; stored at 28x28, taken at 28x28; 10 labels; "
            "no captions"
        )
        assert "captions such as 'rainbow'" in load_images(EMOJI).found

    @pytest.mark.parametrize("all_of_them", [False, True])
    def test_label_folders_may_be_links(self, tmp_path, all_of_them):
        for name in ("cat", "dog"):
            save(picture(1), tmp_path / "store" / name / "1.png")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cat").symlink_to(tmp_path / "store" / "cat")
        if all_of_them:
            (tmp_path / "data" / "dog").symlink_to(tmp_path / "store" / "dog")
            (tmp_path / "store" / "dog" / "round").symlink_to(tmp_path / "store" / "dog")
        else:
            save(picture(1), tmp_path / "data" / "dog" / "1.png")
        dataset = load_images(tmp_path / "data")
        assert dataset.label_names == ("cat", "dog") and dataset.labels.tolist() == [0, 1]

    def test_a_split_folder_may_be_a_link(self, tmp_path):
        save(picture(1), tmp_path / "store" / "1.png")
        for name in ("train", "test"):
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / name).symlink_to(tmp_path / "store")
        assert len(load_images(tmp_path / "data", "test")) == 1

    def test_a_comma_outside_of_quotes_is_named(self, tmp_path):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        (tmp_path / "metadata.csv").write_text("file_name,text\na.png,one\nb.png,a dog, running\n")
        with pytest.raises(InputError, match=r"metadata.csv, line 3, has more values than the 2 columns; .* quotes"):
            load_images(tmp_path)

    def test_of_a_list_of_captions_all_are_kept_and_that_is_told(self, tmp_path):
        rows = []
        for name, text in (("a", ["one", "two"]), ("b", ["three"]), ("c", "four")):
            save(picture(1), tmp_path / f"{name}.png")
            rows.append({"file_name": f"{name}.png", "text": text})
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        dataset = load_images(tmp_path)
        assert dataset.captions == ("one", "three", "four")
        assert dataset.more_captions == (("two",), (), ())
        assert dataset.found.endswith("captions such as 'one', up to 2 of an image")
        for wrong in ([], [""], [["nested"]], {"en": "one"}):
            rows[0]["text"] = wrong
            (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
            with pytest.raises(InputError, match="metadata.jsonl has (the caption|no text)"):
                load_images(tmp_path)

    def test_the_column_may_be_called_prompt(self, tmp_path):
        save(picture(1), tmp_path / "a.png")
        (tmp_path / "metadata.csv").write_text("file_name,prompt\na.png,one\n")
        assert load_images(tmp_path).captions == ("one",)

    def test_texts_beside_the_images_may_be_called_caption(self, tmp_path):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        (tmp_path / "a.caption").write_text("one")
        (tmp_path / "b.txt").write_text("two")
        assert load_images(tmp_path).captions == ("one", "two")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"holds no images; give whole .png"):
            load_images(tmp_path)

    def test_broken_image_is_named(self, tmp_path):
        save(picture(1), tmp_path / "a.png")
        (tmp_path / "b.png").write_text("not an image")
        with pytest.raises(InputError, match=r"b.png cannot be read as an image \(no known format\)"):
            load_images(tmp_path)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch):
        """Makes the hub answer with a data set of the given columns, and notes what it was asked for."""
        asked = []

        def answer_with(columns: dict, features: dict | None = None) -> list:
            kinds = {"picture": datasets.Image(), **(features or {})}
            dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
            monkeypatch.setattr(
                datasets, "load_dataset", lambda *names, **options: asked.append((names, options)) or dataset
            )
            return asked

        return answer_with

    def test_class_labels(self, hub):
        pictures = [picture(grey, mode="L") for grey in (1, 2, 3)]
        asked = hub({"picture": pictures, "kind": [1, 0, 1]}, {"kind": datasets.ClassLabel(names=["fig", "pear"])})
        dataset = load_images("someone/fruit", "test", limit=2)
        assert asked == [(("someone/fruit",), {"split": "test"})]
        assert dataset.images.shape == (2, 1, 4, 5) and dataset.images[:, 0, 0, 0].tolist() == [1, 2]
        assert dataset.labels.tolist() == [1, 0] and dataset.label_names == ("fig", "pear")
        assert dataset.source == "Hugging Face data set someone/fruit, split test, 2 images"

    def test_integer_labels_and_captions(self, hub):
        hub(
            {"picture": [picture(1)] * 2, "label": [2, 0], "address": ["u", "v"], "caption": ["one", "two"]},
            {
                "label": datasets.Value("int64"),
                "address": datasets.Value("string"),
                "caption": datasets.Value("string"),
            },
        )
        dataset = load_images("fruit", image_size=(8, 9))
        assert dataset.images.shape == (2, 3, 8, 9)
        assert dataset.labels.tolist() == [2, 0] and dataset.label_names == ("0", "1", "2")
        assert dataset.captions == ("one", "two")

    def test_the_only_text_column_is_the_caption(self, hub):
        hub({"picture": [picture(1)], "prompt": ["one"]}, {"prompt": datasets.Value("string")})
        assert load_images("fruit").captions == ("one",)

    def test_lists_of_captions_and_columns_that_are_not_read(self, hub):
        hub(
            {"picture": [picture(1)], "text": [["one", "two"]], "licence": ["free"]},
            {"text": datasets.Sequence(datasets.Value("string")), "licence": datasets.Value("string")},
        )
        dataset = load_images("fruit")
        assert dataset.captions == ("one",) and dataset.found.endswith("; left out columns licence")
        assert dataset.more_captions == (("two",),) and "up to 2 of an image" in dataset.found

    def test_text_labels_are_not_captions(self, hub):
        hub({"picture": [picture(1)] * 2, "label": ["pear", "fig"]}, {"label": datasets.Value("string")})
        dataset = load_images("fruit")
        assert dataset.captions is None
        assert dataset.label_names == ("fig", "pear") and dataset.labels.tolist() == [1, 0]

    def test_unpublished_labels(self, hub):
        hub({"picture": [picture(1)] * 2, "label": [-1, -1]}, {"label": datasets.ClassLabel(names=["fig"])})
        dataset = load_images("fruit")
        assert dataset.labels is None and dataset.label_names == ()

    @pytest.mark.parametrize(
        ("columns", "features", "message"),
        [
            ({"picture": []}, {}, "split 'train' of the hub data set 'fruit' is empty"),
            ({"picture": [None]}, {}, "no image in row 0 of the hub data set 'fruit'"),
            ({"picture": [{"bytes": b"junk", "path": None}]}, {}, "row 0 of .* cannot be read as an image"),
            ({"picture": [1]}, {"picture": datasets.Value("int64")}, "no image column in .*, only picture;"),
            (
                {"picture": [None] * 2, "label": [0, None]},
                {"label": datasets.Value("int64")},
                "Row 1 of .* has no label; give one for every image, or for none",
            ),
            (
                {"picture": [None] * 2, "text": ["one", None]},
                {"text": datasets.Value("string")},
                "Row 1 of .* has no text",
            ),
        ],
        ids=["empty", "no image", "broken image", "no image column", "a label missing", "a caption missing"],
    )
    def test_unusable_data(self, hub, columns, features, message):
        hub(columns, features)
        with pytest.raises(InputError, match=message):
            load_images("fruit")

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ConnectionError("Couldn't reach the hub\nmore"), r"\(Couldn't reach the hub\)"),
            (
                ValueError("Unknown split \"train\". Should be one of ['test']."),
                r"Should be one of \['test'\]\)",
            ),
            (RuntimeError(), r"\(RuntimeError\)"),
        ],
    )
    def test_unreachable(self, monkeypatch, error, reason):
        def fail(*names, **options):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(InputError, match=f"'no/such' is no local folder and its split 'train' .*{reason}"):
            load_images("no/such")


class TestArguments:
    @pytest.mark.parametrize("source", [Path("no/such"), "./no/such", "/no/such", "no/such/folder", "no such"])
    def test_missing_path_is_not_looked_up_on_the_hub(self, monkeypatch, source):
        monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: pytest.fail("asked the hub"))
        with pytest.raises(InputError, match=f"^{source} does not exist; give a folder"):
            load_images(source)

    def test_a_file_is_no_source(self):
        with pytest.raises(InputError, match="README.md is a file; give a folder"):
            load_images(FIXTURES / "README.md")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"image_size": (0, 5)}, r"image_size is \(0, 5\); it must be \(height, width\)"),
            ({"image_size": (5, -1)}, r"image_size is \(5, -1\)"),
            ({"image_size": (5,)}, r"image_size is \(5,\)"),
            ({"channels": 2}, "channels is 2; it must be 1"),
            ({"channels": 4}, "channels is 4; it must be 1"),
            ({"background": -1}, "background is -1; it must be a grey level from 0 to 255"),
            ({"background": 256}, "background is 256"),
            ({"limit": 0}, "limit is 0; it must be at least 1"),
            ({"num_workers": -1}, "num_workers is -1; it must be at least 0"),
        ],
    )
    def test_out_of_range(self, arguments, message):
        with pytest.raises(InputError, match=message):
            load_sizes(DIGITS, **arguments)
