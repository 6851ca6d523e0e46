"""Scripts of benchmarks/ as modules: several are called run.py, so each is loaded under a name of its own."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str, file: str = "run.py") -> Iterator[ModuleType]:
    """benchmarks/NAME/FILE, for as long as a test takes, with the modules beside it."""
    path = BENCHMARKS / name / file
    sys.path.insert(0, str(path.parent))
    unique = f"{name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(unique, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(path.parent))
    yield module
    del sys.modules[unique]


@pytest.fixture
def ablations() -> Iterator[ModuleType]:
    yield from script("ablations")


@pytest.fixture
def quality() -> Iterator[ModuleType]:
    yield from script("quality")


@pytest.fixture
def strokes() -> Iterator[ModuleType]:
    yield from script("quality", "strokes.py")


@pytest.fixture
def showcase() -> Iterator[ModuleType]:
    yield from script("showcase")


@pytest.fixture
def splat_figures() -> Iterator[ModuleType]:
    yield from script("splats", "measure.py")


@pytest.fixture
def recipe_variants() -> Iterator[ModuleType]:
    yield from script("recipe", "variants.py")


@pytest.fixture
def splat_drawings() -> Iterator[ModuleType]:
    yield from script("showcase", "splats.py")
