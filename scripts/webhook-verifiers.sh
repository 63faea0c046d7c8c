#!/usr/bin/env bash
# Prepares the official verifiers of Standard Webhooks, for a test. Usage: webhook-verifiers.sh python|javascript
#
# They are installed below the target folder, in the versions that tools/webhooks pins, and the command that runs one is
# printed, a word a line. What is prepared already stays. Python with venv, and Node.js with npm, come by `make setup`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

language=${1:-}
source=tools/webhooks

fail() {
    printf 'webhook-verifiers: %s\n' "$@" >&2
    exit 1
}

# Runs a command whose output matters only if it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        fail "this failed: $*"
    fi
    rm -f "$log"
}

case $language in
    python)
        python=$(scripts/venv.sh "$source")
        printf '%s\n' "$python" "$PWD/$source/verify.py"
        ;;
    javascript)
        folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/webhook-verifiers/javascript")
        files=("$source"/{package.json,package-lock.json,verify.mjs})
        # Tests run side by side: the first installs, the others wait for it.
        mkdir -p "$(dirname "$folder")"
        exec 9>"$folder.lock"
        flock 9
        if [ "$(cat "${files[@]}" | sha256sum)" != "$(cat "$folder/.made_from" 2>/dev/null)" ]; then
            command -v npm >/dev/null || fail "npm is missing. \`make setup\` installs it"
            rm -rf "$folder"
            mkdir -p "$folder"
            cp "${files[@]}" "$folder"
            quietly npm --prefix "$folder" ci --no-audit --no-fund
            cat "${files[@]}" | sha256sum >"$folder/.made_from"
        fi
        printf '%s\n' node "$folder/verify.mjs"
        ;;
    *)
        echo "usage: $0 python|javascript" >&2
        exit 2
        ;;
esac
