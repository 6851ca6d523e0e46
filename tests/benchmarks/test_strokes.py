"""Digits rated blind: sheets hide where they come from, and ratings are counted by it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
RATINGS = Path(__file__).parents[2] / "benchmarks" / "quality" / "results" / "strokes"


def test_the_kept_ratings_are_of_the_bundled_weights_and_as_published(strokes, capsys):
    """What docs/results.md says of them."""
    strokes.main(["count", *(str(RATINGS / f"{name}.json") for name in ("key", "first", "second"))])
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[2:]]
    assert {(one, kind): cells for one, kind, *cells in rows} == {
        ("first", "4x4"): ["57", "29", "14"],
        ("first", "8x8"): ["62", "27", "11"],
        ("first", "real"): ["50", "36", "14"],
        ("second", "4x4"): ["56", "28", "16"],
        ("second", "8x8"): ["60", "28", "12"],
        ("second", "real"): ["48", "36", "16"],
    }
    key = json.loads((RATINGS / "key.json").read_text())
    assert {one["model"] for one in key["made with"].values()} == {R2Pipeline.from_pretrained("mnist").checksum()}


def test_ratings_are_counted_by_where_digits_come_from(strokes):
    counted = strokes.count(["a", "b", "a"], {"0": 2, "1": 0, "2": 2})
    assert counted["a"] == {2: 2} and counted["b"] == {0: 1}


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ([0, 1], "every number from 0 to 1"),
        ({"0": 1}, "every number from 0 to 1"),
        ({"0": 1, "1": 3}, "1 is rated 3; choose from 0, 1, 2"),
        ({"0": 1, "1": True}, "1 is rated True"),
        ({"0": [1], "1": 1}, r"0 is rated \[1\]"),
    ],
)
def test_ratings_that_do_not_fit_are_an_error(strokes, ratings, reason, tmp_path):
    (tmp_path / "key.json").write_text(json.dumps({"digits": [["a", "0"], ["b", "1"]]}))
    (tmp_path / "ratings.json").write_text(json.dumps(ratings))
    with pytest.raises(InputError, match=f"ratings.json: .*{reason}"):
        strokes.main(["count", str(tmp_path / "key.json"), str(tmp_path / "ratings.json")])


@pytest.fixture
def sampled(tmp_path):
    """A folder as `r2id sample` writes one, of digits each in a grey of its own."""
    pictures = tmp_path / "digits" / "32x32"
    pictures.mkdir(parents=True)
    for number in range(35):
        Image.new("L", (32, 32), 5 * number).save(pictures / f"{number}-7.png")
    (pictures / "note.png").write_text("no digit")
    settings = {"labels": ["7"] * 35, "latent_size": [4, 4], "size": [[32, 32]]}
    (tmp_path / "digits" / "sample.json").write_text(json.dumps(settings))
    return tmp_path / "digits"


def test_sheets_number_digits_and_the_key_tells_them_apart(strokes, sampled, tmp_path, monkeypatch):
    monkeypatch.setattr(strokes, "PER_LABEL", 1)
    strokes.main(["sheets", str(sampled), "--data", str(DIGITS), "--output", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out" / "sheets").iterdir()) == ["0.png", "1.png"]
    key = json.loads((tmp_path / "out" / "key.json").read_text())
    assert key["made with"]["4x4"]["latent_size"] == [4, 4] and len(key["digits"]) == 45
    greys = {}
    for number, (kind, name) in enumerate(key["digits"]):
        x, y = strokes.place_of(number)
        sheet = Image.open(tmp_path / "out" / "sheets" / f"{number // 30}.png")
        if kind == "4x4":
            greys[name] = sheet.crop((x, y, x + strokes.SIDE, y + strokes.SIDE)).getextrema()
    assert greys == {f"{number}-7": (5 * number, 5 * number) for number in range(35)}
    assert {kind for kind, _ in key["digits"][:10]} == {"4x4", "real"}, "shuffled"


def test_what_cannot_be_compared_is_an_error(strokes, sampled, tmp_path, monkeypatch):
    def sheets(*folders):
        strokes.main(["sheets", *map(str, folders), "--data", str(DIGITS), "--output", str(tmp_path / "out")])

    with pytest.raises(InputError, match="has no sample.json; give a folder that r2id sample wrote"):
        sheets(tmp_path)
    with pytest.raises(InputError, match="has 4x4 latents, as another folder has"):
        sheets(sampled, sampled)
    monkeypatch.setattr(strokes, "PER_LABEL", 1000)
    with pytest.raises(InputError, match="test digits with the label 0; 1000 are needed"):
        sheets(sampled)
    made_with = json.loads((sampled / "sample.json").read_text())
    (sampled / "32x32" / "3-7.png").unlink()
    with pytest.raises(FileNotFoundError, match="3-7.png"):
        sheets(sampled)
    (sampled / "sample.json").write_text(json.dumps(made_with | {"size": [[32, 32], [64, 64]]}))
    with pytest.raises(InputError, match="has digits of 2 sizes"):
        sheets(sampled)
    assert not (tmp_path / "out").exists()
