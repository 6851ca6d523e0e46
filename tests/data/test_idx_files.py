"""MNIST-style IDX files, and every way in which one can be wrong."""

import gzip
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from r2id.data.loading import load_images
from r2id.errors import InputError

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"


def idx(values: numpy.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.astype(numpy.uint8).tobytes()


def write_idx(folder: Path, images: numpy.ndarray, labels: numpy.ndarray | None = None) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    if labels is not None:
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))


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

    def test_what_lies_beside_them_is_told(self, tmp_path):
        write_idx(tmp_path, numpy.zeros((2, 3, 4)), numpy.zeros(2))
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz", "README.md"):
            (tmp_path / name).write_bytes(b"another split, form or use")
        assert load_images(tmp_path).found.endswith("no captions")
        for name in ("a.png", "deeper/b.png", "labels.csv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"whatever")
        assert load_images(tmp_path).found.endswith("; left out files beside the IDX files (1 of .csv, 2 of .png)")

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
