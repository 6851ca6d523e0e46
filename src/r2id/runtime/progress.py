"""How far a piece of work is: on a terminal, in lines, or for nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

LINE_EVERY = 60.0
"""Seconds between two lines, where there is no terminal to show a bar."""


class Progress(Protocol):
    """What shows it: a context around the work, which yields what is called with each number of things that were done.

    Of the `total`, `done` were there before the work began; they say nothing of how long the rest takes.
    """

    def __call__(self, total: int, title: str, done: int = 0) -> AbstractContextManager[Callable[[int], object]]: ...


@contextmanager
def progress(total: int, title: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, elsewhere a line every minute."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=title, leave=False) as bar:
            yield bar.update
        return
    # tqdm's own mininterval writes over one line, which a log shows as a single endless one.
    begin = said = time.monotonic()
    now_done = done

    def advance(count: int) -> None:
        nonlocal now_done, said
        now_done, now = now_done + count, time.monotonic()
        if now - said >= LINE_EVERY:
            said = now
            elapsed, scaled = now - begin, total >= 10**6
            line = tqdm.format_meter(now_done, total, elapsed, ncols=0, prefix=title, initial=done, unit_scale=scaled)
            print(line, file=sys.stderr, flush=True)

    yield advance


@contextmanager
def unseen(total: int, title: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """The progress that nobody looks at."""
    yield uncounted


def uncounted(count: int) -> None:
    """Take no notice of it."""
