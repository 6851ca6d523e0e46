"""`r2id demo` and `app`."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from r2id.app.enlarger import Enlarger
    from r2id.app.studio import Studio

from r2id.cli.models import GeneratorChoice, check_labels, is_network, load_pipeline, load_resampler
from r2id.cli.parsing import check_seed, parse_labels
from r2id.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Demo(GeneratorChoice):
    """Write a gallery: the same latents at many sizes, and latents of other sizes and shapes."""

    output: Path = Path("out")
    """Folder to write to."""
    labels: str | None = None
    """Labels, separated by commas; 0-9 is a range. By default the model's examples, or all that it knows; at most
    ten."""
    seed: int = 1
    """Seed of the pictures."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of the networks: fp32 is float32 (on GPUs TensorFloat32); bf16 is faster, and pictures differ a
    little. A device without units for bf16 computes in float32."""


def demo(config: tyro.conf.OmitArgPrefixes[Demo]) -> None:
    """Write a gallery: the same latents at many sizes, and latents of other sizes and shapes."""
    from r2id.batch.gallery import write_gallery
    from r2id.runtime.precision import autocast

    check_seed(config.seed)
    check_labels(config.model, config.labels)
    pipeline = load_pipeline(config.model, config.device, config.precision)
    known = pipeline.conditioner.label_names
    shown = pipeline.generation_defaults.shown(known, 10)
    labels = parse_labels(config.labels, known) if config.labels is not None else shown
    with autocast(config.precision, pipeline.device):
        page = write_gallery(pipeline, labels, config.seed, config.output)
    print(f"open {page}, or look at the pictures beside it")


@dataclass(frozen=True, kw_only=True)
class App:
    """Serve a web page on this machine: generate, decode again, zoom, and compare and enlarge photographs."""

    model: str | None = None
    """A folder, bundled weights, or a Hugging Face hub id; by default a page for each of the bundled R2IDs."""
    device: str | None = None
    """Device such as cpu or cuda; by default the GPU if there is one."""
    port: int = 7860
    """Port of the page, http://127.0.0.1:PORT."""
    browser: bool = False
    """Open the page in the browser."""


BUNDLED = {"Flowers": "flowers", "Drawings": "emoji", "Digits": "mnist", "Digits of splats": "mnist-splats"}
"""Bundled weights of R2ID, by the title of their page."""
PHOTOGRAPHS = "Photographs"


def serve(config: tyro.conf.OmitArgPrefixes[App]) -> None:
    """Serve a web page on this machine: generate, decode again, zoom, and compare and enlarge photographs.

    An R2IR alone, such as `pictures`, gets the page for photographs.
    """
    if not 1 <= config.port <= 65535:
        raise InputError(f"port is {config.port}; it must be from 1 to 65535")

    # SIGTERM ends the page like Ctrl-C, so that its files are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    makers = load_makers(config.model, config.device)
    # gradio reads them on import.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(next(iter(makers.values())).folder)}
    from r2id.app.page import build, launch

    page = launch(build(makers), config.port, config.browser)
    print(f"serving http://127.0.0.1:{config.port}, until Ctrl-C", flush=True)
    page.block_thread()


def load_makers(model: str | None, device: str | None) -> dict[str, Studio | Enlarger]:
    """Return what makes the pictures of each page, by its title; the studios share a folder."""
    from r2id.app.enlarger import Enlarger
    from r2id.app.studio import Studio

    if model and is_network(model):
        enlarger = Enlarger(lambda: load_resampler(model, device))
        enlarger.network  # noqa: B018 - a model that does not fit is refused before the page is served
        return {PHOTOGRAPHS: enlarger}
    titles = {name: title for title, name in BUNDLED.items()}
    folder, makers = None, {}
    for name in [model] if model else titles:
        studio = Studio(load_pipeline(name, device), folder)
        folder = studio.folder
        makers[titles.get(name, "Pictures")] = studio
    return makers | {PHOTOGRAPHS: Enlarger(lambda: load_resampler("pictures", device))}
