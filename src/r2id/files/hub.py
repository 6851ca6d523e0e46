"""The Hugging Face hub when it does not answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

SECONDS = 10.0
"""Seconds to wait for the hub's first answer."""


@contextmanager
def hub_or_cache(name: str, kind: str = "model") -> Iterator[None]:
    """Let the hub's clients read only their cache if the hub does not answer, as with HF_HUB_OFFLINE=1.

    They would otherwise retry for half a minute.
    """
    places = [constants, *([sys.modules["datasets"].config] if "datasets" in sys.modules else [])]
    before = [place.HF_HUB_OFFLINE for place in places]
    answers = _answers(name, kind)
    try:
        for place in () if answers else places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _answers(name: str, kind: str) -> bool:
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=SECONDS)
    except (HfHubHTTPError, OfflineModeIsEnabled, ValueError):
        # It answered, is switched off, or the name is invalid, which the loader reports.
        return True
    except Exception:
        # The library behind these errors differs between versions of the hub's client.
        return False
    return True
