#!/usr/bin/env bash
# What only a GPU can tell, most valuable first, in parts of under ten minutes.
#
#   GPTLIB_DATA=texts bench/gpu.sh [MINUTES]       default: 9
#
# Each part writes one JSON file to $OUT (default: bench/results/gpu) and is skipped when its file is
# there, so the same command goes on where it was; a part that trains resumes its run. Parts that do
# not fit into the minutes left are not begun. GPTLIB_DATA holds input.txt (Shakespeare) and the
# other texts that `gptlib data list` names; without it they are downloaded.
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
    [ -s "$out/$name.json" ] && return
    if [ $((deadline - SECONDS)) -lt "$seconds" ]; then
        echo "$name: left for the next time (needs $seconds s, $((deadline - SECONDS)) left)"
        return
    fi
    echo "== $name"
    timeout $((deadline - SECONDS)) "$@" --device "$device" --out "$out/$name.json" ||
        echo "$name: ended with $?; the same command tries it again"
}

part correctness 120 "$python" bench/gpu/correctness.py
part throughput 240 "$python" bench/gpu/throughput.py
