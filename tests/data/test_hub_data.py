"""Data sets of the hub, and every way in which they can be wrong."""

import datasets
import pytest
from plain_pictures import picture

from r2id.data.loading import load_images
from r2id.errors import InputError


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
