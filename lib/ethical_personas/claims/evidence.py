"""What each test of data/claims.yaml rests on: one row (unit) for each thing that the claim speaks of.

Every test takes the measurements, the declared claim and the alpha of its intervals, and returns units with columns
UNIT. What was not measured is a row without p whose `note` says why: it can only make a claim inconclusive.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.claims.measured import Measured
from ethical_personas.persona import matching
from ethical_personas.safety import gains
from ethical_personas.stats import trainings
from ethical_personas.study import grid, inputs

UNIT = ["unit", "measure", "estimate", "low", "high", "p", "mde", "n", "seeds", "note"]


def fitted(fit: stats.Linear, alpha: float, items: stats.Linear | None = None) -> dict:
    """The numbers of a unit, of a stats.linear; interval and mde of `items` where the error of training is unknown."""
    known = fit if fit.parts or items is None else items
    low, high = known.interval(alpha)
    numbers = {"estimate": fit.estimate, "low": low, "high": high, "p": fit.p, "mde": known.mde(alpha)}
    return numbers | {"n": fit.n_clusters, "seeds": fit.seeds, "note": "" if fit.parts else trainings.ONE}


def missing(unit: str, measure: str, note: str) -> dict:
    return {"unit": unit, "measure": measure, "note": note}


def table_of(units: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(units, columns=UNIT)
    table["note"] = table["note"].fillna("")
    return table.astype(dict.fromkeys(("estimate", "low", "high", "p", "mde"), float))


def gain(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Gains of every narrow model in each measure (C1, C2); O comes along for the reader and is not tested.

    With `prompts: unseen` they are gains on registers that training never saw; those on seen registers stand beside, as
    measures `S (seen)` and so on, and are not tested.
    """
    units: list[dict] = []
    parts: dict[str, bool | None] = {"": {"all": None, "seen": True, "unseen": False}[claim.prompts]}
    if claim.prompts == "unseen":
        parts[" (seen)"] = True
    if parts[""] is not None:
        tested = gains.select_prompts(measured.panel, seen=parts[""])
        if any(not gains.rows_of(tested, side).any() for side in ("S", "O")):
            which = "has" if parts[""] else "never saw"
            note = f"this run lacks harmful or harmless prompts of a register that training {which}"
            units = [missing("every narrow model", m, note) for m in claim.measures]
            del parts[""]
    for name, seen in parts.items():
        for row in measured.gain_table(claim.categories, seen, alpha).to_dict("records"):
            unit = {"unit": f"{row['constitution']} {row['scope']}", "measure": row["measure"] + name}
            unit |= {"n": row["n_clusters"]} | {k: row[k] for k in ("estimate", "low", "high", "p", "mde", "seeds")}
            if row["scope"] in grid.NARROW:
                units.append(unit | {"note": "no verdicts" if np.isnan(row["p"]) else ""})
    return table_of(units)


def lens_of(table: pd.DataFrame | None, lens: str) -> pd.DataFrame:
    return table[table["lens"] == lens] if table is not None and len(table) else pd.DataFrame()


