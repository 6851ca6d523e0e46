"""Kill trainings with SIGKILL at random moments, resume each, and compare the end with trainings never killed.

    python benchmarks/hardening/kills.py --kills 50

Every third kill falls within milliseconds of the moment at which a checkpoint begins to be written, every third within
half a second of a checkpoint, and every third anywhere in the life of a process. A training that is done before its
kills are over is followed by another. Writes what happened to results/kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
STEPS = 150
COMMON = (
    *("mnist", "--data", str(ROOT / "tests" / "fixtures" / "digits"), "--image-size", "8x8"),
    *("--latent-sizes", "2x2", "3x3", "--batch-size", "16", "--warmup-steps", "2", "--sample-every", "0"),
    *("--precision", "fp32", "--no-compile"),
)
MODEL = ("--model", "dim=16", "num_heads=2", "num_high=3", "num_low=2")
NETWORKS = {
    "resampler": (*COMMON, *MODEL, "num_blocks=1", "basis=4", "pixel_dim=8"),
    "diffuser": (
        *("mnist", "--resampler", "none", *COMMON[1:], *MODEL),
        *("encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8"),
    ),
}
AIMS = ("while one is written", "after a checkpoint", "anywhere")


def command(network: str, output: Path, *options: str, steps: int) -> list[str]:
    """The command that trains a tiny network."""
    words = [sys.executable, "-m", "r2id", "train", network, *NETWORKS[network]]
    at = words.index("--model")
    return [*words[:at], "--output", str(output), "--steps", str(steps), *options, *words[at:]]


def start(network: str, output: Path, *options: str, steps: int) -> subprocess.Popen:
    """A training as a process of its own; on one thread, or sums would differ in their order."""
    return subprocess.Popen(
        command(network, output, *options, steps=steps),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    """Let a training end by itself; SystemExit with its words where it fails."""
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a training ended with exit status {process.returncode}:\n{printed}")


def checkpoints(output: Path) -> list[str]:
    """Names of the finished checkpoints, ascending."""
    return sorted(path.name for path in output.glob("checkpoints/step-*"))


def leftovers(output: Path) -> int:
    """How many temporary folders killed processes have left."""
    return len([*output.glob(".writing-*"), *output.glob("checkpoints/.writing-*")])


def kill(process: subprocess.Popen, output: Path, aim: str, chance: random.Random) -> bool:
    """Kill a training at a moment of this kind; False if it was done before that."""
    before = checkpoints(output)
    writing = set(output.glob("checkpoints/.writing-*"))

    def until(condition: Callable[[], bool]) -> None:
        while not condition() and process.poll() is None:
            time.sleep(0.0005)

    if aim == "anywhere":
        delay = chance.uniform(0, 8)
    else:
        until(lambda: checkpoints(output) != before)
        delay = chance.uniform(0, 0.5)
    if aim == "while one is written":
        time.sleep(delay)
        until(lambda: bool(set(output.glob("checkpoints/.writing-*")) - writing))
        delay = chance.uniform(0, 0.01)
    deadline = time.monotonic() + delay
    until(lambda: time.monotonic() >= deadline)
    process.kill()
    printed, _ = process.communicate()
    if process.returncode > 0:
        raise SystemExit(f"a training ended with exit status {process.returncode}:\n{printed}")
    return process.returncode < 0


def weights(output: Path) -> dict[str, bytes]:
    """Every trained weight of a training, as bytes."""
    return {
        f"{path.relative_to(output).parent} {name}": tensor.numpy().tobytes()
        for folder in ("resampler", "pipeline")
        for path in sorted(output.glob(f"{folder}/**/*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def torture(network: str, kills: int, seed: int, folder: Path, steps: int = STEPS) -> Counter[str]:
    """Kill trainings of a network so many times, resume them, and count what happened.

    SystemExit where one does not resume, or ends with other weights than one that was never killed.
    """
    chance, counts, done = random.Random(seed), Counter[str](), 0
    whole = folder / "whole"
    finish(start(network, whole, steps=steps))
    expected = weights(whole)
    while done < kills:
        output = folder / f"killed-{counts['trainings']}"
        counts["trainings"] += 1
        running = True
        while running:
            resume = bool(checkpoints(output))
            options = ("--checkpoint-every", "1", *(["--resume"] if resume else []))
            process = start(network, output, *options, steps=steps)
            running = done < kills and kill(process, output, AIMS[done % len(AIMS)], chance)
            if running:
                done += 1
                counts["before the first checkpoint" if not checkpoints(output) else "with a checkpoint"] += 1
                counts["with one half written"] += leftovers(output) > 0
                counts["most leftovers at once"] = max(counts["most leftovers at once"], leftovers(output))
            elif done >= kills:
                finish(process)
        if not expected or weights(output) != expected:
            raise SystemExit(f"{output} was killed and resumed, and ended with other weights than {whole}")
        counts["leftovers in the end"] += leftovers(output)
    counts["kills"] = done
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many, over both networks")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    counted: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number, network in enumerate(NETWORKS):
            kills = arguments.kills // 2 + (number < arguments.kills % 2)
            counted[network] = torture(network, kills, arguments.seed + number, Path(name) / network)
            print(f"{network}: " + ", ".join(f"{key} {value}" for key, value in counted[network].items()), flush=True)
    total = sum(counts["kills"] for counts in counted.values())
    RESULTS.mkdir(exist_ok=True)
    resumed = {"kills that were resumed to the same weights": total, "seed": arguments.seed, "steps": STEPS}
    (RESULTS / "kills.json").write_text(json.dumps(resumed | {"of networks": counted}, indent=1) + "\n")
    print(f"{total} of {total} kills resumed, to the same weights bit for bit")


if __name__ == "__main__":
    main()
