"""What the claims about control arms rest on: constitutions beside an arm that shares all but the reasons.

Units as in claims/evidence.py, one for each constitution; its scopes and seeds, paired with the
control's, are the trainings that its error is taken over (stats.trainings).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.claims import constitutions, projected
from ethical_personas.claims.evidence import Measured, fitted, lens_of, missing, table_of
from ethical_personas.safety import control_arms
from ethical_personas.stats import trainings
from ethical_personas.study import grid


def _blocks(models, control: str) -> tuple[list[str], list[str]]:
    """Constitutions, and the narrow scopes that all of them and the control have."""
    names = list(dict.fromkeys(c for c, _ in models if c != control))
    scopes = [s for s in grid.NARROW if all((c, s) in models for c in (*names, control))]
    return names, scopes


def over_control(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Each constitution's narrow models minus the control's in S, J or T (C6a, C6b); in O the reverse (C6c)."""
    names, scopes = _blocks(measured.narrow(), claim.control)
    units = []
    for measure in claim.measures:
        if not names:
            return table_of([missing("all constitutions", measure, "no narrow model in the run")])
        if not scopes:
            note = f"no {claim.control} model of a scope that all constitutions have in the run"
            units += [missing(name, measure, note) for name in names]
            continue
        everybody, over = [*names, claim.control], measured.over
        values, strata = control_arms.verdicts(measured.panel, everybody, scopes, measure, claim.categories, over)
        for name in names:
            first, second = (claim.control, name) if measure == "O" else (name, claim.control)
            unit = {"unit": name, "measure": measure}
            if np.isnan(values[name] - values[claim.control]).all():
                units.append(unit | {"note": "no verdicts"})
                continue
            blocks, pseudo = np.repeat(scopes, values[name].shape[1] // len(scopes)), control_arms.PSEUDO[measure]
            items = trainings.compare(values, first, second, pseudo, "items", strata)
            fit = trainings.compare(values, first, second, pseudo, claim.error, strata, blocks)
            row = fitted(fit, alpha, items)
            row["p"] = trainings.shift_estimate(fit, claim.tolerated).p  # of a difference of -tolerated
            units.append(unit | row | {"seeds": values[name].shape[1] // len(scopes)})
    return table_of(units)


def over_control_projected(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """pS of every constitution minus the control's, scopes averaged (C6d)."""
    units, models = [], measured.narrow()
    for measure in claim.measures:
        found = projected.of_safety(measured, measure)
        units += constitutions.subtract_from_others(found, models, claim, claim.control, measure, alpha)
    return table_of(units)


def over_control_persona(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Every constitution's match with its signature, and its alignment with it, minus the control's (C7).

    The variance of a training is that of the differences in the table of constitutions, scopes and seeds; the
    control's trainings are taken to vary as much as a constitution's. The error over items is that of joint draws for
    the match, and the mean of the scopes' for the alignment (they share their items).
    """
    contrasts = lens_of(measured.contrasts, claim.lens)
    if not len(contrasts):
        return table_of([missing("all constitutions", claim.measures[0], f"lens {claim.lens} not measured")])
    found, match_error = measured.content(claim.control, claim.lens)
    units = []
    for measure in claim.measures:
        blocks = found.pivot(index=["scope", "seed"], columns="constitution", values=measure)
        sizes = (found[f"{measure}_high"] - found[f"{measure}_low"]) / 2
        whole = blocks.dropna(axis=0, how="any")
        for name in grid.ordered(blocks.columns):
            own = found["constitution"] == name
            unit = {"unit": name, "measure": measure}
            reasons = [r for r in found.loc[own, "reason"] if r]
            if reasons or whole.empty:
                units.append(unit | {"note": reasons[0] if reasons else "no scope that all constitutions have"})
                continue
            # Ends at 0.05 lie two standard errors off, a little more where the test is t.
            spread = match_error[name] if measure == "match" else float((sizes[own] / sp.norm.isf(0.025)).mean())
            fit = stats.Linear(float(blocks[name].mean()), ((spread**2, np.inf),), len(blocks), 0, 0)
            items = fit
            if claim.error in ("trainings", "scopes"):
                known = whole if claim.error == "trainings" else whole.groupby(level="scope").mean()
                square, df = trainings.residual(known.to_numpy().T)
                fit = trainings.add_variance(fit, float(2 * square / len(known)), df)
            elif claim.error == "pair":  # the blocks hold differences already
                fit = trainings.add_variance(fit, float(whole[name].var(ddof=1) / len(blocks)), len(whole) - 1)
            seeds, asked = found["seed"].nunique(), found.loc[own, "n_items"].max()
            units.append(unit | fitted(fit, alpha, items) | {"n": asked, "seeds": seeds})
    return table_of(units or [missing("all constitutions", claim.measures[0], "no model of these in the run")])


TESTS = {f.__name__: f for f in (over_control, over_control_projected, over_control_persona)}
COUNTED = dict.fromkeys(TESTS, "constitutions")
