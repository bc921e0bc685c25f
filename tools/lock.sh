#!/bin/sh
# Write the three locks anew from pyproject.toml, for Python 3.11 and later on every platform.
# uv goes into a folder of its own that is thrown away; the locks hold no download address.
set -eu
cd "$(dirname "$0")/.."
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
sh tools/venv.sh "$room/venv"
"$room/venv/bin/python" -m pip install -qq --disable-pip-version-check uv

lock() {
    out=$1
    shift
    "$room/venv/bin/uv" pip compile "$@" --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --cache-dir "$room/cache" --quiet --output-file "$out"
    if grep -inE '(https?|file):' "$out"; then
        echo "lock: $out names an address" >&2
        exit 1
    fi
    echo "lock: $out, $(grep -c '==' "$out") packages"
}

lock requirements.lock pyproject.toml
lock requirements-build.lock --group build -c requirements.lock
lock requirements-dev.lock --group dev -c requirements.lock -c requirements-build.lock
