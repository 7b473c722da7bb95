"""The run in a few lines, and its provenance in one file beside the figures.

python -m ethical_personas.workflow.summary runs/cpu cpu figures/cpu '{"seeds": [0], …}'      (called last)
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.run import Run


def gather(folder: Path, parameters: dict) -> dict:
    """A run's provenance records in a folder: by stage the jobs, wall seconds, peak memory; parameters: the run's.

    Records of models of other seeds than the run's are left out: the shipped responses hold more of them than the
    default asks for. Where jobs ran at several commits or processors, `parts` counts them.
    """
    records = [json.loads(p.read_text()) for p in sorted(folder.glob("[!.]*.json"))]
    records = [r for r in records if _seed(r["name"]) in (None, *parameters["seeds"])]
    stages: dict[str, dict] = defaultdict(lambda: {"jobs": 0, "wall_seconds": 0.0, "peak_memory_mib": 0})
    for r in records:
        stage = stages[r["stage"]]
        stage["jobs"] += 1
        stage["wall_seconds"] = round(stage["wall_seconds"] + r["wall_seconds"], 1)
        stage["peak_memory_mib"] = max(stage["peak_memory_mib"], r["peak_memory_mib"])
    keep = ("versions", "machine")
    latest = max(records, key=lambda r: r["finished"], default={})
    places = Counter((r["commit"], r["machine"]["processor"]) for r in records)
    parts = [{"commit": c, "processor": p, "jobs": jobs} for (c, p), jobs in sorted(places.items())]
    return {
        # Of the rows, which need not be those of the code that now draws from them.
        "commit": latest.get("commit"),
        "dirty": any(r["dirty"] for r in records),
        "parameters": dict(sorted(parameters.items())),
        "stages": dict(sorted(stages.items())),
        **{k: latest.get(k) for k in keep},
        **({"parts": parts} if len(parts) > 1 else {}),
    }


def _seed(name: str) -> int | None:
    """The seed in a record's name, None for a job that is no tuned model's."""
    found = re.search(r"-s(\d+)(@\d+)?$", name)
    return int(found[1]) if found else None


def text(folder: str, run_dir: str) -> str:
    """The printed summary: safety of source, broad and narrow models, over-refusal, verdicts, where things are."""
    rates = style.read_table(folder, "scopes")
    claims = json.loads((ROOT / folder / "claims.json").read_text(encoding="utf-8"))
    lines = [f"# Summary of the {Path(folder).name} run", "", style.markdown(rates), "## Claims", ""]
    lines += [f"- {c['claim']}: **{c['verdict']}**" for c in claims["claims"]]
    lines += ["", f"Figures: `{folder}/`; tables: `{folder}/tables/`; executed notebooks: `{run_dir}/notebooks/`."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_dir, profile, folder, parameters = sys.argv[1:5]
    records = Run(run_dir, profile).locate("provenance")
    record = json.dumps(gather(records, json.loads(parameters)), indent=1)
    (ROOT / folder / "provenance.json").write_text(record + "\n", encoding="utf-8")
    (ROOT / folder / "summary.md").write_text(text(folder, run_dir), encoding="utf-8")
