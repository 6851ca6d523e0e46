"""`r2id render`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from r2id.runtime.progress import progress


@dataclass(frozen=True, kw_only=True)
class Render:
    """Render packages of vector pictures, with their names as captions, to a folder that training reads."""

    packages: tyro.conf.Positional[tuple[Path, ...]]
    """Packages of Iconify, as `npm pack` fetches them, or folders with their icons.json. Each is a style."""
    names: Path
    """The package emojibase-data, as `npm pack` fetches it, or its folder: labels and tags of emoji."""
    output: Path
    """Folder for train/ and test/ with transparent PNGs and their metadata.jsonl; it must be new or empty."""
    size: int = 128
    """Side of the pictures in pixels."""
    test_share: float = 0.05
    """Share of the subjects to keep for test/, in all styles."""
    num_workers: int = 0
    """Processes that render; 0 for none beside the main one."""


def render(config: tyro.conf.OmitArgPrefixes[Render]) -> None:
    """Render packages of vector pictures, with their names as captions, to a folder that training reads."""
    from r2id.data.named_drawings import named_drawings, render_named_drawings

    drawings = named_drawings(config.packages, config.names)
    with progress(len(drawings), "rendering") as on_drawing:
        found = render_named_drawings(
            drawings,
            config.output,
            size=config.size,
            test_share=config.test_share,
            num_workers=config.num_workers,
            on_drawing=on_drawing,
        )
    print(found)
