#!/usr/bin/env bash
# Walks the API with Hurl, from the registration to a delivered webhook. Usage: hurl.sh [HURL OPTION…]
#
# Hurl comes from crates.io, in the version below, below the target folder: it is built once, which takes minutes. What it is
# linked with comes by `scripts/setup.sh walk`. A server is started for it, unless CONVENE_URL names one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly HURL_VERSION=8.0.1

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
hurl=$target/hurl/bin/hurl

if [ -z "${CONVENE_URL:-}" ]; then
    scripts/setup.sh walk
    if ! "$hurl" --version 2>/dev/null | grep --quiet "^hurl $HURL_VERSION "; then
        echo "hurl: building Hurl $HURL_VERSION"
        # bindgen reads the headers of libxml2 with libclang, which has no stddef.h of its own where clang is not installed.
        BINDGEN_EXTRA_CLANG_ARGS="-isystem $(cc -print-file-name=include)" CARGO_TARGET_DIR=$target/hurl-build \
            cargo install --quiet --locked --root "$target/hurl" "hurl@$HURL_VERSION"
        rm -rf "$target/hurl-build"
    fi
    exec scripts/with-server.sh "${BASH_SOURCE[0]}" "$@"
fi

exec "$hurl" --test --variable "base=$CONVENE_URL" --variable "run=$(date +%s)" "$@" tests/hurl/*.hurl
