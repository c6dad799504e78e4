#!/usr/bin/env bash
# Runs the tests on each supported Python that this machine has, each in a .venv of its own; fails if any fails.
set -uo pipefail
cd "$(dirname "$0")/.."

find_python() {  # the newest patch release of a version such as 3.12, on PATH or of pyenv
    command -v "python$1" || ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null | sort -V | tail -n 1
}

failed=()
for version in 3.11 3.12 3.13; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "== Python $version: not on this machine, left out"
        continue
    fi
    echo "== Python $version: $python"
    make test PYTHON="$python" VENV=".venv-$version" || failed+=("$version")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed on Python: ${failed[*]}"; exit 1; }
