#!/usr/bin/env bash
# Holds docs/openapi.json against the rules of Redocly and Spectral, and docs/asyncapi.json against AsyncAPI's parser. Any
# finding fails. The rules are in tools/openapi.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(scripts/openapi-tools.sh)
# Neither asks anybody for a newer version of itself.
export REDOCLY_SUPPRESS_UPDATE_NOTICE=true REDOCLY_TELEMETRY=off

# Redocly fails on errors alone; the rules turn each warning into one.
"$tools/node_modules/.bin/redocly" lint docs/openapi.json --config tools/openapi/redocly.yaml --format stylish
"$tools/node_modules/.bin/spectral" lint docs/openapi.json --ruleset tools/openapi/spectral.yaml --fail-severity hint
NODE_PATH=$tools/node_modules node tools/openapi/check-asyncapi.cjs docs/asyncapi.json
