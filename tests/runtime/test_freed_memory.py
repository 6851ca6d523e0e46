"""What becomes of freed memory."""

import os
import platform
import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource, sys
from r2id.runtime.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
c, size = ctypes.CDLL(None), 1 << 26
c.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = ctypes.c_void_p(c.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    c.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, **environment):
    run = [sys.executable, "-c", PROBE, how]
    return int(subprocess.run(run, env=os.environ | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_freed_memory_is_kept_unless_the_environment_sets_thresholds():
    """A kept block of 64 MiB is filled with zeros once, not each time."""
    fresh, kept = faults("returned"), faults("kept")
    assert kept < 0.2 * fresh
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536") > 0.8 * fresh
