"""The graph's jobs that are no notebooks: arguments from the command line, and an error as one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace

from ethical_personas.errors import CompanionError
from ethical_personas.run import Run
from ethical_personas.workflow import leader


def run_job(make: Callable[..., object]) -> None:
    """Call make(run, *words, parameters) with this process's arguments: run folder, profile, words, parameters."""
    leader.follow()
    run_dir, profile, *words, given = sys.argv[1:]
    try:
        make(Run(run_dir, profile), *words, SimpleNamespace(**json.loads(given)))
    except CompanionError as error:
        sys.exit(f"error: {error}")
