"""What one visitor has generated or encoded before, to look at again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, takewhile

from r2id.app.session import Session

MOST = 24
MOST_NUMBERS = 2**22
"""Most numbers in all latents that are kept of a visitor."""


@dataclass(frozen=True)
class Earlier:
    """A session as it was at first, and its first picture as a strip of pictures takes it."""

    session: Session
    shown: dict[str, str]


def with_newest(newest: Earlier, earlier: tuple[Earlier, ...]) -> tuple[Earlier, ...]:
    """Return what is kept, the newest first. The oldest are left out beyond MOST, or beyond MOST_NUMBERS."""
    some = (newest, *earlier)[:MOST]
    numbers = accumulate(sum(part.latents.numel() for part in one.session.canvases) for one in some)
    kept = tuple(one for one, _ in takewhile(lambda pair: pair[1] <= MOST_NUMBERS, zip(some, numbers, strict=True)))
    return kept or (newest,)
