"""Help, versions, and what is said of arguments that cannot be read."""

import inspect
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from running import QUICK, run, unwrapped

from r2id.cli import parsing, program
from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR


def test_help_imports_neither_torch_nor_diffusers():
    code = (
        "import sys; sys.argv = ['r2id', 'sample', '--help']\n"
        "from r2id.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.rstrip().endswith("[]")
    assert "--guidance-scale" in finished.stdout


def test_parsers_read_what_help_promises():
    assert parsing.parse_size("27x18") == (27, 18) and parsing.parse_size("3000000000x1") == (3_000_000_000, 1)
    assert parsing.parse_region("0,1,2,3") == (0, 1, 2, 3)
    assert parsing.parse_labels("0-3, 7,cat") == ["0", "1", "2", "3", "7", "cat"]
    known = ["10-20", "a, b", "a", "b,c,d"]
    assert parsing.parse_labels("10-20,a, b,a,b,c,d,1-2", known) == ["10-20", "a, b", "a", "b,c,d", "1", "2"]
    with pytest.raises(InputError, match="'1x'"):
        parsing.parse_size("1x")


@pytest.mark.parametrize("text", ["3-0", "0-100001", "9999999999-9999999999", "0-" + "9" * 5000])
def test_label_ranges_that_are_refused(text):
    with pytest.raises(InputError, match="is not low-high"):
        parsing.parse_labels(text)


def test_the_version_is_said(capsys, monkeypatch):
    import r2id

    assert run(capsys, monkeypatch, "--version") == (0, f"r2id {r2id.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("sample", "--output", "x", "--lables", "3"), "--labels"),
        (("train", "resampler", "mnist", "--stepss", "3"), "--steps"),
        (("train", "diffuser", "mnist", "--lable-dropout", "3"), "--label-dropout"),
    ],
)
def test_a_typo_is_answered_with_options_of_this_command(arguments, wanted, capsys, monkeypatch):
    status, _, error = run(capsys, monkeypatch, *arguments)
    command = " ".join(arguments[: 1 if arguments[0] == "sample" else 3])
    assert status == 2 and wanted in error and f"run r2id {command} --help" in error
    assert error.count("--help") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sample", "--output", "x", "--num-inference-steps", "3.5"), "'3.5' is not a whole number"),
        (("sample", "--output", "x", "--guidance-scale", "high"), "'high' is not a number"),
        (("train", "resampler", "mnist", "--steps", "x"), "'x' is not a whole number"),
        (("train", "resampler", "mnist", "--learning-rate", "x"), "'x' is not a number"),
        (("train", "resampler", "mnist", "--image-size", "32"), "size '32' is not HxW"),
    ],
)
def test_what_is_no_number_is_said_in_a_sentence(arguments, expected, capsys, monkeypatch):
    status, _, error = run(capsys, monkeypatch, *arguments)
    assert status == 2 and error.startswith(f"r2id: {expected}")


COMMANDS = [*program.COMMANDS, "train resampler mnist", "train diffuser rgb-16x"]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_breaks_lines_only_where_they_are_full(command, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    status, text, _ = run(capsys, monkeypatch, *command.split(), "--help")
    assert status == 0
    lines = [line[2:-2] for line in text.splitlines() if len(line) == width]
    margin = max((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for line, following in pairwise(lines):
        if all(one.startswith(" " * margin) and one.strip() for one in (line, following)):
            start = re.split("[ ,]", following.strip())[0]
            is_full = len(line.rstrip()) + 1 + len(start) >= width - 4
            assert is_full or "=" in start or following.strip().startswith("(default:"), following


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_no_default_of_none(command, capsys, monkeypatch):
    _, text, _ = run(capsys, monkeypatch, *command.split(), "--help")
    assert "(default: None)" not in re.sub(r"[│\s]+", " ", text)


def test_help_of_training_lists_the_arguments_of_the_network(capsys, monkeypatch):
    for part, network in (("resampler", R2IR), ("diffuser", R2ID)):
        _, text, _ = run(capsys, monkeypatch, "train", part, "mnist", "--help")
        for parameter in list(inspect.signature(network).parameters.values())[:-1]:
            assert f"{parameter.name}={parameter.default}" in text
    assert "time_dim=128: channels of the time embedding" in text


def test_help_of_resume_says_what_happens_to_another_folder(capsys, monkeypatch, tmp_path):
    sample = ("sample", "--latent-size", "4x4", "--size", "9x9", *QUICK, "--output", tmp_path / "x")
    assert run(capsys, monkeypatch, *sample, "--labels", "3")[0] == 0
    status, _, error = run(capsys, monkeypatch, *sample, "--labels", "4")
    assert status == 2 and "give another output" in error
    status, out, _ = run(capsys, monkeypatch, "sample", "--help")
    assert "holds pictures of other settings is refused" in " ".join(unwrapped(out).split())
