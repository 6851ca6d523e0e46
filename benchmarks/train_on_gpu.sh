#!/usr/bin/env bash
# Train the pyramid of benchmarks/pictures for the next ten minutes of a GPU, going on from its weights.
#
#     bash benchmarks/train_on_gpu.sh DATA OUTPUT [SECONDS]
#
# DATA is what benchmarks/pictures/collect.py gathered. Weights go to OUTPUT, a log beside them. Needs torch, Pillow,
# numpy, safetensors and resvg-py. If compiling fails, what is left of the time goes to training without it.
set -euo pipefail
data=$1 output=$2 seconds=${3:-560}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$output"
train() {
    PYTHONUNBUFFERED=1 python3 "$here/pictures/train.py" --data "$data" --output "$output" \
        --init-from "$here/pictures/weights.safetensors" "$@" 2>&1 | tee -a "$output/log.txt"
}
SECONDS=0
train --seconds "$seconds" --compile || train --seconds $((seconds - SECONDS - 5))
