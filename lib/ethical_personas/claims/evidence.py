"""What each test of data/claims.yaml rests on: one row (unit) for each thing that the claim speaks of.

Every function takes the measurements and the declared claim, and returns units with columns UNIT. What was not
measured is a row without p, its `note` saying why: it can make a claim inconclusive and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.persona import matching
from ethical_personas.projectability import compare, persona, ratio
from ethical_personas.safety import gains
from ethical_personas.study import grid, materials

UNIT = ["unit", "measure", "estimate", "low", "high", "p", "mde", "n", "seeds", "note"]


@dataclass
class Measured:
    """All measurements of a run; the persona tables are None where no lens was measured."""

    panel: pd.DataFrame  # gains.panel
    shifts: pd.DataFrame | None = None  # persona.lens_shifts.item_shifts
    contrasts: pd.DataFrame | None = None  # persona.lens_shifts.item_contrasts
    ambiguity: pd.DataFrame | None = None  # persona.lens_shifts.ambiguity
    draws: int = 2000
    alpha: float = 0.05

    def narrow(self) -> list[tuple[str, str]]:
        """(constitution, scope) of the narrow models in the run."""
        return gains.models(self.panel, grid.NARROW)


def _missing(unit: str, measure: str, note: str) -> dict:
    return {"unit": unit, "measure": measure, "note": note}


def _units(found: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=UNIT)
    table["note"] = table["note"].fillna("")
    return table.astype(dict.fromkeys(("estimate", "low", "high", "p", "mde"), float))


def gain(measured: Measured, claim) -> pd.DataFrame:
    """Gains of every narrow model in each measure (C1, C2); O comes along for the reader and is not tested."""
    found = []
    table = gains.table(measured.panel, measured.alpha, claim.categories)
    for row in table.to_dict("records"):
        unit = {"unit": f"{row['constitution']} {row['scope']}", "measure": row["measure"], "n": row["n_clusters"]}
        unit |= {k: row[k] for k in ("estimate", "low", "high", "p", "mde", "seeds")}
        if row["scope"] in grid.NARROW:
            found.append(unit | {"note": "no verdicts" if np.isnan(row["p"]) else ""})
    return _units(found)


def _lens(table: pd.DataFrame | None, lens: str) -> pd.DataFrame:
    return table[table["lens"] == lens] if table is not None and len(table) else pd.DataFrame()


def signature(measured: Measured, claim) -> pd.DataFrame:
    """Match of every model with its own signature, and its lead over the best other signature (C3)."""
    contrasts = _lens(measured.contrasts, claim.lens)
    if not len(contrasts):
        return _units([_missing("all models", "match", f"lens {claim.lens} not measured")])
    found = []
    table = matching.signature_match(contrasts, measured.draws, measured.alpha)
    signatures, dimensions = materials.signatures(), sorted(contrasts["dimension"].unique())
    names, signs = list(signatures), np.array([[v.get(d, 0) for d in dimensions] for v in signatures.values()])
    for row in table.to_dict("records"):
        unit = f"{row['constitution']} {row['scope']}"
        if np.isnan(row["cosine"]):
            found.append(_missing(unit, "match", "no registered signature, or a profile that does not move"))
            continue
        own = names.index(row["constitution"])
        own_rows = contrasts[(contrasts["constitution"] == row["constitution"]) & (contrasts["scope"] == row["scope"])]
        cosines = matching.cosine(matching.profile_draws(own_rows, measured.draws)[:, None], signs[None])
        spread = np.nanstd(cosines[:, own])
        null = matching.cosine(matching.arrangements(tuple(int(s) for s in signs[own])), signs[own])
        mde = np.quantile(null, 1 - measured.alpha) + sp.norm.ppf(stats.POWER) * spread
        base = {"unit": unit, "n": row["n_items"], "seeds": row["seeds"]}
        fit = {"estimate": row["cosine"], "low": row["low"], "high": row["high"], "p": row["p"], "mde": min(1.0, mde)}
        found.append(base | {"measure": "match"} | fit)
        lead = cosines[:, own] - np.nanmax(np.delete(cosines, own, axis=1), axis=1)
        # The largest of noisy cosines is biased upwards in resamples: spread from the draws, centre from the data.
        z, sd = sp.norm.isf(measured.alpha / 2), np.nanstd(lead)
        if not sd > 0:
            found.append(_missing(unit, "lead", "too few items to resample"))
            continue
        fit = {"estimate": row["margin"], "low": row["margin"] - z * sd, "high": row["margin"] + z * sd}
        fit |= {"p": float(2 * sp.norm.sf(abs(row["margin"]) / sd)), "mde": stats.normal_mde(sd, measured.alpha)}
        found.append(base | {"measure": "lead", "note": f"best: {row['best']}"} | fit)
    return _units(found)


def contrast(measured: Measured, claim) -> pd.DataFrame:
    """Utilitarian minus deontological items, as a shift from the source and as a contrast to the others (C4).

    `mde` and the margin are in Hedges' g, so `low` and `high` are too; `estimate` likewise.
    """
    found = []
    for measure, table in (("shift", measured.shifts), ("contrast", measured.contrasts)):
        rows = _lens(table, claim.lens)
        if not len(rows):
            found.append(_missing(claim.constitution, measure, f"lens {claim.lens} not measured"))
            continue
        if measure == "contrast" and rows["constitution"].nunique() < 2:
            found.append(_missing(claim.constitution, measure, "one constitution has none to be set against"))
            continue
        if measure == "shift":  # one value an item: wordings averaged
            keys = ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed"]
            rows = rows.groupby(keys, as_index=False)["signed"].mean()
        table = matching.contrast_c4(rows, claim.constitution, alpha=measured.alpha)
        for row in table[table["scope"].isin(grid.NARROW)].to_dict("records"):
            sd = row["estimate"] / row["effect"] if row["effect"] else np.nan
            unit = {"unit": f"{claim.constitution} {row['scope']}", "measure": measure, "n": row["n_clusters"]}
            unit |= {"estimate": row["effect"], "p": row["p"], "seeds": row["seeds"]}
            unit |= {k: row[k] / sd for k in ("low", "high", "mde")}
            found.append(unit)
    if not any("p" in row for row in found):
        found.append(_missing(claim.constitution, "contrast", "no narrow model of this constitution in the run"))
    return _units(found)


def differ_safety(measured: Measured, claim) -> pd.DataFrame:
    """Range of pS over constitutions and its omnibus test, by narrow scope and measure (C5a)."""
    found = []
    for measure in claim.measures:
        table = compare.differences(measured.panel, measure, measured.draws, measured.alpha)
        for row in table.to_dict("records"):
            unit = {"unit": row["scope"], "measure": measure, "note": row["reason"], "n": row["constitutions"]}
            found.append(unit | {k: row[k] for k in ("estimate", "low", "high", "p", "mde")} | _seeds(measured))
    return _units(found)


def _seeds(measured: Measured) -> dict:
    counts = [gains.values(measured.panel, *m).shape[1] for m in gains.models(measured.panel)]
    return {"seeds": min(counts, default=0)}


def differ_persona(measured: Measured, claim) -> pd.DataFrame:
    """Range of noise-free pP over constitutions and its omnibus test, by narrow scope (C5b)."""
    contrasts = _lens(measured.contrasts, claim.lens)
    if not len(contrasts):
        return _units([_missing("all scopes", "pP", f"lens {claim.lens} not measured")])
    table, kept = persona.persona_draws(contrasts, measured.draws, measured.alpha)
    kept, found = kept.get(claim.lens, {}), []
    for scope, rows in table.groupby("scope"):
        part = rows[[(c, scope) in kept for c in rows["constitution"]]]
        unit = {"unit": scope, "measure": "pP", "n": len(part), "seeds": rows["seeds"].min()}
        if len(part) < 3:  # the contrasts of two constitutions mirror each other: their pP is one number
            found.append(unit | {"note": "fewer than three constitutions with a defined pP"})
            continue
        drawn, point = np.array([kept[c, scope] for c in part["constitution"]]).T, part["of_ceiling"].to_numpy()
        fit = compare.spread(point, drawn, measured.alpha)
        found.append(unit | fit | {"p": stats.wald(point, drawn)[2]})
    return _units(found or [_missing("all scopes", "pP", "no narrow model in the run")])


def reversal(measured: Measured, claim) -> pd.DataFrame:
    """Pairs of constitutions that turn round, and Kendall's tau of each scope (C5c)."""
    found = []
    for measure in claim.measures:
        for row in compare.reversals(measured.panel, measure, measured.alpha).to_dict("records"):
            unit = {"unit": f"{row['a']} / {row['b']} {row['scope']}", "measure": measure, "mde": row["mde"]}
            size = min(abs(row["id"]), abs(row["ood"])) * (1 if row["reversed"] else -1)
            found.append(unit | {"estimate": size, "p": row["p"]} | _seeds(measured))
        ranks = compare.ranks(measured.panel, measure, measured.draws, measured.alpha)
        for scope, rows in ranks.groupby("scope") if len(ranks) else []:
            row = rows.iloc[0]
            unit = {"unit": scope, "measure": "tau", "n": row["constitutions"], "note": row["reason"]}
            found.append(
                unit | {"estimate": row["tau"], "low": row["tau_low"], "high": row["tau_high"]} | _seeds(measured)
            )
    if not any(row["measure"] in claim.measures for row in found):
        found.append(_missing("all scopes", claim.measures[0], "fewer than two constitutions in one narrow scope"))
    return _units(found)


