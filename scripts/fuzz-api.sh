#!/usr/bin/env bash
# Sends made-up requests to every operation and holds each answer against the OpenAPI document, with Schemathesis. Usage:
# fuzz-api.sh [SCHEMATHESIS OPTION…]
#
#   FUZZ_CASES   how many at least (20000)
#   FUZZ_SEED    repeats a run
#
# A server with a database of its own is started for it, unless CONVENE_URL names one. Reports lie in target/fuzz.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cases=${FUZZ_CASES:-20000}
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
folder=$target/fuzz

if [ -z "${CONVENE_URL:-}" ]; then
    # Each case would fill the log.
    export CONVENE__TELEMETRY__LOG_FILTER=warn
    exec scripts/with-server.sh "${BASH_SOURCE[0]}" "$@"
fi

mkdir -p "$folder"
python=$(scripts/venv.sh tools/fuzz)
"$python" tools/fuzz/fixtures.py "$CONVENE_URL" "$folder/schemathesis.toml"

operations=$(python3 -c 'import json; print(sum(len(item) for item in json.load(open("docs/openapi.json"))["paths"].values()))')
options=(--max-examples $((cases / operations + 1)) --workers "${FUZZ_WORKERS:-1}" --no-color --report junit --report-dir "$folder/report")
if [ -n "${FUZZ_SEED:-}" ]; then
    options+=(--seed "$FUZZ_SEED")
fi

# It leaves files where it runs.
cd "$folder"
"$python" -m schemathesis.cli --config-file "$folder/schemathesis.toml" run "$CONVENE_URL/openapi.json" "${options[@]}" "$@"
