#!/usr/bin/env bash
# Prepares the job queues that Convene's are measured against, and prints the path of the script that runs them. What they
# need is installed below the target folder, in the versions that bench/peers pins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/peers")
files=(bench/peers/{package.json,package-lock.json,peers.mjs})

if [ "$(cat "${files[@]}" | sha256sum)" != "$(cat "$folder/.made_from" 2>/dev/null)" ]; then
    command -v npm >/dev/null || { echo "peers: npm is missing. \`make setup\` installs it" >&2; exit 1; }
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "${files[@]}" "$folder"
    # Not `npm ci`: it wants BullMQ's optional programs for all other platforms in the lock file.
    npm --prefix "$folder" install --ignore-scripts --no-audit --no-fund --loglevel error >&2
    cat "${files[@]}" | sha256sum >"$folder/.made_from"
fi
echo "$folder/peers.mjs"
