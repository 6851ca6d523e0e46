#!/usr/bin/env bash
# Train R2IR's pyramid on pictures for some seconds, from the bundled weights on.
#
#     bash benchmarks/train_on_gpu.sh DATA OUTPUT [SECONDS [OPTION...]]
#
# DATA is what benchmarks/pictures/collect.py packed. OUTPUT gets the trained R2IR in OUTPUT/resampler, checkpoints and
# log.txt. The same command goes on with a training that was cut off. Further options are those of
# `r2id train resampler pictures-large`. If compiling fails, the rest of the time goes to training without it.
#
#     FROM=FOLDER     weights to go on from in place of the bundled ones; empty for none
#     WHEELS=FOLDER   wheels of what is missing beside torch, numpy, Pillow and safetensors, to install without a network
#     PRESET=NAME     another preset
#     PYTHON=COMMAND  another interpreter than python3
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
    exit 2
fi
data=$1 output=$2 seconds=${3:-560}
shift $(($# < 3 ? $# : 3))
options=("$@")
python=${PYTHON:-python3}
SECONDS=0
START_AND_SAVE=25 # seconds of the command outside of the training

if [ -n "${WHEELS:-}" ]; then
    # All that the folder holds and nothing else: torch's own requirements are not looked at.
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$WHEELS"/*.whl
fi
from=${FROM-pictures}
[ -z "$from" ] || options=(--init-from "$from" "${options[@]}")
drawings=("$data"/drawings/*)
[ ! -e "${drawings[0]}" ] || options=(--drawings "${drawings[@]}" "${options[@]}")
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH PYTHONUNBUFFERED=1
mkdir -p "$output"

train() {
    local resume=()
    compgen -G "$output/checkpoints/step-*" >/dev/null && resume=(--resume)
    "$python" -m r2id train resampler "${PRESET:-pictures-large}" --data "$data/photographs" --output "$output" \
        --seconds "$((seconds - SECONDS - START_AND_SAVE))" --checkpoint-every 500 "${options[@]}" "${resume[@]}" "$@" \
        2>&1 | tee -a "$output/log.txt"
}
train || {
    status=$?
    [ "$status" -lt 128 ] || exit "$status" # stopped by a signal
    train --no-compile
}
