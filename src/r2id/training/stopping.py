"""Requests to stop a training, by Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class StepAbandoned(KeyboardInterrupt):
    """A stop request in the middle of a step that may be abandoned."""


@dataclass
class StopRequests:
    """Whether a stop was requested, and whether it may abandon the running step (`at_once`)."""

    asked: bool = False
    at_once: bool = False


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Record Ctrl-C (SIGINT) and SIGTERM, so that the training stops after a whole step.

    While `at_once` is set, they raise StepAbandoned. A second signal ends the training at once.
    """
    stop = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        number = signal.Signals(number)
        stop.asked = True
        signal.signal(number, before[number])
        if stop.at_once:
            raise StepAbandoned
        # os.write, because the signal may interrupt a print.
        os.write(2, b"\nr2id: stopping after this step; once more to stop at once\n")

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