def weakest_safety(measured: Measured, claim) -> pd.DataFrame:
    """pS of every other constitution minus the subordinate's (C5d)."""
    found = []
    for measure in claim.measures:
        table, kept = ratio.safety_draws(measured.panel, measure, measured.draws, measured.alpha)
        found += _weakest(table, kept, measured.narrow(), claim.constitution, measure, measured.alpha)
    return _units(found or [_missing(claim.constitution, claim.measures[0], "no narrow model in the run")])


def weakest_persona(measured: Measured, claim) -> pd.DataFrame:
    """Noise-free pP of every other constitution minus the subordinate's (C5e)."""
    contrasts = _lens(measured.contrasts, claim.lens)
    if not len(contrasts):
        return _units([_missing(claim.constitution, "pP", f"lens {claim.lens} not measured")])
    table, kept = persona.persona_draws(contrasts, measured.draws, measured.alpha)
    table = table.assign(estimate=table["of_ceiling"])
    models = list(zip(table["constitution"], table["scope"], strict=True))
    found = _weakest(table, kept.get(claim.lens, {}), models, claim.constitution, "pP", measured.alpha)
    if len(set(table["constitution"])) == 2:
        found = [
            _missing(claim.constitution, "pP", "contrasts of two constitutions mirror each other: one pP for both")
        ]
    return _units(found or [_missing(claim.constitution, "pP", "no narrow model in the run")])


