"""Loading of images from any source: sizes, arguments, and what is not there."""

import json
import tempfile
from pathlib import Path

import datasets
import pytest
import torch
from plain_pictures import picture, save

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images, load_sizes
from r2id.data.pixels import map_pixels
from r2id.errors import InputError
from r2id.geometry.sizes import alike_size, in_proportion

FIXTURES = Path(__file__).parent.parent / "fixtures"
DIGITS = FIXTURES / "digits"
EMOJI = FIXTURES / "emoji"


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
