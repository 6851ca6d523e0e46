"""Which pages `r2id app` serves."""

import os
import signal
from types import SimpleNamespace

import pytest

from r2id.app import page
from r2id.cli import show
from r2id.cli.program import read
from r2id.errors import InputError


@pytest.fixture
def served(monkeypatch):
    """Runs a command line of `r2id app` until it would wait for visitors; returns its blocks."""
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    launched = []

    def launch(blocks, *_):
        launched.append(blocks)
        return SimpleNamespace(block_thread=lambda: None)

    monkeypatch.setattr(page, "launch", launch)

    def serve(*options):
        command, settings = read(["app", *options])
        command(settings)
        return launched[-1]

    return serve


def headings(blocks):
    """The heading of each page, by its path."""
    texts = [(block.page, block.value) for block in blocks.blocks.values() if block.get_block_name() == "markdown"]
    return {path: text.removeprefix("# ") for path, text in texts if text.startswith("# ")}


def test_without_a_model_all_bundled_ones_have_a_page(served):
    blocks = served()
    assert headings(blocks) == {
        "": "Flowers",
        "drawings": "Drawings",
        "digits": "Digits",
        "digits-of-splats": "Digits of splats",
        "photographs": "Photographs",
    }
    choosers = {block.page: block.elem_id for block in blocks.blocks.values() if block.elem_id in ("texts", "classes")}
    assert choosers == {"": "classes", "drawings": "texts"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("emoji", {"": "Drawings", "photographs": "Photographs"}),
        ("pictures", {"": "Photographs"}),
    ],
)
def test_a_model_is_served_alone(served, model, expected):
    assert headings(served("--model", model)) == expected


def test_a_model_of_ones_own_makes_pictures(served, make_pipeline, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "mine")
    assert headings(served("--model", str(tmp_path / "mine")))[""] == "Pictures"


def test_files_of_all_visitors_lie_in_one_folder_within_its_limit():
    *studios, photographs = show.load_makers(None, "cpu").values()
    assert len({studio.folder for studio in studios}) == 1 and studios[0].folder.is_dir()
    assert photographs.folder != studios[0].folder


def test_a_model_that_is_missing_is_named_in_a_sentence(served):
    with pytest.raises(InputError, match="nowhere"):
        served("--model", "./nowhere")
