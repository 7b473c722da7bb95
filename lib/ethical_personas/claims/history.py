"""Every full run there has been, with its verdicts: what a change of recipe did to them."""

from __future__ import annotations

import datetime
import math

import pandas as pd
from pydantic import BaseModel, ConfigDict, RootModel

from ethical_personas.files import validated
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs

PRESENT = "present"


class Power(BaseModel):
    """What an earlier run would have found of one claim."""

    model_config = ConfigDict(extra="forbid")
    measured_in: str
    largest: dict[str, float]  # by measure: the largest effect, over its units, that 80 % power asks for


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
    mde: dict[str, Power] = {}  # by claim; of the last run of the older design alone
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


def power(verdicts: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """What was detectable before and after: this run's effects of 80 % power beside those of an earlier design.

    Args:
        verdicts, units: Of decide.evaluate.

    Returns:
        A row per claim and tested measure: margin, units, n (fewest prompts, items or constitutions behind one), mde
        (the largest over the units), mde_<run> for each earlier run that tells its own (NaN where it did not test the
        measure), measured_in, measured_in_<run>: to be read before two sizes are compared. A match is at most 1.
    """
    about = verdicts.set_index("claim")
    told = [run for run in runs() if run.mde]
    tested, records = units[units["in_family"] & units["p"].notna()], []
    for (claim, measure), part in tested.groupby(["claim", "measure"], sort=False):
        row = {"claim": claim, "measure": measure, "margin": about.loc[claim, "margin"], "units": len(part)}
        row |= {"n": "" if part["n"].isna().all() else int(part["n"].min()), "mde": part["mde"].max()}
        past = {run.run: run.mde.get(claim) for run in told}
        row |= {
            f"mde_{run}": found.largest.get(measure, math.nan) if found else math.nan for run, found in past.items()
        }
        row["measured_in"] = about.loc[claim, "measured_in"]
        row |= {f"measured_in_{run}": found.measured_in if found else "" for run, found in past.items()}
        records.append(row)
    columns = ["claim", "measure", "margin", "units", "n", "mde", *(f"mde_{run.run}" for run in told)]
    return pd.DataFrame(records, columns=[*columns, "measured_in", *(f"measured_in_{run.run}" for run in told)])


def recipes() -> pd.DataFrame:
    """What the earlier runs were, a row each: run, date, commit, recipe, models, seeds, S_<scope>, note."""
    kept = ("run", "date", "commit", "recipe", "models", "seeds")
    records = []
    for run in runs():
        rates = {f"S_{scope}": rate for scope, rate in run.S.items()}
        records.append({k: getattr(run, k) for k in kept} | rates | {"note": run.note})
    return pd.DataFrame(records)
