"""Runs one case in a process of its own and prints the bytes it took: `measuring.peak_memory` calls this."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cases  # noqa: E402
from measuring import resident_peak  # noqa: E402

if __name__ == "__main__":
    case, *arguments = json.loads(sys.argv[1])
    print(resident_peak(getattr(cases, case)(*arguments)))
