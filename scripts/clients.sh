#!/usr/bin/env bash
# Generates clients of docs/openapi.json in TypeScript and Rust, compiles them, and lets each make a call to a server.
#
# openapi-typescript makes the types of the first, openapi-generator the crate of the second; it runs on Java, which comes
# with it from PyPI. What is generated lies in target/clients and is not kept in the repository. A server is started for the
# calls, unless CONVENE_URL names one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
folder=$target/clients

typescript() {
    local tools source=tools/openapi/clients/typescript out=$folder/typescript
    tools=$(scripts/openapi-tools.sh)
    rm -rf "$out"
    mkdir -p "$out"
    cp $source/call.ts $source/tsconfig.json "$out"
    printf '{ "type": "module" }\n' >"$out/package.json"
    ln -s "$tools/node_modules" "$out/node_modules"
    "$tools/node_modules/.bin/openapi-typescript" docs/openapi.json --output "$out/schema.d.ts" >/dev/null
    "$tools/node_modules/.bin/tsc" --project "$out"
}

rust() {
    local source=tools/openapi/clients venv=$folder/generator out=$folder/rust
    if ! cmp --silent $source/requirements.txt "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement $source/requirements.txt
        cp $source/requirements.txt "$venv"
    fi
    rm -rf "$out"
    mkdir -p "$out"
    cp -R $source/rust/. "$out"
    "$venv/bin/openapi-generator-cli" generate --input-spec docs/openapi.json --generator-name rust --output "$out/client" \
        --additional-properties=packageName=convene-client,library=reqwest >"$folder/generator.log" 2>&1 || {
        cat "$folder/generator.log" >&2
        exit 1
    }
    CARGO_TARGET_DIR=$target cargo build --quiet --locked --manifest-path "$out/Cargo.toml"
}

if [ -z "${CONVENE_URL:-}" ]; then
    mkdir -p "$folder"
    typescript
    rust
    exec scripts/with-server.sh "${BASH_SOURCE[0]}"
fi

node "$folder/typescript/dist/call.js" "$CONVENE_URL"
"$target/debug/convene-client-call" "$CONVENE_URL"
