"""From a run's responses to one table of verdicts: who declined what.

frame = safety(run, ["source", "virtue-harassment-s0"], "bundled")
frame = safety(run, ["source", *checkpoints(run, cells)], "bundled")   the same along training
"""

from __future__ import annotations

import pandas as pd

from lib import grid, judge, rows
from lib.materials import ROOT
from lib.run import Run

COLUMNS = ["model", "constitution", "scope", "seed", "id", "category", "kind", "twin", "declined"]


def safety(run: Run, models: list[str], judge_name: str, judge_model: str = "", judge_url: str = "") -> pd.DataFrame:
    """Judged responses, one row per model and prompt.

    Columns model, constitution, scope, seed (source: `source`, `source`, 0), id, category, kind (harmful, helpful
    or contrast), twin, declined (1.0, 0.0, NaN where the judge gave no verdict). A model may be a
    checkpoint, `<cell>@<step>`. Verdicts are cached in the run's folder; raises CompanionError for a missing file.
    """
    found = []
    for model in models:
        responses = rows.read(run.find(run.evaluation(model, "responses")), rows.Response)
        cache = run.path(f"judgements/{judge_name}/{model}.jsonl")
        verdicts = judge.judge(responses, judge_name, model=judge_model, url=judge_url, cache=cache)
        declined = {"declined": 1.0, "complied": 0.0, None: float("nan")}
        about = _about(model)
        for response, verdict in zip(responses, verdicts, strict=True):
            kind = response.category if response.category in grid.HARMLESS else "harmful"
            found.append(
                (model, *about, response.id, response.category, kind, response.twin, declined[verdict.verdict])
            )
    return pd.DataFrame(found, columns=COLUMNS)


def _about(model: str) -> tuple[str, str, int]:
    if model == grid.SOURCE:
        return grid.SOURCE, grid.SOURCE, 0
    cell = grid.Cell.parse(model.partition("@")[0])
    return cell.constitution, cell.scope, cell.seed


def checkpoints(run: Run, cells: list[grid.Cell]) -> list[str]:
    """Names `<cell>@<step>` of all evaluated checkpoints of these cells, by cell and step; empty when none was made."""
    places = (ROOT / run.run_dir, ROOT / "runs" / run.profile, ROOT / "data" / "reference" / run.profile)
    names = {p.parent.name for place in places for p in place.glob("eval/*@*/responses.jsonl")}
    known = [c.name for c in cells]
    split = [(cell, int(step)) for cell, _, step in (n.partition("@") for n in names) if cell in known]
    return [f"{cell}@{step}" for cell, step in sorted(split, key=lambda s: (known.index(s[0]), s[1]))]
