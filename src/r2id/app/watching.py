"""Sampling that a visitor watches, step by step, and that stops when they leave or it takes too long."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError


def watched(
    sample: Callable[[Callable[..., dict[str, Any]]], Any], preview: Callable[[Any], Any], longest: float, advice: str
) -> Generator[Any, None, Any]:
    """Yield a preview of every step, and return the result of `sample`.

    Args:
        sample: samples with the `callback_on_step_end` that it is given, in a thread of its own.
        preview: makes what is shown of the latents of a step; of a joint sample they are a list.
        longest: most seconds.
        advice: what to ask for when these are not enough, the end of a sentence.
    Raises:
        InputError: after `longest` seconds, and from `sample`.
    """
    began, made = time.monotonic(), queue.Queue[tuple[str, Any]]()
    stopped = threading.Event()

    def after_step(pipeline: R2Pipeline, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if stopped.is_set():
            raise InputError("stopped")
        if time.monotonic() - began > longest:
            raise InputError(f"this takes more than {longest:.0f} s; {advice}")
        made.put(("step", preview(tensors["latents"])))
        return {}

    def work() -> None:
        try:
            made.put(("result", sample(after_step)))
        except Exception as error:
            made.put(("error", error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, one = made.get()
            if kind == "error":
                raise one
            if kind == "result":
                return one
            yield one
    finally:
        # Sampling stops when the visitor has left.
        stopped.set()
        thread.join()
