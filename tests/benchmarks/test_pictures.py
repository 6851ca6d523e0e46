"""What benchmarks/pictures packs for a GPU, and the script that trains there."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from r2id.data.drawings import load_drawings
from r2id.data.tiles import load_tiles

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORDER = """#!{python}
import json, sys
from pathlib import Path
calls = Path(__file__).parent / "calls.jsonl"
with calls.open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
statuses = {statuses}
sys.exit(statuses[len(calls.read_text().splitlines()) - 1])
"""


@pytest.fixture
def package(tmp_path) -> Path:
    """A folder of ten drawings and one of another skin tone."""
    icons = {f"dot{r}": {"body": f'<circle cx="8" cy="8" r="{r}"/>'} for r in range(10)}
    folder = tmp_path / "dots"
    folder.mkdir()
    (folder / "icons.json").write_text(json.dumps({"prefix": "dots", "icons": icons | {"dot1-dark": icons["dot1"]}}))
    return folder


def test_what_is_packed_is_what_the_command_reads(tmp_path, package, monkeypatch):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.effect_noise((500, 400), 50).save(photographs / "grey.jpg")
    Image.new("RGB", (2400, 1200), "teal").save(photographs / "large.png")
    Image.new("RGB", (300, 400)).save(photographs / "small.png")
    (photographs / "torn.png").write_bytes(b"")
    monkeypatch.syspath_prepend(str(BENCHMARKS / "pictures"))
    import collect

    output = tmp_path / "out"
    arguments = ["--output", output, "--photographs", photographs, "--drawings", package, "--most-drawings", 4]
    monkeypatch.setattr(sys, "argv", ["collect.py", *map(str, arguments)])
    collect.main()
    sizes = {path.name: Image.open(path).size for path in (output / "photographs").iterdir()}
    assert sizes == {"00000-grey.jpg": (500, 400), "00001-large.jpg": (1100, 550)}
    [packed] = (output / "drawings").iterdir()
    with tarfile.open(packed) as archive:
        assert archive.getnames() == ["package/icons.json"]
    assert len(load_drawings([packed], drawing_size=16)) == 4
    assert "left out" not in load_tiles(output / "photographs").found


def calls_of(
    tmp_path: Path, *arguments: object, statuses: tuple[int, ...] = (0,), **environment: str
) -> list[list[str]]:
    """How the script calls Python, which ends with these statuses."""
    recorder = tmp_path / "python"
    recorder.write_text(RECORDER.format(python=sys.executable, statuses=list(statuses)))
    recorder.chmod(0o755)
    run = subprocess.run(
        ["bash", BENCHMARKS / "train_on_gpu.sh", *map(str, arguments)],
        env=os.environ | {"PYTHON": str(recorder)} | environment,
        capture_output=True,
        text=True,
    )
    calls = tmp_path / "calls.jsonl"
    made = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
    assert run.returncode == (statuses[len(made) - 1] if made else 2), run.stderr
    return made


class TestScript:
    def test_it_trains_by_the_clock_from_the_bundled_weights(self, tmp_path):
        (tmp_path / "data" / "drawings").mkdir(parents=True)
        (tmp_path / "data" / "drawings" / "dots.tgz").touch()
        [call] = calls_of(tmp_path, "pictures", tmp_path / "data", tmp_path / "out", 100, "--batch-size", 4)
        assert call[:5] == ["-m", "r2id", "train", "resampler", "pictures-large"]
        options = dict(zip(call[5::2], call[6::2], strict=False))
        assert 70 <= int(options["--seconds"]) <= 75 and options["--batch-size"] == "4"
        assert options["--init-from"] == "pictures" and options["--drawings"].endswith("dots.tgz")
        assert "--resume" not in call

    @pytest.mark.parametrize("name", ["emoji", "flowers"])
    def test_it_trains_a_diffuser_on_latents(self, tmp_path, name):
        [call] = calls_of(tmp_path, name, "latents", tmp_path / "out", 100)
        assert call[:7] == ["-m", "r2id", "train", "diffuser", name, "--data", "latents"] and "--compile" not in call
        assert call[call.index("--init-from") + 1] == name and "--drawings" not in call

    def test_it_goes_on_without_compiling_if_that_fails_and_from_a_checkpoint(self, tmp_path):
        (tmp_path / "out" / "checkpoints" / "step-000500").mkdir(parents=True)
        first, second = calls_of(tmp_path, "pictures", "data", tmp_path / "out", statuses=(1, 0), FROM="")
        assert "--no-compile" in second and "--no-compile" not in first
        assert "--resume" in first and "--init-from" not in first

    def test_a_stopped_training_is_not_begun_again(self, tmp_path):
        assert len(calls_of(tmp_path, "pictures", "data", tmp_path / "out", statuses=(130,))) == 1

    def test_it_installs_wheels_without_a_network(self, tmp_path):
        wheels = [tmp_path / "tqdm-1-py3-none-any.whl", tmp_path / "tyro-1-py3-none-any.whl"]
        for wheel in wheels:
            wheel.touch()
        install, train = calls_of(tmp_path, "pictures", "data", tmp_path / "out", statuses=(0, 0), WHEELS=str(tmp_path))
        assert install[:3] == ["-m", "pip", "install"] and {"--no-index", "--no-deps"} <= set(install)
        assert install[-2:] == [str(wheel) for wheel in wheels] and train[1] == "r2id"

    def test_without_arguments_it_says_how(self, tmp_path):
        assert calls_of(tmp_path) == []
