#!/usr/bin/env bash
# Runs a command against a server of its own. Usage: with-server.sh COMMAND [ARGUMENT…]
#
# The server is this clone's `convene run` in the embedded profile, on a free port, with an empty database, which is thrown
# away in the end. The command finds it at $CONVENE_URL. Limits are off; any other setting comes from the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --quiet --package convene-api --bin convene
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
mkdir -p "$target"
folder=$(mktemp --directory "$target/server.XXXXXX")
# PostgreSQL does not run as root; the account that it runs as has to get to its folder.
chmod 755 "$folder"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export CONVENE_URL=http://127.0.0.1:$port

CONVENE_PROFILE=embedded CONVENE__HTTP__BIND=127.0.0.1:$port CONVENE__EMBEDDED__DATA_DIR=$folder/data \
    CONVENE__LIMITS__ENABLED=${CONVENE__LIMITS__ENABLED:-false} \
    "$target/debug/convene" run >"$folder/log" 2>&1 </dev/null &
server=$!

end() {
    local status=$?
    trap - EXIT
    kill -TERM "$server" 2>/dev/null && wait "$server" || true
    if [ "$status" -ne 0 ]; then
        printf '%s\n' "with-server: the last lines of the server's log:" >&2
        tail -n "${SERVER_LOG_LINES:-30}" "$folder/log" >&2
    fi
    rm -rf "$folder"
    exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

deadline=$((SECONDS + 120))
ready() {
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "$CONVENE_URL/readyz" 2>/dev/null
}
until ready; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
        echo "with-server: the server did not become ready" >&2
        exit 1
    fi
    sleep 0.2
done

"$@"
