"""Packages of vector pictures as folders with captions, split by subject."""

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

from r2id.cli import main
from r2id.data.loading import load_images
from r2id.data.named_drawings import (
    FINER,
    averaged,
    held_out,
    named_drawings,
    render_named_drawings,
    spelled_out,
    word_ranks,
)
from r2id.errors import InputError

RED, GREEN, BLUE = (f'<path fill="{colour}" d="M2 2h12v12H2z"/>' for colour in ("#f00", "#0f0", "#00f"))
EMOJI = [
    {"label": "red heart", "hexcode": "2764-FE0F", "tags": ["love", "red"]},
    {"label": "woman: red hair", "hexcode": "1F469-200D-1F9B0", "tags": ["lady"]},
    {"label": "flag: Norway", "hexcode": "1F1F3-1F1F4"},
    {"label": "grinning face", "hexcode": "1F600", "tags": ["happy", "smile", "grinning face"]},
]


def package(folder: Path, prefix: str, icons: dict[str, str], codes: dict[str, str] | None = None) -> Path:
    folder.mkdir()
    bodies = {name: {"body": body} for name, body in icons.items()}
    (folder / "icons.json").write_text(json.dumps({"prefix": prefix, "icons": bodies}))
    about = {"name": prefix.title(), "author": {"name": "Somebody"}, "license": {"spdx": "MIT"}}
    (folder / "info.json").write_text(json.dumps(about))
    if codes:
        (folder / "chars.json").write_text(json.dumps(codes))
    return folder


@pytest.fixture
def names(tmp_path) -> Path:
    (tmp_path / "names" / "en").mkdir(parents=True)
    (tmp_path / "names" / "en" / "data.json").write_text(json.dumps(EMOJI))
    return tmp_path / "names"


@pytest.fixture
def coded(tmp_path) -> Path:
    icons = {
        "heart-of-love": RED, "smiley": GREEN, "woman-red-hair": BLUE, "wave": RED + RED,
        "wave-medium-dark-skin-tone": GREEN + RED, "point-tone2": BLUE + RED,
    }  # fmt: skip
    codes = {"2764": "heart-of-love", "1f600": "smiley", "1f469-200d-1f9b0": "woman-red-hair"}
    return package(tmp_path / "coded", "neat-pictures", icons, codes)


class TestCaptions:
    def test_a_code_point_gives_label_tags_name_and_style(self, coded, names):
        found = {one.name: one for one in named_drawings([coded], names)}
        assert found["heart-of-love"].captions == (
            "red heart, neat pictures style",
            "red heart",
            "heart of love, neat pictures style",
            "red heart, love, red, neat pictures style",
            "love, red, neat pictures style",
        )
        # A tag that is the label says nothing new.
        assert found["smiley"].captions[3:] == (
            "grinning face, happy, smile, neat pictures style",
            "happy, smile, neat pictures style",
        )
        assert found["woman-red-hair"].captions[1] == found["woman-red-hair"].concept == "woman with red hair"
        assert found["wave"].captions == ("wave, neat pictures style", "wave")
        assert found["wave"].source == "Neat-Pictures, Somebody, MIT"

    def test_skin_tones_and_smaller_copies_are_left_out(self, tmp_path, coded, names):
        assert {one.name for one in named_drawings([coded], names)} == {
            "heart-of-love", "smiley", "woman-red-hair", "wave",
        }  # fmt: skip
        sizes = package(tmp_path / "sizes", "sizes", {"bell-16": RED, "bell-32": GREEN, "girl-1": BLUE, "girl-2": RED})
        found = [(one.name, one.concept) for one in named_drawings([sizes], names)]
        assert found == [("bell-32", "bell"), ("girl-1", "girl"), ("girl-2", "girl")]

    def test_packages_without_code_points_are_joined_by_name(self, tmp_path, coded, names):
        plain = package(tmp_path / "plain", "plain", {"heartoflove": RED, "flag-for-flag-norway": BLUE})
        flags = package(tmp_path / "flags", "round-flags", {"no": BLUE, "gb-sct": RED})
        found = {(one.style, one.name): one.concept for one in named_drawings([plain, flags, coded], names)}
        assert found["plain", "heartoflove"] == found["neat pictures", "heart-of-love"] == "red heart"
        assert found["plain", "flag-for-flag-norway"] == found["round flags", "no"] == "flag: Norway"
        # A flag without a name has no caption.
        assert ("round flags", "gb-sct") not in found

    def test_equal_drawings_are_one_with_the_captions_of_all(self, tmp_path, names):
        (one,) = named_drawings([package(tmp_path / "twins", "twins", {"cat": RED, "red-heart": RED})], names)
        assert one.concept == "cat" and {"cat, twins style", "red heart, twins style"} < set(one.captions)

    def test_names_without_spaces_are_split_into_frequent_words(self):
        ranks = word_ranks()
        names = {
            "foxsmiling": "fox smiling", "handup": "hand up", "2hearts": "2 hearts", "clock7oclock": "clock 7 oclock",
            "tram-car": "tram car", "rocket": "rocket", "1st-place-medal": "1st place medal", "qqxzv": "qqxzv",
            "add_circle": "add circle", "!": "!",
        }  # fmt: skip
        assert {name: spelled_out(name, ranks) for name in names} == names

    def test_other_packages_are_refused(self, tmp_path, coded):
        with pytest.raises(InputError, match=r"coded holds no en/data\.json.*emojibase-data"):
            named_drawings([coded], coded)
        with pytest.raises(InputError, match=r"gone cannot be read.*emojibase-data"):
            named_drawings([coded], tmp_path / "gone")


