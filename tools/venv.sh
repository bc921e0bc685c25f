#!/bin/sh
# Make a virtual environment in the folder $1, by the newest suitable Python of 3.11 to 3.13,
# else any later one. PYTHON names another.
set -eu

# A name on PATH proves nothing: pyenv's shims exist for versions that aren't chosen, and
# Debian splits venv from its Python. So each candidate must show that it works.
suits() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

for python in ${PYTHON:-python3.13 python3.12 python3.11 python3 python3.14 python}; do
    if suits "$python"; then
        echo "antiphon: making $1 with $("$python" --version)"
        rm -rf "$1"
        exec "$python" -m venv "$1"
    fi
done

echo "antiphon: found no Python 3.11 or later that can make a virtual environment" >&2
echo "  Debian, Ubuntu: sudo apt-get install python3 python3-venv" >&2
echo "  macOS: brew install python@3.13" >&2
echo "  another place: make PYTHON=/path/to/python3" >&2
exit 1
