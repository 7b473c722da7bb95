"""Every full run there has been, with its verdicts: what a change of recipe did to them."""

from __future__ import annotations

import datetime

import pandas as pd
from pydantic import BaseModel, ConfigDict, RootModel

from ethical_personas.files import validated
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs

PRESENT = "present"


class Past(BaseModel):
    """One full run."""

    model_config = ConfigDict(extra="forbid")
    run: str
    date: datetime.date
    commit: str
    recipe: str
    models: int
    seeds: int
    S: dict[str, float]  # by scope, constitutions averaged
    verdicts: dict[str, str]
    note: str = ""  # what is to be known beside, a correction of the entry among it


class History(RootModel):
    """Runs, the earliest first."""

    root: list[Past]


def runs() -> list[Past]:
    """The runs of data/reference/history.yaml; raises CompanionError naming file and field."""
    return validated(History, ROOT / inputs.HISTORY).root


def table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Verdicts by claim and run.

    Args:
        verdicts: Of decide.evaluate.

    Returns:
        One row per claim that any run has decided, in the order of the present run's: claim, a column for each earlier
        run (its name), `present`; empty where a run did not have the claim. A claim's test may have changed between
        runs: its verdict is that of the test of its day.
    """
    now = dict(zip(verdicts["claim"], verdicts["verdict"], strict=True))
    past = runs()
    claims = list(dict.fromkeys([*now, *(claim for run in past for claim in run.verdicts)]))
    columns = {run.run: [run.verdicts.get(claim, "") for claim in claims] for run in past}
    return pd.DataFrame({"claim": claims, **columns, PRESENT: [now.get(claim, "") for claim in claims]})


def recipes() -> pd.DataFrame:
    """What the earlier runs were, a row each: run, date, commit, recipe, models, seeds, S_<scope>, note."""
    kept = ("run", "date", "commit", "recipe", "models", "seeds")
    records = []
    for run in runs():
        rates = {f"S_{scope}": rate for scope, rate in run.S.items()}
        records.append({k: getattr(run, k) for k in kept} | rates | {"note": run.note})
    return pd.DataFrame(records)