def _weakest(table, kept, models, constitution, measure, alpha) -> list[dict]:
    names = {c for c, _ in models}
    if constitution not in names or len(names) < 2:
        return [_missing(constitution, measure, f"{constitution} or all others are not in this run")]
    rows = compare.lower_than(kept, table, constitution, alpha).set_index(["scope", "other"])
    found = []
    about = table.set_index(["constitution", "scope"])
    for name, scope in models:
        if name == constitution:
            continue
        unit = {"unit": f"{name} {scope}", "measure": measure, "seeds": about.loc[(name, scope), "seeds"]}
        if (scope, name) in rows.index:
            row = rows.loc[(scope, name)]
            found.append(unit | row.to_dict() | {"n": about.loc[(name, scope), "n_clusters"]})
        else:
            found.append(unit | {"note": "projectability undefined for one of the two"})
    return found


def ambiguous(measured: Measured, claim) -> pd.DataFrame:
    """Share of ambiguous replies, the subordinate minus every other constitution, paired by item (C5f)."""
    table = measured.ambiguity
    if table is None or claim.constitution not in set(table["constitution"]):
        return _units([_missing(claim.constitution, "ambiguous", "text lens, or this constitution, not in the run")])
    wide = table.pivot_table(index="id", columns=["constitution", "seed"], values="ambiguous").sort_index(axis=1)
    own, found = wide[claim.constitution].to_numpy(), []
    for name in [c for c in wide.columns.levels[0] if c not in (claim.constitution, grid.SOURCE)]:
        row = stats.paired(own, wide[name].to_numpy(), alpha=measured.alpha)
        unit = {"unit": name, "measure": "ambiguous", "n": row["n_clusters"]}
        found.append(unit | {k: row[k] for k in ("estimate", "low", "high", "p", "mde", "seeds")})
    return _units(found or [_missing(claim.constitution, "ambiguous", "no other constitution in the run")])


TESTS = {
    f.__name__: f
    for f in (
        *(gain, signature, contrast, differ_safety, differ_persona),
        *(reversal, weakest_safety, weakest_persona, ambiguous),
    )
}
