"""Which settings each form of R2IR has; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHARED = ("image_channels", "latent_channels", "attention", "training")
GLOBAL = (
    "feature_map", "dim", "num_heads", "num_blocks", "num_high", "num_low", "jitter", "sample_size", "latent_size",
)  # fmt: skip
LOCAL_ENCODER = ("radius", "basis", "value_dim")
SETTINGS = {
    "global": (*SHARED, *GLOBAL),
    "local": (*SHARED, *GLOBAL, *LOCAL_ENCODER, "pixel_dim", "pixel_blocks"),
    "splats": (*SHARED, *GLOBAL, *LOCAL_ENCODER),
    "pyramid": (
        *SHARED, "widths", "block_dim", "encoder_blocks", "decoder_blocks", "read_channels", "read_dim",
        "pixels_per_cell",
    ),
}  # fmt: skip
"""Arguments of `R2IR` by its `attention`; the others have no effect on that form."""


def settings_of_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an R2IR without settings of other forms; entries that are no arguments stay."""
    every = {name for names in SETTINGS.values() for name in names}
    own = SETTINGS.get(config["attention"], every)
    return {name: value for name, value in config.items() if name in own or name not in every}