def test_transparent_pixels_lend_no_colour():
    fine = numpy.zeros((FINER, FINER, 4), numpy.uint8)
    fine[..., 1] = 255
    fine[: FINER // 2] = (200, 0, 0, 255)
    assert averaged(Image.fromarray(fine)).getpixel((0, 0)) == pytest.approx((200, 0, 0, 128), abs=1)


def test_subjects_are_held_out_by_their_names_alone():
    subjects = [f"subject {number}" for number in range(2000)]
    assert 60 < sum(held_out(one, 0.05) for one in subjects) < 140
    assert all(held_out(one, 0.5) for one in subjects if held_out(one, 0.05))
    assert held_out("Red Heart", 0.3) == held_out("red heart", 0.3) and not held_out("red heart", 0.0)


class TestRendering:
    def test_a_folder_is_what_training_reads(self, tmp_path, coded, names, monkeypatch, capsys):
        other = package(tmp_path / "other", "other", {"heart": RED, "smiley": BLUE, "broken": '<path fill="url(#no">'})
        arguments = [str(coded), str(other), "--names", str(names), "--output", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["r2id", "render", *arguments, "--size", "16", "--test-share", "0.3"])
        main()
        said = capsys.readouterr().out
        rows = {
            split: [json.loads(line) for line in (tmp_path / "out" / split / "metadata.jsonl").read_text().splitlines()]
            for split in ("train", "test")
        }
        concepts = {split: {row["concept"] for row in some} for split, some in rows.items()}
        assert concepts["train"] | concepts["test"] == {
            "red heart", "grinning face", "woman with red hair", "wave", "heart",
        }  # fmt: skip
        assert concepts["train"].isdisjoint(concepts["test"])
        assert "6 drawings of 2 styles" in said and "left out 1 drawing that cannot be rendered" in said
        assert f"{len(rows['train'])} in train" in said
        assert "- Neat-Pictures, Somebody, MIT" in (tmp_path / "out" / "SOURCES.md").read_text()

        split = next(split for split, some in concepts.items() if "grinning face" in some)
        data = load_images(tmp_path / "out", split, background=255)
        assert data.images.shape == (len(rows[split]), 3, 16, 16)
        assert data.captions == tuple(row["text"][0] for row in rows[split])
        index = [row["file_name"] for row in rows[split]].index("neat_pictures/smiley.png")
        assert data.label_names[data.labels[index]] == "neat pictures"
        picture = data.images[index]
        assert picture[:, 0, 0].tolist() == [255, 255, 255] and picture[:, 8, 8].tolist() == [0, 255, 0]

    def test_a_folder_with_something_in_it_stays(self, tmp_path, coded, names):
        drawings = named_drawings([coded], names)
        with pytest.raises(InputError, match="coded holds something already"):
            render_named_drawings(drawings, coded)
        for wrong in ({"size": 0}, {"test_share": 1.0}):
            with pytest.raises(InputError, match=next(iter(wrong))):
                render_named_drawings(drawings, tmp_path / "new", **wrong)
        assert not (tmp_path / "new").exists() and (coded / "icons.json").exists()
