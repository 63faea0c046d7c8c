#!/usr/bin/env bash
# Installs what tools/openapi/package.json pins, below the target folder, and prints where. What is installed already stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source=tools/openapi
folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/openapi-tools
mkdir -p "$folder"
exec 9>"$folder.lock"
flock 9

made_from=$(cat $source/package.json $source/package-lock.json | sha256sum)
if [ "$made_from" != "$(cat "$folder/.made_from" 2>/dev/null)" ]; then
    command -v npm >/dev/null || {
        echo 'openapi-tools: npm is missing. `make setup` installs it' >&2
        exit 1
    }
    cp $source/package.json $source/package-lock.json "$folder"
    # Programs that packages bring to run at their installation are not run.
    npm --prefix "$folder" ci --ignore-scripts --no-audit --no-fund --loglevel error >&2
    printf '%s\n' "$made_from" >"$folder/.made_from"
fi
echo "$folder"
