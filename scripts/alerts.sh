#!/usr/bin/env bash
# Checks the rules and the configuration under deploy/prometheus with promtool, and runs the tests of the alerts.
#
# A promtool that is installed is used. On Debian its package is unpacked below the target folder otherwise: installing it
# would start a Prometheus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'alerts: %s\n' "$@" >&2
    exit 1
}

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/promtool")
    promtool=$folder/usr/bin/promtool
    if [ ! -x "$promtool" ]; then
        command -v apt-get >/dev/null || fail "promtool is missing: install Prometheus"
        rm -rf "$folder"
        mkdir -p "$folder"
        (
            cd "$folder"
            apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
            dpkg -x prometheus_*.deb .
            rm prometheus_*.deb
        ) || fail "promtool cannot be had from Debian's package prometheus"
    fi
fi

"$promtool" check config deploy/prometheus/prometheus.yaml
"$promtool" test rules deploy/prometheus/alerts.test.yaml
