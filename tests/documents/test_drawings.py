"""The drawings of the documentation can be made anew."""

import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


def test_the_script_makes_every_drawing_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["drawings.py", "--output", str(tmp_path)])
    runpy.run_path(str(DOCS / "drawings.py"), run_name="__main__")
    made = {path.name: path for path in tmp_path.iterdir()}
    ideas = (DOCS / "ideas.md").read_text(encoding="utf-8")
    assert made.keys() == {path.name for path in (DOCS / "drawings").iterdir()}
    for name, path in made.items():
        assert f"(drawings/{name})" in ideas
        if path.suffix == ".svg":
            kept, drawn = (ElementTree.parse(file).getroot() for file in (DOCS / "drawings" / name, path))
            assert (kept.get("width"), kept.get("height")) == (drawn.get("width"), drawn.get("height"))
        else:
            assert Image.open(path).size == Image.open(DOCS / "drawings" / name).size
