#!/usr/bin/env bash
# What only a GPU can tell, most valuable first, in parts of under ten minutes.
#
#   GPTLIB_DATA=texts bench/gpu.sh [MINUTES]       default: 9
#
# Each part writes one JSON file to $OUT (default: bench/results/gpu) and is skipped when its file is
# there, so the same command goes on where it was; a part that trains resumes its run. Parts that do
# not fit into the minutes left are not begun. GPTLIB_DATA holds input.txt (Shakespeare) and the
# other texts that `gptlib data list` names; without it they are downloaded. PARTS, a pattern, makes
# only the parts whose names it matches.
set -u
cd "$(dirname "$0")/.."
minutes=${1:-9}
out=${OUT:-bench/results/gpu}
python=${PYTHON:-python}
device=${DEVICE:-cuda}
deadline=$((SECONDS + minutes * 60))
mkdir -p "$out"
export PYTHONPATH=$PWD:$PWD/bench CUBLAS_WORKSPACE_CONFIG=:4096:8

part() { # part NAME SECONDS COMMAND...
    local name=$1 seconds=$2
    shift 2
    [[ $name == ${PARTS:-*} ]] || return
    [ -s "$out/$name.json" ] && return
    if [ $((deadline - SECONDS)) -lt "$seconds" ]; then
        echo "$name: left for the next time (needs $seconds s, $((deadline - SECONDS)) left)"
        return
    fi
    echo "== $name"
    timeout -s TERM -k 20 $((deadline - SECONDS)) "$@" --device "$device" --out "$out/$name.json" ||
        echo "$name: ended with $?; the same command tries it again"
}

part correctness 120 "$python" bench/gpu/correctness.py
part throughput 240 "$python" bench/gpu/throughput.py

# The first steps of GPT-2's published run, and of the modern one: 300 of half a million tokens, about
# six minutes on an H100; a slower card goes on in the next part. GPTLIB_SHARDS is a folder of shards
# or of texts. TINY=--tiny tries the script, STEPS=6 too.
for preset in gpt2-124m gpt2-124m-modern; do
    part "pretraining-$preset" 180 "$python" bench/gpu/pretraining.py --preset "$preset" \
        --steps "${STEPS:-300}" ${TINY:-}
done

# Recorded sweeps: each finished run is a line in data/runs/NAME/log.jsonl and is not made again; one
# that is cut off resumes. What they wrote is copied to $out, since only that comes back.
sweep() { # sweep NAME RUN SECONDS COMMAND...
    local name=$1 run=$2 seconds=$3
    shift 3
    [[ $name == ${PARTS:-*} ]] || return
    grep -qs "\"$run\"" "data/runs/$name/log.jsonl" && return
    if [ $((deadline - SECONDS)) -lt "$seconds" ]; then
        echo "$name $run: left for the next time (needs $seconds s, $((deadline - SECONDS)) left)"
        return
    fi
    echo "== $name $run"
    timeout -s TERM $((deadline - SECONDS)) "$python" -m "$@" --only "$run" ||
        echo "$name $run: ended with $?; the same command goes on"
    mkdir -p "$out/$name" && cp data/runs/"$name"/*.json* "$out/$name/" 2>/dev/null
}

for seed in 0 1 2; do
    for row in 6x6-5000:240 12x12-5000:420 2x2-5000:120 1x1-5000:90 6x1-5000:240 1x6-5000:90; do
        sweep shakespeare-table "${row%:*}-s$seed" "${row#*:}" gptlib.course.sweep shakespeare-table
    done
done
novel=${GPTLIB_DATA:-data}/german/meyer_juerg_jenatsch.txt
if [ -f "$novel" ]; then
    sweep novel large-s42 240 gptlib.course.sweep novel --corpus "$novel"
fi
for change in all-s0 base-s0 tuned-s0 -lr- plus- without- all-plus- test-; do
    sweep speedrun-gpu "$change" 300 gptlib.course.speedrun.ablation --preset nanogpt-gpu --lr 2e-3 \
        --seeds 1 --out data/runs/speedrun-gpu
done
