#!/usr/bin/env bash
# Rebuild every table and figure. Makes its environment on first use; `./run_all.sh help` says the rest.
#
# COMPANION_ENV     folder of the environment (default .venv)
# COMPANION_PYTHON  Python 3.11 to 3.13 that the environment is made from, by venv and not by conda; an existing
#                   environment keeps its own
# TORCH_INDEX       address of a package index with another build of torch, such as the CPU build for Linux
set -euo pipefail
here=${BASH_SOURCE[0]}
while [ -L "$here" ]; do # called through a link: the clone is where the script itself lies
    next=$(readlink "$here")
    case $next in /*) here=$next ;; *) here=$(dirname "$here")/$next ;; esac
done
cd "$(dirname "$here")"
ENVIRONMENT=${COMPANION_ENV:-.venv}
TORCH=$(grep -o 'torch==[0-9.]*' pyproject.toml | head -n 1)
GIB_CPU=6 GIB_CUDA=10 # disk for the environment, the model and a cpu run, by the build of torch

fail() {
    echo "error: $*" >&2
    exit 2
}

stamp() { # what the environment was made from; the second argument is `dev` with the tests' packages
    cat requirements.lock requirements-cuda.lock ${1:+requirements-dev.lock} | cksum
    echo "$TORCH"
}

room() { # $1 GiB for $2, or stop
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$1" ] || fail "$free GiB free here; $2 needs $1, free some disk first"
}

pip_install() { # modules are compiled when they are first imported: most never are
    "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile "$@"
}

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; }

make_folder() { # the environment's Python: the one that is named, else from conda if there is one, else a venv
    local tool="" python=${COMPANION_PYTHON:-}
    if [ -n "$python" ]; then
        supported "$python" || fail "COMPANION_PYTHON: $python does not run or is not Python 3.11 to 3.13; name another"
    else
        for candidate in micromamba mamba conda; do
            if command -v "$candidate" >/dev/null 2>&1; then tool=$candidate; break; fi
        done
        for candidate in python3.11 python3.12 python3.13 python3; do
            if supported "$candidate"; then python=$candidate; break; fi
        done
    fi
    [ -n "$tool$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed, or conda, mamba or micromamba; none was found"
    echo "$ENVIRONMENT is made and kept up to date by run_all.sh" >"$ENVIRONMENT.companion" # first: a cut set-up is ours too
    if [ -n "$tool" ]; then
        echo "environment: $tool, in $ENVIRONMENT (once, some minutes)"
        "$tool" create -y -q -p "./$ENVIRONMENT" -c conda-forge python=3.11 pip
    else
        echo "environment: venv of $("$python" --version) in $ENVIRONMENT (once, some minutes)"
        "$python" -m venv "$ENVIRONMENT"
    fi
}

cuda_packages() { # names of those that the installed torch asks for on this platform; nothing for a build without CUDA
    # packaging is in requirements.lock. Markers count: the builds for macOS name these packages too, for Linux alone.
    "$ENVIRONMENT/bin/python" -c 'from importlib.metadata import requires
from packaging.requirements import Requirement
asked = [r for r in map(Requirement, requires("torch") or []) if not r.marker or r.marker.evaluate({"extra": ""})]
print(*(r.name for r in asked if r.name.startswith(("nvidia", "cuda"))))'
}

make_environment() { # $1: `dev` for the tests' packages too
    local packages
    if [ ! -x "$ENVIRONMENT/bin/python" ]; then make_folder; fi
    pip_install --require-hashes -r requirements.lock
    # Each build of torch (CPU, CUDA, macOS) has a hash of its own, so that it is pinned by its version alone.
    pip_install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"
    packages=$(cuda_packages)
    if [ -n "$packages" ]; then
        room "$((GIB_CUDA - GIB_CPU))" "what the CUDA build of torch brings"
        pip_install --require-hashes -r requirements-cuda.lock
    fi
    if [ -n "$1" ]; then pip_install --require-hashes -r requirements-dev.lock; fi
    pip_install --no-build-isolation -e . # the library itself, so that a notebook opened by hand finds it
    stamp "" >"$ENVIRONMENT/.ready" # last: its presence means that the environment is complete
    if [ -n "$1" ]; then stamp "$1" >"$ENVIRONMENT/.ready$1"; fi
}

locked() { # run the rest of the line while no other call of this clone sets up its environment
    echo $$ >".venv.lock.$$" # linked with its content: a lock without a process id cannot be left behind
    trap 'rm -f ".venv.lock.$$"' EXIT
    if ! ln ".venv.lock.$$" .venv.lock 2>/dev/null; then
        if kill -0 "$(cat .venv.lock 2>/dev/null || echo 0)" 2>/dev/null; then
            fail "another ./run_all.sh is setting up this clone; wait for it"
        fi
        ln -f ".venv.lock.$$" .venv.lock # its maker has died
    fi
    trap 'rm -f ".venv.lock.$$" .venv.lock' EXIT
    "$@"
    rm -f ".venv.lock.$$" .venv.lock
}

lock() { # resolve pyproject.toml for all platforms and split the result by what brings it
    command -v uv >/dev/null 2>&1 || fail "uv is needed to make the locks; pip install uv"
    local options=(--universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet) all
    all=$(mktemp -d)
    uv pip compile pyproject.toml "${options[@]}" -o "$all/run"
    uv pip compile pyproject.toml --extra dev -c "$all/run" "${options[@]}" -o "$all/dev"
    python3 - "$all/run" "$all/dev" <<'PYTHON'
import re, sys
names = {"run": "requirements.lock", "cuda": "requirements-cuda.lock", "dev": "requirements-dev.lock"}
kept, seen = {part: ["# Made by ./run_all.sh lock from pyproject.toml; do not edit.\n"] for part in names}, {"torch"}
for path in sys.argv[1:]:
    for block in re.findall(r"^\w.*\n(?:    .*\n)*", open(path).read(), re.M):
        name, first = re.match(r"[\w.-]+", block)[0], block.partition("\n")[0]
        cuda = name == "triton" or name.startswith(("nvidia-", "cuda-"))
        if not {name, first} & seen:
            kept["cuda" if cuda else path[-3:]].append(block)
            seen.add(first)
for part, file in names.items():
    open(file, "w").writelines(kept[part])
PYTHON
    rm -r "$all"
}

lint() {
    ruff check . && ruff format --check . && snakefmt --check Snakefile && mypy && pytest tests/test_notebooks_form.py
}

target=all dev=""
for word in "$@"; do
    case $word in
    --) break ;;
    test | lint) target=$word dev=dev ;;
    lock) target=lock ;;
    esac
done
if [ "$target" = lock ]; then
    lock
    exit 0
fi
if [ "$(cat "$ENVIRONMENT/.ready$dev" 2>/dev/null || true)" != "$(stamp "$dev")" ]; then
    [ -w . ] || fail "$PWD: cannot be written to; clone the repository to a folder of your own"
    if [ -e "$ENVIRONMENT" ] && [ ! -e "$ENVIRONMENT.companion" ] && [ ! -e "$ENVIRONMENT/.ready" ]; then
        fail "$ENVIRONMENT here was not made by ./run_all.sh; move it away, or name another folder: COMPANION_ENV=.venv-companion"
    fi
    if [ ! -e "$ENVIRONMENT" ]; then room "$GIB_CPU" "the environment and a cpu run"; fi
    locked make_environment "$dev"
fi
export PATH="$PWD/$ENVIRONMENT/bin:$PATH" PYTHONPATH="$PWD/lib" MPLBACKEND=agg TOKENIZERS_PARALLELISM=false
unset PYTHONDONTWRITEBYTECODE # modules are compiled once, at their first import
export HF_HUB_DISABLE_TELEMETRY=1 PYTHONNOUSERSITE=1
if [ "$target" = lint ]; then
    lint
    exit
fi
exec python -m ethical_personas.workflow.cli "$@"
