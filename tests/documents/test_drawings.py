"""The drawings of the documentation can be made anew."""

import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


def size_of(path: Path) -> tuple[float, ...]:
    if path.suffix == ".svg":
        _, _, *size = ElementTree.parse(path).getroot().attrib["viewBox"].split()
        return tuple(map(float, size))
    return Image.open(path).size


def test_the_script_makes_every_drawing_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["drawings.py", "--output", str(tmp_path)])
    runpy.run_path(str(DOCS / "drawings.py"), run_name="__main__")
    made = {path.name: path for path in tmp_path.iterdir()}
    ideas = (DOCS / "ideas.md").read_text(encoding="utf-8")
    assert made.keys() == {path.name for path in (DOCS / "drawings").iterdir()}
    for name, path in made.items():
        assert f"(drawings/{name})" in ideas
        # Other fonts make other margins.
        assert size_of(path) == pytest.approx(size_of(DOCS / "drawings" / name), rel=0.1)
