#!/usr/bin/env bash
# Installs what a folder's requirements.txt pins, below the target folder, and prints the path of the Python that has it.
# Usage: venv.sh FOLDER. What is installed already stays. Python with venv comes by `make setup`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=$1/requirements.txt
folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/venv/${1//\//-}

# Tests run side by side: the first installs, the others wait for it.
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9

if ! cmp --silent "$requirements" "$folder/requirements.txt"; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || {
        echo 'venv: python3 with venv is missing. `make setup` installs it' >&2
        exit 1
    }
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    cp "$requirements" "$folder"
fi
echo "$folder/bin/python"
