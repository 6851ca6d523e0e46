"""Digits rated blind: sheets hide where they come from, and ratings are counted by it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from r2id.errors import InputError

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
RATINGS = Path(__file__).parents[2] / "benchmarks" / "quality" / "results" / "strokes"


def test_ratings_are_counted_by_where_digits_come_from(strokes, capsys):
    counted = strokes.count(["a", "b", "a"], {"0": 2, "1": 0, "2": 2})
    assert counted["a"] == {2: 2} and counted["b"] == {0: 1}
    strokes.main(["count", *(str(RATINGS / f"{name}.json") for name in ("key", "first", "second"))])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 6 and all(sum(map(int, row.split("|")[3:6])) == 100 for row in rows)


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ([0, 1], "every number from 0 to 1"),
        ({"0": 1}, "every number from 0 to 1"),
        ({"0": 1, "1": 3}, "3 is no rating"),
    ],
)
def test_ratings_that_do_not_fit_are_an_error(strokes, ratings, reason):
    with pytest.raises(InputError, match=reason):
        strokes.count(["a", "b"], ratings)


def test_sheets_number_digits_and_the_key_tells_them_apart(strokes, tmp_path, monkeypatch):
    folder = tmp_path / "4x4" / "32x32"
    folder.mkdir(parents=True)
    for number in range(35):
        Image.new("L", (32, 32), 255).save(folder / f"{number}-7.png")
    (folder / "note.png").write_text("no digit")
    monkeypatch.setattr(strokes, "PER_LABEL", 1)
    strokes.main(["sheets", str(folder), "--data", str(DIGITS), "--output", str(tmp_path / "sheets")])
    key = json.loads((tmp_path / "sheets" / "key.json").read_text())
    assert len(key) == 45 and sorted(int(name[:-2]) for kind, name in key if kind == "4x4") == list(range(35))
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["0.png", "1.png", "key.json"]
    assert {kind for kind, _ in key[:10]} == {"4x4", "real"}
    place = next(place for place, (kind, _) in enumerate(key[:30]) if kind == "4x4")
    row, column = divmod(place, strokes.COLUMNS)
    centre = (column * 140 + 70, row * 156 + 86)
    assert Image.open(tmp_path / "sheets" / "0.png").getpixel(centre) == 255
    with pytest.raises(InputError, match="holds no pictures named NUMBER-LABEL.png"):
        strokes.generated(tmp_path)
