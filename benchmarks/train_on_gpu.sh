#!/usr/bin/env bash
# Train the bundled weights of that name on a GPU for some seconds, from where they are on.
#
#     bash benchmarks/train_on_gpu.sh pictures|emoji|flowers DATA OUTPUT [SECONDS [OPTION...]]
#
# DATA is, for pictures, what benchmarks/pictures/collect.py packed, and else latents of benchmarks/recipe/variants.py.
# OUTPUT gets the trained model in OUTPUT/resampler or OUTPUT/pipeline, checkpoints and log.txt. The same command goes on
# with a training that was cut off. Further options are those of `r2id train`. If compiling fails, the rest of the time
# goes to training without it.
#
#     FROM=FOLDER     weights to go on from in place of the bundled ones; empty for none
#     WHEELS=FOLDER   wheels of what is missing beside torch, numpy, Pillow and safetensors, to install without a network
#     PRESET=NAME     another preset
#     PYTHON=COMMAND  another interpreter than python3
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
    exit 2
fi
name=$1 data=$2 output=$3 seconds=${4:-560}
shift $(($# < 4 ? $# : 4))
options=("$@")
python=${PYTHON:-python3}
SECONDS=0
START_AND_SAVE=25 # seconds of the command outside of the training

if [ -n "${WHEELS:-}" ]; then
    # All that the folder holds and nothing else: torch's own requirements are not looked at.
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$WHEELS"/*.whl
fi
if [ "$name" = pictures ]; then
    command=(resampler "${PRESET:-pictures-large}" --data "$data/photographs")
    drawings=("$data"/drawings/*)
    [ ! -e "${drawings[0]}" ] || options=(--drawings "${drawings[@]}" "${options[@]}")
else
    # With 256 pictures a step, an H200 was 8 % busy. Compiling for four canvases took longer than ten minutes win back.
    command=(diffuser "${PRESET:-$name}" --data "$data" --batch-size 1024 --learning-rate 2e-3 --ema-decay 0.9995)
fi
from=${FROM-$name}
[ -z "$from" ] || options=(--init-from "$from" "${options[@]}")
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH PYTHONUNBUFFERED=1
mkdir -p "$output"

train() {
    local resume=()
    compgen -G "$output/checkpoints/step-*" >/dev/null && resume=(--resume)
    "$python" -m r2id train "${command[@]}" --output "$output" \
        --seconds "$((seconds - SECONDS - START_AND_SAVE))" --checkpoint-every 500 "${options[@]}" "${resume[@]}" "$@" \
        2>&1 | tee -a "$output/log.txt"
}
train || {
    status=$?
    [ "$status" -lt 128 ] || exit "$status" # stopped by a signal
    train --no-compile
}
