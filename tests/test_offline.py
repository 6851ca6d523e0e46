"""Many pictures: shared without loss or doubles, and gone on with after an interruption."""

import json
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from r2id import cli
from r2id.offline import Pictures
from r2id.processes import Share

SAMPLE = ("--labels", "0-4", "--per-label", "3", "--latent-size", "2x2", "--size", "8x8", "--steps", "1")


def command(output: Path, *more: str) -> list[str]:
    return ["r2id", "sample", *SAMPLE, "--batch-size", "2", "--output", str(output), *more]


def sample(output: Path, *more: str) -> None:
    with patch.object(sys, "argv", command(output, *more)):
        cli.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "8x8").glob("*.png")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("alone")
    sample(folder)
    return contents(folder)


@pytest.mark.parametrize(("total", "count"), [(10, 1), (10, 3), (2, 5), (0, 2)])
def test_shares_are_all_of_the_work_once(total, count):
    shares = [list(Share(index, count).of(total)) for index in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_make_together_what_one_makes(tmp_path, alone, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index, made in enumerate([8, 7]):
        monkeypatch.setenv("RANK", str(index))
        sample(tmp_path)
        assert f"{made} pictures of 8x8 in {tmp_path / '8x8'} by process {index} of 2" in capsys.readouterr().out
    assert contents(tmp_path) == alone


def test_a_killed_run_is_gone_on_with(tmp_path, alone):
    process = subprocess.Popen([sys.executable, "-m", *command(tmp_path)])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("8x8/*.png")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "8x8").glob("*-*.png")}
    assert times
    sample(tmp_path, "--resume")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    # Batches begin elsewhere than in one go, which may round a colour otherwise.
    assert contents(tmp_path).keys() == alone.keys()


def test_pictures_made_with_other_settings_are_not_gone_on_with(tmp_path, alone, capsys):
    sample(tmp_path)
    with pytest.raises(SystemExit):
        sample(tmp_path, "--resume", "--seed", "3")
    assert f"seed is 3; what {tmp_path} holds was made with 0" in capsys.readouterr().err
    assert contents(tmp_path) == alone
    assert json.loads((tmp_path / "sample.json").read_text())["seed"] == 0


def test_a_damaged_record_is_named(tmp_path, capsys):
    (tmp_path / "sample.json").write_text("[")
    with pytest.raises(SystemExit):
        sample(tmp_path, "--resume")
    assert "sample.json is damaged" in capsys.readouterr().err


def test_a_picture_is_missing_until_every_size_is_there(tmp_path):
    pictures = Pictures(tmp_path, ["a/b", "c"], [(1, 2), (3, 4)])
    assert pictures.missing(range(2)) == [0, 1]
    for size in pictures.sizes:
        pictures.file(0, size).parent.mkdir(exist_ok=True)
        pictures.file(0, size).touch()
    assert pictures.missing(range(2)) == [1] and pictures.file(0, (1, 2)) == tmp_path / "1x2" / "0-a_b.png"
