#!/usr/bin/env bash
# Trials under faults, one after the other. Usage: chaos.sh SECONDS [SEED…]
#
# Without seeds: 1 to 5, and two that the commit decides on: new ones with each change, and the same for whoever wants to see
# again what was seen there. A seed decides on the faults and their times. Each trial has servers and processes of its own,
# and is judged in the end; see docs/reliability.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?usage: chaos.sh SECONDS [SEED…]}
shift
seeds=("$@")
if [ "${#seeds[@]}" -eq 0 ]; then
    commit=$(git rev-parse HEAD)
    seeds=(1 2 3 4 5 "$((16#${commit:0:7}))" "$((16#${commit:7:7}))")
fi

# With a test beside it and for the whole workspace, as `make test` has it: otherwise libraries would be compiled once more,
# with fewer features.
cargo build --quiet --workspace --bin convene-chaos --test chaos
trial=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/convene-chaos

failed=()
for seed in "${seeds[@]}"; do
    "$trial" "$seed" "$seconds" || failed+=("$seed")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "chaos: once more with: make chaos SECONDS=$seconds SEED=<one of: ${failed[*]}>" >&2
    exit 1
fi
