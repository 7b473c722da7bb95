"""What the claims that compare constitutions rest on: differences with the error of training (stats.trainings).

Units as in claims/evidence.py: one for each other constitution, or one over all, the narrow scopes as blocks.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas.claims import projected
from ethical_personas.claims.evidence import Measured, fitted, lens_of, missing, table_of
from ethical_personas.persona import stance_labels
from ethical_personas.stats import trainings
from ethical_personas.study import grid

SCOPES = "narrow scopes"


def differ_safety(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Range of pS over constitutions, scopes averaged, and its omnibus test, by measure (C5a)."""
    return _differ({m: projected.of_safety(measured, m) for m in claim.measures}, claim, alpha, 2)


def differ_persona(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Range of pP over constitutions, scopes averaged, and its omnibus test (C5b)."""
    if not len(lens_of(measured.contrasts, claim.lens)):
        return table_of([missing(SCOPES, "pP", f"lens {claim.lens} not measured")])
    # The contrasts of two constitutions mirror each other: their pP is one number.
    return _differ({"pP": projected.of_persona(measured, claim.lens)}, claim, alpha, 3)


def _differ(by_measure: dict[str, projected.Projected], claim, alpha: float, least: int) -> pd.DataFrame:
    units, words = [], {2: "two", 3: "three"}[least]
    for measure, found in by_measure.items():
        row = found.spread(alpha, claim.error) if len(found.blocks) else {}
        if row.get("n", 0) < least:
            name = "pP" if measure == "pP" else "pS"
            units.append(missing(SCOPES, measure, f"fewer than {words} constitutions with a defined {name}"))
            continue
        note = found.full_note(trainings.ONE if np.isnan(row["p"]) else "")
        units.append({"unit": SCOPES, "measure": measure, "note": note} | row)
    return table_of(units)


def weakest_safety(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """pS of every other constitution minus the subordinate's, scopes averaged (C5d)."""
    units, models = [], measured.narrow()
    for measure in claim.measures:
        units += subtract_from_others(
            projected.of_safety(measured, measure), models, claim, claim.constitution, measure, alpha
        )
    return table_of(units or [missing(claim.constitution, claim.measures[0], "no narrow model in the run")])


def weakest_persona(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """pP of every other constitution minus the subordinate's, scopes averaged (C5e)."""
    contrasts = lens_of(measured.contrasts, claim.lens)
    if not len(contrasts):
        return table_of([missing(claim.constitution, "pP", f"lens {claim.lens} not measured")])
    narrow = contrasts[contrasts["scope"].isin(grid.NARROW)]
    models = list(narrow[["constitution", "scope"]].drop_duplicates().itertuples(index=False, name=None))
    if len({c for c, _ in models}) == 2:
        note = "contrasts of two constitutions mirror each other: one pP for both"
        return table_of([missing(claim.constitution, "pP", note)])
    found = projected.of_persona(measured, claim.lens)
    units = subtract_from_others(found, models, claim, claim.constitution, "pP", alpha)
    return table_of(units or [missing(claim.constitution, "pP", "no narrow model in the run")])


def subtract_from_others(
    found: projected.Projected, models, claim, constitution: str, measure: str, alpha: float
) -> list[dict]:
    """A unit for every other constitution: its projectability minus that of `constitution`, which may be a control."""
    names = grid.ordered({c for c, _ in models})
    if constitution not in names or len(names) < 2:
        return [missing(constitution, measure, f"{constitution} or all others are not in this run")]
    units = []
    for name in names:
        if name != constitution:
            fit = found.pair(name, constitution, claim.error)
            items = found.pair(name, constitution, "items")
            row = {"note": projected.UNDEFINED} if fit is None else fitted(fit, alpha, items)
            units.append({"unit": name, "measure": measure} | row | {"note": found.full_note(row["note"])})
    return units


def ambiguous(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Share of ambiguous replies, the subordinate minus every other constitution, the scopes as blocks (C5f).

    Shown and not tested where the reader of replies agrees too little with labels of tuned models' replies.
    """
    table = measured.ambiguity
    if table is None or claim.constitution not in set(table["constitution"]):
        return table_of([missing(claim.constitution, "ambiguous", "text lens, or this constitution, not in the run")])
    table = table[table["constitution"] != grid.SOURCE]
    columns = ["constitution", "scope", "seed"]
    wide = table.pivot_table(index="id", columns=columns, values="ambiguous").sort_index(axis=1)
    shared = set.intersection(*(set(wide[c].columns) for c in wide.columns.unique("constitution")))
    values = {c: wide[c][sorted(shared)].to_numpy() for c in wide.columns.unique("constitution")} if shared else {}
    units = []
    for name in [c for c in values if c != claim.constitution]:
        scopes = [scope for scope, _ in sorted(shared)]
        fit = trainings.compare(values, claim.constitution, name, (-1.0, 1.0), claim.error, scopes=scopes)
        items = trainings.compare(values, claim.constitution, name, (-1.0, 1.0), "items")
        seeds = len({seed for _, seed in shared})
        units.append({"unit": name, "measure": "ambiguous"} | fitted(fit, alpha, items) | {"seeds": seeds})
    read = stance_labels.reader_kappa()
    if not read >= claim.reader_kappa:  # undefined is not good enough either
        told = f"the reader of replies agrees with labels at kappa {read:.2f} only, {claim.reader_kappa:g} is required"
        units = [unit | {"p": np.nan, "note": told} for unit in units]
    return table_of(units or [missing(claim.constitution, "ambiguous", "no other constitution in the run")])


TESTS = {f.__name__: f for f in (differ_safety, differ_persona, weakest_safety, weakest_persona, ambiguous)}
OMNIBUS = ("differ_safety", "differ_persona")  # of all constitutions at once; the others compare two
COUNTED = dict.fromkeys(OMNIBUS, "averages")
COUNTED |= dict.fromkeys(("weakest_safety", "weakest_persona", "ambiguous"), "constitutions")
