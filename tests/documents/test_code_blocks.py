"""Every code block of the documents runs as printed; what would take too long is read by the real command lines.

Python runs from the top of a document to its end, with the bundled weights, in an empty folder where FOLDER is a data
set, photo.jpg and photos/ are pictures, and runs/ holds the bundled weights. Commands are read by the programs' own
parsers; those of RUN are then run.
"""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from r2id.cli import main, program
from r2id.cli.parsing import OptionError
from r2id.files import images
from r2id.networks.loading import PRETRAINED

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "src", "tests", "benchmarks")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])

RUN = ("sample", "resample", "encode", "decode", "info", "card")
"""Commands that take seconds, with SMALLER and FEWER. Of the others only the options are read; `export`, half a minute,
and the example that samples from what it writes run in tests/test_export.py."""
SMALLER = {"32768x32768": "600x600", "6000": "700", "5000": "1"}
FEWER = {"sample": ["--num-inference-steps", "2"]}


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    text = document.read_text(encoding="utf-8")
    fences = re.findall(r"^( *)(```+|~~~+)([^\n`]*)\n(.*?)^\1\2 *$", text, flags=re.DOTALL | re.MULTILINE)
    return [(language.strip(), textwrap.dedent(code)) for _, _, language, code in fences]


def having(language: str) -> list[Path]:
    return [document for document in DOCUMENTS if any(kind == language for kind, _ in blocks(document))]


@pytest.fixture
def folder(monkeypatch, tmp_path, tmp_path_factory):
    """The folder that the documents assume."""
    modules = tmp_path_factory.mktemp("modules")
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        shutil.copytree(ROOT / "tests" / "fixtures" / "emoji", Path("FOLDER") / split)
    emoji = next((ROOT / "tests" / "fixtures" / "emoji").glob("*.png"))
    Path("photos").mkdir()
    for picture in ("photo.jpg", "photos/one.jpg"):
        Image.open(emoji).convert("RGB").resize((48, 32)).save(picture)
    for name, target in (("diffuser/pipeline", "mnist"), ("resampler/resampler", "mnist/resampler")):
        (tmp_path / "runs" / name).parent.mkdir(parents=True)
        (tmp_path / "runs" / name).symlink_to(PRETRAINED / target)
    return tmp_path


@pytest.fixture
def texts(folder, text_pipeline, make_resampler):
    """In the same folder, a model of texts and an R2IR of colours for the document that trains them."""
    text_pipeline.save_pretrained(folder / "runs" / "emoji" / "pipeline")
    make_resampler(image_channels=3).save_pretrained(folder / "runs" / "emoji-resampler" / "resampler")


def run_python(document: Path) -> dict[str, object]:
    """Run the Python of a document; returns its names."""
    names: dict[str, object] = {"__name__": name_of(document)}
    for language, code in blocks(document):
        if language == "python":
            exec(compile(code, name_of(document), "exec"), names)
    return names


def test_every_block_is_of_a_language_that_runs_here():
    others = {(name_of(document), kind) for document in DOCUMENTS for kind, _ in blocks(document)}
    assert {kind for _, kind in others} <= {"python", "sh"}, others


@pytest.mark.parametrize("document", having("python"), ids=name_of)
def test_python_runs(document, folder, texts):
    before = set(folder.iterdir())
    names = run_python(document)
    if name_of(document) == "README.md":
        assert {path.name for path in set(folder.iterdir()) - before} == {"three.png", "large-eight.png"}
        assert Image.open("large-eight.png").size == (512, 512)
    if name_of(document) == "docs/zoom.md":
        assert names["corner"].shape == (1, 1, 256, 256)
    if name_of(document) == "docs/resample.md":
        assert names["wide"].shape == (1, 1, 90, 160)


@pytest.mark.parametrize("document", having("sh"), ids=name_of)
def test_commands_run_or_are_read(document, folder, texts, monkeypatch):
    monkeypatch.setattr(images, "LARGE", 1 << 18)
    for language, code in blocks(document):
        if language == "sh":
            subprocess.run(["bash", "-n", "-c", code], check=True)
            check_script(code, monkeypatch)
    if name_of(document) == "README.md":
        with Image.open(folder / "out" / "sunflower.png") as flower:
            assert flower.size == (640, 360)
    if name_of(document) == "docs/zoom.md":
        assert (folder / "out" / "zoom" / "region.png").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_within_sentences_are_read(document):
    text = re.sub(r"^( *)(```+).*?^\1\2 *$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`(r2id [^`]+ --[^`]+)`", text):
        if "…" not in command and not command.endswith(("--help", "--model")):
            read_r2id(shlex.split(command)[1:])


