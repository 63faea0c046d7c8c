#!/usr/bin/env bash
# Prepares the official verifiers of Standard Webhooks, for a test. Usage: webhook-verifiers.sh python|javascript
#
# They are installed below the target folder, in the versions that tools/webhooks pins, and the command that runs one is
# printed, a word a line. What is prepared already stays. Python with venv, and Node.js with npm, come by `make setup`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

language=${1:-}
source=tools/webhooks
folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/webhook-verifiers/$language")

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

# Tests run side by side: the first prepares, the others wait for it.
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9

is_made_from() {
    [ "$(cat "$@" | sha256sum)" = "$(cat "$folder/.made_from" 2>/dev/null)" ]
}

case $language in
    python)
        files=("$source/requirements.txt")
        if ! is_made_from "${files[@]}"; then
            python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3 with venv is missing. \`make setup\` installs it"
            rm -rf "$folder"
            quietly python3 -m venv "$folder"
            quietly "$folder/bin/pip" install --disable-pip-version-check --requirement "${files[0]}"
            cat "${files[@]}" | sha256sum >"$folder/.made_from"
        fi
        printf '%s\n' "$folder/bin/python" "$PWD/$source/verify.py"
        ;;
    javascript)
        files=("$source"/{package.json,package-lock.json,verify.mjs})
        if ! is_made_from "${files[@]}"; then
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
