"""What becomes of memory that this process frees."""

from __future__ import annotations

import ctypes
import os

KEPT_BYTES = 1 << 28
"""Freed memory that a process keeps."""
MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}
"""Parameters of glibc's mallopt(3), by the environment variables that set them too."""


def keep_freed_memory() -> None:
    """Have this process keep freed memory, up to KEPT_BYTES, unless the environment sets glibc's thresholds.

    glibc returns each large tensor to the system, which fills the next one with zeros. Other C libraries stay as they
    are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for variable, parameter in MALLOPT.items():
        if variable not in os.environ:
            mallopt(parameter, KEPT_BYTES)