def test_wrong_options_are_noticed():
    with pytest.raises(AssertionError, match="--sizes"):
        read_r2id(shlex.split("sample --sizes 32x32 --output out"))
    with pytest.raises(AssertionError, match="sharpen"):
        check_script("sharpen --much picture.png", None)


def check_script(script: str, monkeypatch) -> None:
    """Check every command of a script, and run those that can be."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            check_command(words[:end], monkeypatch)
            words = words[end + 1 :]


def check_command(words: list[str], monkeypatch) -> None:
    """Check one command by its own parser, or by what it names."""
    while re.match(r"\w+=", words[0]):
        words = words[1:]
    # What the shell would put in.
    program, *arguments = (re.sub(r"\$\w+", "1", word) if words[0] != "srun" else word for word in words)
    if program in ("r2id", "accelerate", "torchrun"):
        arguments = read_r2id(arguments if program == "r2id" else launched(program, arguments))
        model = arguments[arguments.index("--model") + 1] if "--model" in arguments else "mnist"
        if arguments[0] in RUN and (Path(model).exists() or (PRETRAINED / model).exists()):
            arguments = [SMALLER.get(word, word) for word in arguments] + FEWER.get(arguments[0], [])
            monkeypatch.setattr(sys, "argv", ["r2id", *arguments])
            main()
    elif program == "bash" and arguments[0].endswith(".sh"):
        subprocess.run(["bash", "-n", str(ROOT / arguments[0])], check=True)
    elif program in ("srun", "bash"):
        check_script(arguments[arguments.index("-c") + 1], monkeypatch)
    elif program == "make":
        made = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    elif program == "pip":
        wanted = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
        extras = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
        assert all(re.search(rf"^{extra} =", extras, re.MULTILINE) for extra in ",".join(wanted).split(",") if extra)
    elif program == "python" and arguments[0] == "-c":
        ast.parse(arguments[1])
    elif program == "python" and arguments[0].endswith(".py"):
        script = ROOT / arguments[0]
        source = script.read_text(encoding="utf-8")
        # Scripts of a folder may share options, in a module beside them.
        for name in re.findall(r"^from (\w+) import", source, re.MULTILINE):
            if (beside := script.with_name(f"{name}.py")).exists():
                source += beside.read_text(encoding="utf-8")
        # An option is given to argparse, or is a setting that tyro reads.
        settings = {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): ", source, re.MULTILINE)}
        options = [word for word in arguments[1:] if word.startswith("--")]
        assert all(f'"{word}"' in source or word in settings for word in options), words
    elif program == "hf":
        known = subprocess.run(
            [sys.executable, "-m", "huggingface_hub.cli.hf", arguments[0], "--help"], capture_output=True
        )
        assert known.returncode == 0 and Path(arguments[-1]).exists(), words
    elif program == "tensorboard":
        from tensorboard.program import TensorBoard

        TensorBoard().configure(["tensorboard", *arguments])
    elif program in ("git", "cd"):
        assert arguments in (["clone", "REPOSITORY", "r2id"], ["r2id"]), words
    elif program == "cp":
        assert (ROOT / arguments[-1]).exists(), words
    else:
        assert program == "export", f"no test here knows {' '.join(words)}"


def launched(program: str, arguments: list[str]) -> list[str]:
    """The arguments of the r2id that a launcher starts, as its own parser reads them."""
    if program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        assert arguments.pop(0) == "launch"
        options = launch_command_parser().parse_args(arguments)
    else:
        from torch.distributed.run import get_args_parser

        options = get_args_parser().parse_args(arguments)
    assert options.module and options.training_script == "r2id", arguments
    return options.training_script_args


def read_r2id(arguments: list[str]) -> list[str]:
    """Read the arguments of r2id with its own command line, which calls nothing; returns them."""
    try:
        program.read(arguments)
    except (SystemExit, OptionError) as error:
        raise AssertionError(f"r2id {' '.join(arguments)} is not accepted") from error
    return arguments
