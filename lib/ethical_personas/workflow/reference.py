"""Ship a finished run's rows: what `./run_all.sh figures` and notebooks by hand fall back on.

python -m ethical_personas.workflow.reference cpu      runs/cpu -> data/reference/cpu
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs

# The default judge's verdicts spare `figures` minutes; each is taken only where judge, prompt and answer are the same.
SHIPPED = ("sft/*.jsonl", "eval/*/*.jsonl", "judgements/bundled/*.jsonl", "provenance/*.json")


def ship(profile: str) -> list[Path]:
    """Copy training rows, responses, persona rows and provenance of a run; returns the files written.

    Raises CompanionError when the run has no evaluations. Adapters stay: they are large and quickly made again.
    """
    run, target = ROOT / "runs" / profile, ROOT / "data" / "reference" / profile
    foreign = inputs.set_rows("*.jsonl")  # rows of evaluation sets from files hold prompts that are not ours to ship
    found = [p for pattern in SHIPPED for p in sorted(run.glob(pattern)) if not p.match(foreign)]
    if not any(p.name == f"{inputs.RESPONSES}.jsonl" for p in found):
        raise CompanionError(f"runs/{profile}: no evaluations to ship; ./run_all.sh --profile {profile} makes them")
    shutil.rmtree(target, ignore_errors=True)
    for path in found:
        place = target / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return [target / p.relative_to(run) for p in found]


if __name__ == "__main__":
    try:
        print(f"{len(ship(sys.argv[1]))} files shipped")
    except CompanionError as error:
        sys.exit(f"error: {error}")
