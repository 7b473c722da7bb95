"""From a run's responses to one table of verdicts: who declined what.

frame = safety(run, ["source", "virtue-harassment-s0"], "bundled")
frame = safety(run, ["source", *checkpoints(run, cells, steps)], "bundled")   the same along training
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import calibration, judging, swap
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, rows


def verdict_table(found: list[rows.Response], verdicts: list[rows.Judgement]) -> pd.DataFrame:
    """By model and kind: rows, share declined, empty answers, answers cut at the token limit, median tokens."""
    frame = pd.DataFrame([r.model_dump() for r in found])
    frame["kind"] = frame["category"].map(grid.kind)
    frame["declined"] = [float(v.verdict == "declined") if v.verdict else float("nan") for v in verdicts]
    frame["empty"] = frame["response"].str.strip() == ""
    frame["cut"] = ~frame["finished"]
    groups = frame.groupby(["model", "kind"], sort=False)
    table = groups.agg(rows=("id", "size"), declined=("declined", "mean"), empty=("empty", "sum"), cut=("cut", "sum"))
    return table.assign(tokens=groups["tokens"].median()).reset_index()


COLUMNS = ["model", "constitution", "scope", "seed", "id", "category", "kind", "twin", "declined"]


def safety(run: Run, models: list[str], judge_name: str, judge_model: str = "", judge_url: str = "") -> pd.DataFrame:
    """Judged responses, one row per model and prompt.

    Columns model, constitution, scope, seed (source: `source`, `source`, 0), id, category, kind (harmful, helpful
    or contrast), twin, declined (1.0, 0.0, NaN where the judge gave no verdict). A model may be a
    checkpoint, `<cell>@<step>`. Verdicts are cached in the run's folder; raises CompanionError for a missing file.
    """
    found = []
    declined = {"declined": 1.0, "complied": 0.0, None: float("nan")}
    for response, verdict in zip(*judged(run, models, judge_name, judge_model, judge_url), strict=True):
        row = (response.id, response.category, grid.kind(response.category), response.twin, declined[verdict.verdict])
        found.append((response.model, *grid.about(response.model).values(), *row))
    return pd.DataFrame(found, columns=COLUMNS)


def judged(
    run: Run, models: list[str], judge_name: str, judge_model: str = "", judge_url: str = ""
) -> tuple[list[rows.Response], list[rows.Judgement]]:
    """All responses of these models and one judgement each, in the same order.

    Raises CompanionError when an endpoint failed on some; the verdicts paid for are kept, and the next call asks for
    the missing ones only.
    """
    responses = []
    for model in models:
        part = files.read(run.find(run.evaluation(model, "responses")), rows.Response)
        odd = next((r.model for r in part if r.model != model), None)
        if odd:
            raise CompanionError(
                f"{run.evaluation(model, 'responses')}: field model is {odd!r}; evaluate {model} again"
            )
        responses += part
    cache = run.path(f"judgements/{judge_name}")
    judgements = judging.judge(responses, judge_name, model=judge_model, url=judge_url, cache=cache)
    judging.check_complete(judgements)
    return responses, judgements


def judge_all(run: Run, models: list[str], judge_name: str, judge_model: str = "", judge_url: str = "") -> None:
    """Have every verdict that 04 needs, so that a judge that fails does so before the first figure is replaced."""
    judged(run, models, judge_name, judge_model, judge_url)
    if cache := _calibration(run, judge_name):
        calibration.calibration_rows(judge_name, model=judge_model, url=judge_url, cache=cache)


def _calibration(run: Run, judge_name: str) -> Path | None:
    """Where the verdicts on the labelled rows are kept, for the judges that cost something."""
    return run.path(f"judgements/{judge_name}/calibration.jsonl") if judge_name in ("hf", "api") else None


def swapped(run: Run, models: list[str], judge_name: str, judge_model: str = "", judge_url: str = "") -> swap.Swap:
    """The run's judge beside the bundled and the keyword judge, on the same responses: rates, order, disagreements."""
    judgements = {}
    for name in dict.fromkeys([judge_name, "bundled", "keyword"]):
        own = (judge_model, judge_url) if name == judge_name else ("", "")
        responses, judgements[name] = judged(run, models, name, *own)
    return swap.swap_table(responses, judgements)


def corrected(
    run: Run, frame: pd.DataFrame, judge_name: str, judge_model: str = "", judge_url: str = "", alpha: float = 0.05
) -> pd.DataFrame:
    """S and O of every model, raw and freed of the judge's errors as measured on labelled rows.

    frame: of `safety`. Columns constitution, scope, measure, raw, corrected, low, high (Lang and Reiczigel: prompts and
    calibration), n; seeds pooled, prompts as clusters. NaN where the judge is no better than chance.
    """
    cache = _calibration(run, judge_name)
    found = []
    kinds = frame["kind"].where(frame["kind"] == "harmful", "harmless")
    for (constitution, scope, kind), part in frame.groupby(["constitution", "scope", kinds], sort=False):
        estimate, low, high = calibration.corrected_rate(
            part["declined"],
            judge_name,
            prompts=part["id"].to_numpy() if part["seed"].nunique() > 1 else None,
            kind=kind,
            model=judge_model,
            url=judge_url,
            cache=cache,
            alpha=alpha,
        )
        row = {"constitution": constitution, "scope": scope, "measure": "S" if kind == "harmful" else "O"}
        row |= {"raw": part["declined"].mean(), "corrected": estimate, "low": low, "high": high}
        found.append(row | {"n": int(part["declined"].notna().sum())})
    return pd.DataFrame(found)


def checkpoints(run: Run, cells: list[str], steps: list[int]) -> list[str]:
    """Names `<cell>@<step>` of these cells' evaluated checkpoints, by cell and step; empty when none was made."""
    places = (ROOT / run.run_dir, ROOT / "runs" / run.profile, ROOT / "data" / "reference" / run.profile)
    wanted = [f"{cell}@{step}" for cell in cells for step in sorted(steps)]
    return [name for name in wanted if any((p / run.evaluation(name, "responses")).is_file() for p in places)]
