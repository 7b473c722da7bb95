"""What the claims about control arms rest on: constitutions beside an arm that shares all but the reasons.

Units as in claims/evidence.py. Every comparison is paired: the same prompts or items, scope and seeds.
"""

from __future__ import annotations

import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.claims import evidence
from ethical_personas.claims.evidence import Measured, missing, table_of
from ethical_personas.persona import content
from ethical_personas.safety import gains
from ethical_personas.study import grid


def over_control(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Rate of every narrow model minus its control's (C6a, C6b); of O the control's minus the model's (C6c)."""
    units, models = [], measured.narrow()
    for constitution, scope in [m for m in models if m[0] != claim.control]:
        cell = grid.Cell(constitution, scope)
        categories = {"all": grid.CATEGORIES, "ood": cell.ood, "held_out": (cell.held_out,)}[claim.categories]
        for measure in claim.measures:
            unit = {"unit": f"{constitution} {scope}", "measure": measure}
            if (claim.control, scope) not in models:
                units.append(unit | {"note": f"no {claim.control} model of this scope in the run"})
                continue
            own, other = (constitution, scope), (claim.control, scope)
            first, second = (other, own) if measure == "O" else (own, other)
            row = gains.difference(measured.panel, first, second, measure, categories, alpha)
            unit |= {"n": row["n_clusters"], "note": "" if row["n"] else "no verdicts"}
            unit |= {k: row[k] for k in ("estimate", "low", "high", "p", "mde", "seeds")}
            if claim.tolerated:  # the test of paired() is against 0; its interval gives the one against another value
                sd = (row["estimate"] - row["low"]) / sp.norm.isf(alpha / 2)
                unit["p"] = stats.normal_p(row["estimate"] + claim.tolerated, sd)
            units.append(unit)
    return table_of(units or [missing("all models", claim.measures[0], "no narrow model in the run")])


def over_control_projected(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """pS of every constitution minus the control's, by narrow scope (C6d)."""
    units = []
    for measure in claim.measures:
        units += evidence.above(*measured.safety(measure), measured.narrow(), claim.control, measure, alpha)
    return table_of(units)


def over_control_persona(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Every model's match with its signature, and its alignment with it, minus the control's (C7)."""
    contrasts = evidence.lens_of(measured.contrasts, claim.lens)
    if not len(contrasts):
        return table_of([missing("all models", claim.measures[0], f"lens {claim.lens} not measured")])
    units = []
    for row in content.over(contrasts, claim.control, measured.draws, alpha).to_dict("records"):
        unit = {"unit": f"{row['constitution']} {row['scope']}", "n": row["n_items"], "note": row["reason"]}
        for measure in claim.measures:
            own = {k: row[f"{measure}_{k}"] for k in ("low", "high", "p", "mde")}
            units.append(unit | {"measure": measure, "estimate": row[measure], "seeds": row["seeds"]} | own)
    return table_of(units or [missing("all models", claim.measures[0], "no model of these constitutions in the run")])


TESTS = {f.__name__: f for f in (over_control, over_control_projected, over_control_persona)}
