"""What files were made with is kept beside them, and compared before more are made."""

import math
from pathlib import Path

import pytest

from r2id.errors import InputError
from r2id.files.record import check_settings, first_difference, plain, read_record, write_record

SETTINGS = {"seed": 1, "size": (32, 18), "folder": Path("a"), "guidance": math.nan, "label": "ä", "steps": None}


def test_a_record_holds_the_settings_it_was_written_with(tmp_path):
    path = tmp_path / "new" / "record.json"
    write_record(path, {"settings": SETTINGS, "done": 3})
    record = read_record(path, "remove it", settings=dict, done=float)
    assert record["done"] == 3.0 and record["settings"]["size"] == [32, 18] and record["settings"]["folder"] == "a"
    check_settings(SETTINGS, record["settings"], "it was made with", "remove it")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["seed", "size", "label"])
def test_the_setting_that_differs_is_named_with_both_values(name):
    other = SETTINGS | {name: 7}
    sentence = f"{name} is 7; the run was begun with {plain(SETTINGS)[name]}; give another output".replace("[", r"\[")
    with pytest.raises(InputError, match=f"^{sentence}$"):
        check_settings(other, plain(SETTINGS), "the run was begun with", "give another output")
    check_settings(other, plain(SETTINGS), "", "", may_differ={name})
    assert first_difference(other, plain(SETTINGS)) == name and first_difference(SETTINGS, plain(SETTINGS)) is None


def test_a_setting_that_the_record_lacks_is_none_and_others_do_not_matter():
    check_settings({"steps": None, "seed": 1}, {"seed": 1, "older": 2}, "", "")
    with pytest.raises(InputError, match="^steps is 4; it was made with None; wait$"):
        check_settings({"steps": 4}, {}, "it was made with", "wait")


@pytest.mark.parametrize("text", ["[", "3", "{}", '{"done": "x"}', '{"done": Infinity}', "[" * 100_000, None])
def test_a_damaged_record_is_named(tmp_path, text):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"record\.json is damaged \(.*\); remove it$"):
        read_record(path, "remove it", done=int)
