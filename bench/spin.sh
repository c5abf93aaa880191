#!/usr/bin/env bash
# How long threads may spin before they sleep: seconds of a small SAE's training with the cores free and with three other programs on them.
#     bench/spin.sh [SAELAB]        interleaved, five turns; medians
set -euo pipefail
bin=${1:-build/release/bin/saelab}
dir=$(mktemp -d)
others=()
trap 'kill "${others[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
export SAELAB_CACHE=$dir/cache
for busy in 0 3; do
    for _ in $(seq "$busy"); do
        (while :; do :; done) &
        others+=($!)
    done
    for turn in 1 2 3 4 5; do
        for spin in 300000 30000 5000 1000; do
            rm -rf "$dir/sae"
            start=$(date +%s.%N)
            GOMP_SPINCOUNT=$spin "$bin" sae train --world toy_128 --d-sae 128 --k 5 --steps 500 --batch 256 --checkpoint-seconds 0 -q -o "$dir/sae" >/dev/null 2>&1
            echo "$busy $spin $(echo "$start $(date +%s.%N)" | awk '{ print $2 - $1 }')" >>"$dir/times"
        done
    done
done
for busy in 0 3; do
    for spin in 300000 30000 5000 1000; do
        awk -v b="$busy" -v s="$spin" '$1 == b && $2 == s { print $3 }' "$dir/times" | sort -n | awk -v b="$busy" -v s="$spin" '{ v[NR] = $1 }
            END { printf "%d other programs, %6d turns: %.2f s (%.2f to %.2f)\n", b, s, v[3], v[1], v[5] }'
    done
done