def of_lenses(test, measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Units of a claim, and beside them those on its further lenses, as measures `match (choice)` and so on."""
    units = [test(measured, claim, alpha)]
    for lens in claim.also:
        beside = test(measured, claim.model_copy(update={"lens": lens}), alpha)
        units.append(beside.assign(measure=[f"{measure} ({lens})" for measure in beside["measure"]]))
    return pd.concat(units, ignore_index=True) if len(units) > 1 else units[0]


def signature(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Match of every model with its own signature, and its lead over the best other signature (C3)."""
    if not len(lens_of(measured.contrasts, claim.lens)):
        return table_of([missing("all models", "match", f"lens {claim.lens} not measured")])
    units = []
    table, draws = measured.matches(claim.lens)
    for row in table.to_dict("records"):
        unit = {"unit": f"{row['constitution']} {row['scope']}", "n": row["n_items"], "seeds": row["seeds"]}
        if np.isnan(row["cosine"]):
            note = "no signature, none to be told from, or a profile that does not move"
            units.append(missing(unit["unit"], "match", note))
            continue
        drawn = draws[row["constitution"], row["scope"], claim.lens]
        low, high = stats.interval(drawn.own, alpha)
        # One-sided against the placings of the signature, which are not normal: their quantile plus the power's share.
        mde = np.quantile(drawn.null, 1 - alpha) + sp.norm.ppf(stats.POWER) * np.nanstd(drawn.own)
        fit = {"estimate": row["cosine"], "low": low, "high": high, "p": row["p"], "mde": min(1.0, mde)}
        units.append(unit | {"measure": "match"} | fit)
        # The largest of several noisy cosines is biased upwards in resamples: the draws give the spread of the lead,
        # the data its centre.
        sd, lead = np.nanstd(drawn.lead), row["margin"]
        if not sd > 0:
            units.append(missing(unit["unit"], "lead", "too few items to resample"))
            continue
        half = sp.norm.isf(alpha / 2) * sd
        fit = {"estimate": lead, "low": lead - half, "high": lead + half, "p": stats.normal_p(lead, sd)}
        fit |= {"mde": stats.normal_mde(sd, alpha), "note": f"best: {row['best']}"}
        units.append(unit | {"measure": "lead"} | fit)
    return table_of(units)


def contrast(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """One dimension's items minus another's, as a shift from the source and as a contrast to the others (C4).

    `mde` and the margin are in Hedges' g, so `low` and `high` are too; `estimate` likewise.
    """
    if claim.constitution not in grid.CONTRASTS:
        return table_of([missing(claim.constitution, "contrast", f"{inputs.STUDY} names no contrast for it")])
    units = []
    for measure, table in (("shift", measured.shifts), ("contrast", measured.contrasts)):
        rows = lens_of(table, claim.lens)
        if not len(rows):
            units.append(missing(claim.constitution, measure, f"lens {claim.lens} not measured"))
            continue
        if measure == "contrast" and rows["constitution"].nunique() < 2:
            units.append(missing(claim.constitution, measure, "one constitution has none to be set against"))
            continue
        if measure == "shift":  # one value an item: wordings averaged
            keys = ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed"]
            rows = rows.groupby(keys, as_index=False)["signed"].mean()
        table = matching.dimension_contrast(rows[rows["constitution"] == claim.constitution], alpha)
        for row in table[table["scope"].isin(grid.NARROW)].to_dict("records"):
            sd = row["estimate"] / row["effect"] if row["effect"] else np.nan
            unit = {"unit": f"{claim.constitution} {row['scope']}", "measure": measure, "n": row["n_clusters"]}
            unit |= {"estimate": row["effect"], "p": row["p"], "seeds": row["seeds"]}
            unit |= {k: row[k] / sd for k in ("low", "high", "mde")}
            units.append(unit)
    if not any("p" in row for row in units):
        units.append(missing(claim.constitution, "contrast", "no narrow model of this constitution in the run"))
    return table_of(units)


def _seeds(measured: Measured) -> dict:
    counts = [gains.values(measured.panel, *m).shape[1] for m in gains.models(measured.panel)]
    return {"seeds": min(counts, default=0)}


def reversal(measured: Measured, claim, alpha: float) -> pd.DataFrame:
    """Pairs of constitutions that turn round, and Kendall's tau of each scope (C5c)."""
    units = []
    for measure in claim.measures:
        for row in measured.reversals(measure).to_dict("records"):
            unit = {"unit": f"{row['a']} / {row['b']} {row['scope']}", "measure": measure, "mde": row["mde"]}
            size = min(abs(row["id"]), abs(row["ood"])) * (1 if row["reversed"] else -1)
            units.append(unit | {"estimate": size, "p": row["p"]} | _seeds(measured))
        ranks = measured.ranks(measure)
        for scope, rows in ranks.groupby("scope") if len(ranks) else []:
            row = rows.iloc[0]
            unit = {"unit": scope, "measure": "tau", "n": row["constitutions"], "note": row["reason"]}
            units.append(
                unit | {"estimate": row["tau"], "low": row["tau_low"], "high": row["tau_high"]} | _seeds(measured)
            )
    if not any(row["measure"] in claim.measures for row in units):
        units.append(missing("all scopes", claim.measures[0], "fewer than two constitutions in one narrow scope"))
    return table_of(units)


TESTS = {f.__name__: f for f in (gain, signature, contrast, reversal)}
COUNTED = {"gain": "models", "signature": "models", "contrast": "models", "reversal": "pairs"}  # what their units are
