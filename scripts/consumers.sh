#!/usr/bin/env bash
# Prepares the example consumers that are not in Rust, for their tests. Usage: consumers.sh python|typescript
#
# What they need is installed below the target folder, in the versions that they pin, and the path of what runs them is
# printed. What is prepared already stays. Python with venv, and Node.js with npm, come by `make setup`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

language=${1:-}
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/consumers")
folder=$target/$language

fail() {
    printf 'consumers: %s\n' "$@" >&2
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
mkdir -p "$target"
exec 9>"$target/$language.lock"
flock 9

# Whether the folder was made from these files.
is_made_from() {
    [ "$(cat "$@" | sha256sum)" = "$(cat "$folder/.made_from" 2>/dev/null)" ]
}

made_from() {
    cat "$@" | sha256sum >"$folder/.made_from"
}

case $language in
    python)
        exec scripts/venv.sh examples/consumer-python
        ;;
    typescript)
        source=examples/consumer-typescript
        files=("$source"/{package.json,package-lock.json,tsconfig.json} "$source"/src/*.ts)
        if ! is_made_from "${files[@]}"; then
            command -v npm >/dev/null || fail "npm is missing. \`make setup\` installs it"
            rm -rf "$folder"
            mkdir -p "$folder"
            cp -R "${files[@]:0:3}" $source/src "$folder"
            quietly npm --prefix "$folder" ci --no-audit --no-fund
            quietly npm --prefix "$folder" run build
            made_from "${files[@]}"
        fi
        echo "$folder/dist/consumer.js"
        ;;
    *)
        echo "usage: $0 python|typescript" >&2
        exit 2
        ;;
esac
