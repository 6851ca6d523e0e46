"""Which package may import which, and that importing the networks loads nothing above them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "r2id"

MAY_IMPORT = {
    "errors": (),
    "geometry": ("errors",),
    "runtime": ("errors", "geometry"),
    "files": ("errors", "geometry", "runtime"),
    "fields": ("errors", "geometry"),
    "networks": ("errors", "geometry", "runtime", "files", "fields"),
    "conditioning": ("errors", "files", "networks"),
    "diffusion": ("errors", "geometry", "runtime", "files", "networks", "conditioning"),
    "data": ("errors", "geometry", "files", "conditioning"),
    "evaluation": ("errors", "geometry", "runtime", "files", "networks", "conditioning", "diffusion", "data"),
    "publishing": ("errors", "geometry", "files", "fields", "networks", "conditioning", "diffusion", "evaluation"),
    "training": (
        "errors", "geometry", "runtime", "files", "networks", "conditioning", "diffusion", "data",
    ),
    "batch": ("errors", "geometry", "runtime", "files", "fields", "networks", "diffusion", "data"),
    "app": ("errors", "geometry", "runtime", "files", "networks", "diffusion", "batch"),
    "cli": (
        "errors", "geometry", "runtime", "files", "networks", "diffusion", "data", "evaluation", "publishing",
        "training", "batch", "app",
    ),
}  # fmt: skip
"""From low to high. What is not here are the root, which names what users import, and the places where models saved
with version 0.1 look for their classes."""

ABOVE = ("data", "evaluation", "publishing", "training", "batch", "app", "cli")
ROOT = {"__init__", "__main__", "diffuser", "resampler", "pipeline"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The packages that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.split(".")[0] == "r2id" and "." in name}


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in {*ROOT, "pretrained"}]


def test_every_package_has_its_line():
    assert {room_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_imports_only_what_its_package_may(path):
    room = room_of(path)
    assert imported(path) <= {room, *MAY_IMPORT[room]}


def test_no_package_imports_a_higher_one():
    order = list(MAY_IMPORT)
    for room, lower in MAY_IMPORT.items():
        assert all(order.index(one) < order.index(room) for one in lower), room


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if room not in ("errors", "app", "cli")])
def test_a_package_says_in_a_sentence_what_it_is_and_imports(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    said = (
        text.partition("imports ")[2].rstrip(".").replace(" alone", "").replace(" and ", ", ").replace("\nand ", ", ")
    )
    assert tuple(said.replace("\n", " ").split(", ")) == MAY_IMPORT[room]


@pytest.mark.parametrize(
    ("module", "above"),
    [
        ("r2id.networks.resampler", ("conditioning", "diffusion", *ABOVE)),
        ("r2id.networks.diffuser", ("conditioning", "diffusion", *ABOVE)),
        ("r2id.diffusion.pipeline", ABOVE),
    ],
)
def test_importing_loads_nothing_above(module, above):
    script = f"import json, sys, {module}; print(json.dumps([n for n in sys.modules if n.startswith('r2id.')]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert {name.split(".")[1] for name in loaded}.isdisjoint(above)
    if "networks" in module:
        assert {"r2id.files.hub", "r2id.files.cards"}.isdisjoint(loaded)
