"""The Hugging Face hub, where it does not answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

SECONDS = 10.0
"""How long the hub has for its first answer."""


@contextmanager
def hub_or_cache(name: str, kind: str = "model") -> Iterator[None]:
    """Within it, the hub's clients read their cache alone where the hub does not answer, as with HF_HUB_OFFLINE=1.

    They would try again for half a minute, which is long for a mistyped name.
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
        # It has answered, or is not to be asked, or this is no name: the loader says so.
        return True
    except Exception:
        # The hub's client has changed the library whose errors these are.
        return False
    return True
