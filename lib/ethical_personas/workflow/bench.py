"""`./run_all.sh bench`: the scripts of benchmarks/, one after the other."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT, tool

BENCHMARKS = ("training", "generation", "scoring", "ceilings", "table")  # scripts of benchmarks/, in this order
LONG = ("whole",)  # only where named


def run(chosen: list[str]) -> int:
    """Run the benchmarks that are named, or all but LONG; returns the first exit status that is not 0."""
    if unknown := set(chosen) - {*BENCHMARKS, *LONG}:
        raise CompanionError(f"bench: {min(unknown)}: no such benchmark; there are {', '.join((*BENCHMARKS, *LONG))}")
    os.environ["OMP_NUM_THREADS"] = "1"  # as in a run, whose jobs stand side by side
    for name in chosen or BENCHMARKS:
        if name == "scoring" and importlib.util.find_spec("lm_eval") is None:
            install = f"{tool('pip')} install --no-build-isolation -e '.[bench]'"
            print(f"scoring: left out, lm_eval is not installed; {install}", file=sys.stderr)
            continue
        print(f"{name}:", flush=True)
        if status := subprocess.call([sys.executable, f"benchmarks/{name}.py"], cwd=ROOT):
            return status
    return 0
