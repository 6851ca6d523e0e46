"""Runs cases, each in a process of its own, and prints the bytes of each, for `measuring.peak_memory`.

A line [case, arguments…] comes in, a line with the bytes goes out, or an empty one where the case failed.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cases  # noqa: E402
from measuring import resident_peak  # noqa: E402

if __name__ == "__main__":
    for line in sys.stdin:
        case, *arguments = json.loads(line)
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            if status:
                print(flush=True)
            continue
        # Nothing of torch has run before the fork, so that no thread of it is missing after.
        print(resident_peak(getattr(cases, case)(*arguments)), flush=True)
        os._exit(0)
