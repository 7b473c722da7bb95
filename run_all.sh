#!/usr/bin/env bash
# Rebuild every table and figure. Makes its environment on first use; `./run_all.sh help` says the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
ENVIRONMENT=.venv

stamp() { cat environment.yml requirements.txt constraints.txt pyproject.toml | cksum; }

make_environment() {
    local tool=""
    for candidate in micromamba mamba conda; do
        if command -v "$candidate" >/dev/null 2>&1; then tool=$candidate; break; fi
    done
    rm -rf "$ENVIRONMENT" # what an interrupted set-up or other pins left
    if [ -n "$tool" ]; then
        echo "environment: $tool, from environment.yml, into $ENVIRONMENT (once, some minutes)"
        if [ "$tool" = micromamba ]; then "$tool" create -y -q -p "./$ENVIRONMENT" -f environment.yml
        else "$tool" env create -q -p "./$ENVIRONMENT" -f environment.yml; fi
    else
        local python=""
        for candidate in python3.11 python3.12 python3.13 python3; do
            if command -v "$candidate" >/dev/null 2>&1 &&
                "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$candidate; break; fi
        done
        if [ -z "$python" ]; then
            echo "error: Python 3.11 or newer is needed, or conda, mamba or micromamba; none was found" >&2
            exit 2
        fi
        echo "environment: venv of $("$python" --version) in $ENVIRONMENT (once, some minutes)"
        "$python" -m venv "$ENVIRONMENT"
        "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
    fi
    # The library itself, so that a notebook opened by hand finds it.
    "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    stamp >"$ENVIRONMENT/.ready" # last: its presence means that the environment is complete
}

if [ "$(cat "$ENVIRONMENT/.ready" 2>/dev/null || true)" != "$(stamp)" ]; then
    if ! mkdir .venv.lock 2>/dev/null; then
        if kill -0 "$(cat .venv.lock/pid 2>/dev/null || echo 0)" 2>/dev/null; then
            echo "error: another ./run_all.sh is setting up this clone; wait for it" >&2
            exit 2
        fi
    fi
    echo $$ >.venv.lock/pid
    trap 'rm -rf .venv.lock' EXIT
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt 6 ]; then
        echo "error: $free GiB free here; the environment and a cpu run need 6" >&2
        exit 2
    fi
    make_environment
    rm -rf .venv.lock
fi
export PATH="$PWD/$ENVIRONMENT/bin:$PATH" PYTHONPATH="$PWD/lib" MPLBACKEND=agg TOKENIZERS_PARALLELISM=false
export HF_HUB_DISABLE_TELEMETRY=1 PYTHONNOUSERSITE=1
exec python -m ethical_personas.workflow.cli "$@"
