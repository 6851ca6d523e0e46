"""Progress of work: a bar on a terminal, log lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

LINE_EVERY = 60.0
"""Seconds between two log lines."""


class Progress(Protocol):
    """A context around the work that yields a function to call with each number of finished items.

    `done` of the `total` were finished before the work began, and do not count towards its speed.
    """

    def __call__(self, total: int, title: str, done: int = 0) -> AbstractContextManager[Callable[[int], object]]: ...


@contextmanager
def progress(total: int, title: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on a terminal, or else print a line every minute."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=title, leave=False) as bar:
            yield bar.update
        return
    # tqdm redraws one line, which a log shows as a single endless one.
    begin = said = time.monotonic()
    now_done = said_done = done

    def say(now: float) -> None:
        nonlocal said, said_done
        said, said_done = now, now_done
        elapsed, scaled = now - begin, total >= 10**6
        line = tqdm.format_meter(now_done, total, elapsed, ncols=0, prefix=title, initial=done, unit_scale=scaled)
        print(line, file=sys.stderr, flush=True)

    def advance(count: int) -> None:
        nonlocal now_done
        now_done, now = now_done + count, time.monotonic()
        if now - said >= LINE_EVERY:
            say(now)

    yield advance
    # Who has read of a part wants to read of the end.
    if done < said_done < now_done:
        say(time.monotonic())


@contextmanager
def unseen(total: int, title: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Show no progress."""
    yield uncounted


def uncounted(count: int) -> None:
    """Ignore the count."""
