"""Compilation of networks by torch.compile, for training and for sampling."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from r2id.errors import InputError
from r2id.networks.diffuser import R2ID
from r2id.networks.layers import EncoderBlock
from r2id.networks.resampler import R2IR


def compile_network(network: R2IR | R2ID) -> None:
    """Compile the network: R2ID block by block, R2IR, which has few blocks, as a whole.

    All blocks of a kind share one compilation. The reads at both ends of a pyramid are not compiled, because their
    sizes change from step to step.
    """
    if isinstance(network, R2IR) and network.is_pyramid:
        network.encoder.compile()
        network.decoder.compile()
        return
    # diffusers' compile_repeated_blocks finds blocks by class name, which sharding changes.
    blocks: list[nn.Module] = [module for module in network.modules() if isinstance(module, EncoderBlock)]
    for module in blocks or [network]:
        module.compile()


def check_compiler(device: torch.device, remedy: str) -> None:
    """Raise InputError, which ends in a remedy, if torch.compile would find no C++ compiler for the CPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    if device.type == "cpu":
        try:
            get_cpp_compiler()
        except Exception as error:
            raise InputError(f"compile is on and there is no C++ compiler such as g++; {remedy}") from error


@contextmanager
def nothing_queued_after_errors() -> Iterator[None]:
    """Cancel queued compilations when an exception, such as Ctrl-C, leaves the context.

    Python would otherwise finish the queue before it ends, for half a minute.
    """
    try:
        yield
    except BaseException:
        if compiling := sys.modules.get("torch._inductor.async_compile"):
            pool = compiling.AsyncCompile.pool
            if pool.cache_info().currsize:
                pool().shutdown(wait=False, cancel_futures=True)
                pool.cache_clear()
        raise


@contextmanager
def compilations(note: Callable[[bool], None]) -> Iterator[None]:
    """Call `note` with True when torch starts to compile within the context, and with False when it is done."""
    from torch._dynamo.callback import callback_handler

    def started(*_: object) -> None:
        note(True)

    def ended(*_: object) -> None:
        note(False)

    callback_handler.register_start_callback(started)
    callback_handler.register_end_callback(ended)
    try:
        with nothing_queued_after_errors():
            yield
    finally:
        callback_handler.remove_start_callback(started)
        callback_handler.remove_end_callback(ended)
