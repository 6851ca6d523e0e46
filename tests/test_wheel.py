"""The wheel works alone: built, installed into an empty environment away from the repository, and used."""

import email
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import r2id

ROOT = Path(__file__).parents[1]
OWN_OF_TORCH = {"torch", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy"}
OWN_OF_TORCH |= {"typing-extensions", "triton"}
MOST_PACKAGES = 31
"""Packages beyond torch's own that the base install may bring, this one among them; 24 of them are diffusers' own."""

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """The programs of an environment that holds nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    subprocess.run([folder / "bin" / "python", *install], check=True)
    return folder / "bin"


def run(folder: Path, *command: str | Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=clean, check=True, capture_output=True, text=True).stdout


def test_it_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"r2id", f"r2id-{r2id.__version__}.dist-info"}
    source = ROOT / "src" / "r2id"
    files = [path.relative_to(source.parent) for path in source.rglob("*") if path.is_file()]
    expected = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert {name for name in names if name.startswith("r2id/")} == expected
    assert {"r2id/py.typed", "r2id/pretrained/mnist/diffuser/diffusion_pytorch_model.safetensors"} <= expected


def test_it_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    text = archive.read(f"r2id-{r2id.__version__}.dist-info/METADATA").decode()
    about = email.message_from_string(text)
    assert about["Version"] == r2id.__version__ and about["Requires-Python"] == ">=3.10"
    versions = [name.rpartition(" ")[2] for name in about.get_all("Classifier") if re.search(r":: 3\.\d+$", name)]
    assert versions == ["3.10", "3.11", "3.12", "3.13"]
    assert {"train", "eval", "text", "app", "onnx"} <= set(about.get_all("Provides-Extra"))


def test_it_brings_few_packages(environment, tmp_path):
    listed = run(tmp_path, environment / "python", "-m", "pip", "list", "--format", "freeze").split()
    packages = {line.partition("==")[0].lower().replace("_", "-") for line in listed}
    beyond = {name for name in packages - OWN_OF_TORCH - {"pip"} if not name.startswith(("nvidia", "cuda"))}
    print(f"{len(beyond)} packages beyond torch's own: {', '.join(sorted(beyond))}")
    assert len(beyond) <= MOST_PACKAGES
    assert not beyond & {"transformers", "accelerate", "datasets", "gradio", "matplotlib", "pandas", "scipy"}


def test_it_samples_and_resamples_away_from_the_repository(environment, tmp_path):
    run(tmp_path, environment / "r2id", "sample", "--labels", "3", "--keep-latents", "--output", "out")
    latent = "out/latents/00000000.safetensors"
    run(
        tmp_path,
        environment / "r2id",
        "resample",
        latent,
        "--model",
        "mnist",
        "--size",
        "64x64",
        "--output",
        "out/large.png",
    )
    assert (tmp_path / "out" / "32x32" / "0-3.png").is_file() and (tmp_path / "out" / "large.png").is_file()


def test_it_runs_as_a_module_and_has_its_types(environment, tmp_path):
    assert run(tmp_path, environment / "python", "-m", "r2id", "info").startswith("model mnist\n")
    where = run(tmp_path, environment / "python", "-c", "import r2id; print(r2id.__file__)").strip()
    assert not where.startswith(str(ROOT)) and (Path(where).parent / "py.typed").is_file()
    code = "from r2id import R2Pipeline; R2Pipeline.from_pretrained('mnist').save_pretrained('saved')"
    run(tmp_path, environment / "python", "-c", code)
    assert (tmp_path / "saved" / "README.md").is_file()


def test_commands_that_need_an_extra_name_it(environment, tmp_path):
    finished = subprocess.run([environment / "r2id", "app"], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 2 and "pip install 'r2id[app]'" in finished.stderr
