"""Folders of images with labels, metadata and captions, and every way in which they can be wrong."""

import json
from pathlib import Path

import pytest
import torch
from plain_pictures import picture, save

from r2id.data.loading import load_images, load_sizes
from r2id.errors import InputError
from r2id.files.images import read_image

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"
EMOJI = Path(__file__).parent.parent / "fixtures" / "emoji"


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

    @pytest.mark.parametrize(
        ("texts", "said"),
        [
            (
                {"a.json": "{}", "b.json": "{}", "labels.csv": "a,1"},
                "; left out texts that are not metadata.jsonl, metadata.csv or captions (1 of .csv, 2 of .json)",
            ),
            (
                {"a.txt": "one", "b.txt": "two", "a.caption": "three", "c.txt": "gone"},
                "; left out texts that are not metadata.jsonl, metadata.csv or captions (1 of .caption, 1 of .txt)",
            ),
            (
                {"metadata.csv": "file_name,text\na.png,x\nb.png,y\n", "a.txt": "one", "b.txt": "two"},
                "; left out texts beside metadata.csv (2 of .txt)",
            ),
            (
                {"metadata.csv": "file_name\na.png\n", "metadata.jsonl": '{"file_name": "a.png"}'},
                "; left out texts beside metadata.jsonl (1 of .csv); "
                "left out 1 images that metadata.jsonl does not name",
            ),
        ],
        ids=["json", "two captions of one", "csv and txt", "two of metadata"],
    )  # fmt: skip
    def test_texts_that_are_left_out_are_told(self, tmp_path, texts, said):
        for name in "ab":
            save(picture(1), tmp_path / f"{name}.png")
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        assert load_images(tmp_path).found.endswith(said)

    def test_texts_above_the_splits_are_told_and_those_of_other_splits_are_not(self, tmp_path):
        for split in ("train", "test"):
            save(picture(1), tmp_path / split / "a.png")
            (tmp_path / split / "labels.csv").write_text("a,1")
        (tmp_path / "classes.json").write_text("[]")
        assert load_images(tmp_path).found.endswith("captions (1 of .csv, 1 of .json)")

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
