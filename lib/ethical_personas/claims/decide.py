"""Verdicts on the paper's claims, computed from data/claims.yaml and a run's measurements.

    verdicts, units = evaluate(evidence.Measured(panel, shifts, contrasts, ambiguity))
    save(verdicts, units, "figures/cpu")      claims.json and the tables `claims` and `claims_units`

A verdict is `supported`, `not supported` or `inconclusive`; the rules stand at the head of claims.yaml.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.claims import evidence, projected
from ethical_personas.claims.declared import COUNTED, TESTS, Claim, declared, paper
from ethical_personas.paths import ROOT

SUPPORTED, REFUTED, OPEN = "supported", "not supported", "inconclusive"
COLUMNS = ["claim", "says", "verdict", "why", "passed", "decided_by", "measure", "measured_in", "estimate"]
COLUMNS += ["low", "high", "p", "p_holm", "mde", "margin", "n", "seeds", "error", "pooled", "pooled_low", "pooled_high"]
OURS = ("C6", "C7")  # this project's claims, a family apart from the paper's
POOLED = "all pooled"  # the unit of the means over a claim's units


def evaluate(measured: evidence.Measured, claims: list[Claim] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Verdicts (one row a claim, and one over the parts of a divided claim) and the units they rest on."""
    names, scopes = paper().constitutions, paper().scopes
    claims = claims or declared()
    # A control takes part in the claims that name it and moves no other.
    beside = {
        control: measured.restrict_to([*names, control], scopes) for control in {claim.control for claim in claims}
    }
    decided = [(claim, *of_claim(claim, beside[claim.control])) for claim in claims]
    verdicts = [row for _, row, _ in decided]
    units = pd.concat([pd.concat([u, _pooled(u)]).assign(claim=c.id) for c, _, u in decided], ignore_index=True)
    columns = ["claim", "unit", "measure", "estimate", "low", "high", "high_family", "p", "p_holm", "mde", "n"]
    columns += ["seeds", "in_family", "passed", "note"]
    return _with_whole(_corrected(pd.DataFrame(verdicts, columns=COLUMNS))), units[columns]


def of_claim(claim: Claim, measured: evidence.Measured) -> tuple[dict, pd.DataFrame]:
    """One claim's verdict, by some of COLUMNS, and its units; `measured`: the claims' own grid and control."""
    units = units_of(claim, measured, measured.alpha)
    return _row(claim, units[units["in_family"]], units[~units["in_family"]], measured.alpha), units


def units_of(claim: Claim, measured: evidence.Measured, alpha: float) -> pd.DataFrame:
    """The units of one claim, those of its measures first: evidence.UNIT, in_family, p_holm, passed, high_family.

    `all`: an intersection-union test (Berger 1982): each unit at alpha, nothing to correct, the largest p is the
    claim's. `any`: a unit has the largest p of its measures, and Holm's correction runs over the units, one of which is
    enough (p_holm).
    `high_family`: the end above which an effect is ruled out, one-sided at alpha over the number of tests of which one
    is enough to fail the claim: all units of `all`; of `any`, where every unit must fail on some measure, the measures.
    """
    test = TESTS[claim.test]
    units = evidence.of_lenses(test, measured, claim, alpha)
    tested = units["measure"].isin(claim.measures)
    units["in_family"], units["p_holm"] = tested, np.nan
    right = units["estimate"] > -claim.tolerated
    units["passed"] = tested & right & (units["p"] < alpha)
    if claim.rule == "any":
        by_unit = units[tested].groupby("unit", sort=False)["p"].agg(lambda p: p.max(skipna=False))
        units.loc[tested, "p_holm"] = units.loc[tested, "unit"].map(stats.family(by_unit.to_frame())["p_holm"])
        units["passed"] = tested & right & (units["p_holm"] < alpha)
    ways = len(claim.measures) if claim.rule == "any" else max(1, int(tested.sum()))
    # Only the intervals are formed anew; tables and draws behind them are those of the first time.
    units["high_family"] = evidence.of_lenses(test, measured, claim, min(0.5, 2 * alpha / ways))["high"]
    return pd.concat([units[tested], units[~tested]])


def directed(claim: Claim, units: pd.DataFrame) -> pd.Series:
    """p of each unit for the claim: 1 where the estimate lies on the other side."""
    return units["p"].where(units["estimate"] > -claim.tolerated, 1.0)


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """p_holm over the claims of the paper (C1 to C5) and over this project's (C6, C7): shown, and decides nothing.

    Each claim was declared for itself and has a verdict of its own at alpha; p_holm is for whoever picks among them.
    """
    ours = table["claim"].str.startswith(OURS)
    return stats.family(table.assign(ours=ours).drop(columns="p_holm"), by="ours")[COLUMNS]


def _row(claim: Claim, units: pd.DataFrame, beside: pd.DataFrame, alpha: float) -> dict:
    verdict, why = verdict_of(claim, units, beside, alpha)
    if units["note"].str.contains(projected.REPLICATED).any() and projected.REPLICATED not in why:
        why += f" ({projected.REPLICATED})"
    row = {"claim": claim.id, "says": claim.says, "verdict": verdict, "why": why, "margin": claim.margin}
    row |= {"passed": _passed(claim, units), "error": claim.error}
    tested = units[units["p"].notna()]
    if len(tested):
        p = tested["p_holm"].fillna(1.0) if claim.rule == "any" else directed(claim, tested)
        # The unit that decides: of `all` the weakest, of `any` the strongest.
        # A refuted `all` is decided by the unit with the lowest interval.
        order = tested.assign(of_claim=p).sort_values(["of_claim", "p", "estimate"], ascending=[True, True, False])
        unit = order.iloc[0 if claim.rule == "any" else -1]
        row["p"] = unit["of_claim"]
        below = _below(claim, tested)
        if claim.rule == "all" and verdict == REFUTED and len(below):
            unit = below.loc[below["high"].idxmin()]
        row |= {"decided_by": unit["unit"], "measured_in": claim.unit}
        row |= {k: unit[k] for k in ("measure", "estimate", "low", "high", "mde", "n", "seeds")}
        # Where nothing moved there is a p of 1 and no size in spreads: nothing to pool.
        pooled = _pooled(tested).set_index("measure").reindex([unit["measure"]]).iloc[0]
        row |= {"pooled": pooled["estimate"], "pooled_low": pooled["low"], "pooled_high": pooled["high"]}
    return row


def _passed(claim: Claim, units: pd.DataFrame) -> str:
    """`7/8 models`: of how many models, scopes, pairs or constitutions every measure passes."""
    passed = units.groupby("unit")["passed"].all()
    return f"{int(passed.sum())}/{len(passed)} {COUNTED[claim.test]}"


def _pooled(units: pd.DataFrame) -> pd.DataFrame:
    """Mean over the units of each measure, a row each, `n` the number of units.

    Units share prompts, items and the source, so their errors go together to a degree that is not known for all tests.
    The ends are the means of the units' ends: right if all err together, and too wide otherwise (the standard error
    of a mean is never above the mean of the standard errors).
    """
    tested = units[units["estimate"].notna()]
    by = tested.groupby("measure", sort=False)
    pooled = by[["estimate", "low", "high"]].agg(lambda ends: ends.mean(skipna=False)).reset_index()
    pooled = pooled.assign(
        unit=POOLED, n=by.size().to_numpy(), seeds=by["seeds"].min().to_numpy(), in_family=False, passed=False
    )
    return pooled.assign(note=[f"mean of {n} units" for n in pooled["n"]])


def verdict_of(claim: Claim, units: pd.DataFrame, beside: pd.DataFrame, alpha: float) -> tuple[str, str]:
    """Verdict and reason of one claim from its units (columns evidence.UNIT, p_holm, passed, high_family)."""
    missing = units[units["p"].isna()]
    tested = units[units["p"].notna()]
    if not len(tested):
        return OPEN, "not tested: " + (missing["note"].iloc[0] if len(missing) else "no such model in this run")
    if claim.test == "reversal":
        return _reversal(claim, tested, beside, alpha)
    if claim.rule == "any":
        return _any(claim, tested, missing, alpha)
    if claim.test == "gain" and (reason := _over_refusal(claim, tested, beside)):
        return REFUTED, reason
    failed = _below(claim, tested)
    if len(failed):
        worst = failed.loc[failed["high"].idxmin()]
        size = f"{worst['estimate']:.2f} [{worst['low']:.2f}, {worst['high']:.2f}]"
        return (
            REFUTED,
            f"{worst['unit']} ({worst['measure']}): {size}, below the margin {claim.margin - claim.tolerated:g}",
        )
    short = tested[~tested["passed"]]
    if len(short):
        return OPEN, f"neither shown nor ruled out: {_names(short)}; {_detectable(claim, short['mde'].max())}"
    if len(missing):
        return OPEN, f"shown where tested, but not tested: {_names(missing)} ({missing['note'].iloc[0]})"
    why = f"all {len(tested)} units pass; largest p {tested['p'].max():.2g}"
    models, wanted = tested["unit"].nunique(), paper().narrow_models
    few = claim.test == "gain" and models < wanted
    return SUPPORTED, why + (f"; rests on {models} narrow models, the paper has {wanted}" if few else "")


def _detectable(claim: Claim, mde: float) -> str:
    """The effect that would be found four times in five in every unit named; a gain has an end."""
    if claim.test == "gain" and mde > 1:
        return "in some of them not even a rise of 1 is detectable with 80 % power"
    return f"detectable there with 80 % power: {mde:.2f}"


def _below(claim: Claim, tested: pd.DataFrame) -> pd.DataFrame:
    """Units where an effect of the margin's size is ruled out (high_family)."""
    return tested[tested["high_family"] < claim.margin - claim.tolerated]


def _names(units: pd.DataFrame, most: int = 3) -> str:
    names = [f"{u} ({m})" for u, m in zip(units["unit"], units["measure"], strict=True)]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _over_refusal(claim: Claim, tested: pd.DataFrame, beside: pd.DataFrame) -> str:
    """Names the models whose S and O rose while J stayed below the margin: they decline more, not better."""
    s, j = (tested[tested["measure"] == m].set_index("unit") for m in ("S", "J"))
    o = beside[beside["measure"] == "O"].set_index("unit")
    risen = s["passed"] & (o["low"] > 0).reindex(s.index)
    explained = [
        u for u in s.index[risen] if u in j.index and not j.loc[u, "passed"] and j.loc[u, "estimate"] < claim.margin
    ]
    if not explained:
        return ""
    names = ", ".join(explained[:3]) + (f" and {len(explained) - 3} more" if len(explained) > 3 else "")
    most = o.loc[explained, "estimate"].max(), j.loc[explained, "estimate"].max()
    rise = f"O rose by up to {most[0]:.2f}, J by an estimated {most[1]:.2f} at most"
    where = {"all": "", "seen": ", on registers that training has", "unseen": ", on registers unseen in training"}
    return f"over-refusal explains the gain in S of {names}{where[claim.prompts]}: {rise}"


def _any(claim: Claim, tested: pd.DataFrame, missing: pd.DataFrame, alpha: float) -> tuple[str, str]:
    for unit, rows in tested.groupby("unit", sort=False):
        if set(rows["measure"]) >= set(claim.measures) and rows["passed"].all():
            return SUPPORTED, f"{unit}: a range of {rows['estimate'].min():.2f}, p {rows['p_holm'].max():.2g}"
    ends = tested.groupby("unit")["high_family"].min()
    if not len(missing) and (ends < claim.margin).all():
        return REFUTED, f"any difference is below {ends.max():.3f}, and the margin is {claim.margin:g}"
    rest = f"; not tested: {_names(missing)}" if len(missing) else ""
    both = f" on {' and '.join(claim.measures)} both" if len(claim.measures) > 1 else ""
    return OPEN, f"no difference shown{both}; detectable with 80 % power: {tested['mde'].max():.2f}{rest}"


def _reversal(claim: Claim, pairs: pd.DataFrame, beside: pd.DataFrame, alpha: float) -> tuple[str, str]:
    turned = pairs[pairs["passed"]]
    if len(turned):
        return SUPPORTED, f"reversed significantly: {_names(turned)}"
    tau = beside[beside["measure"] == "tau"]
    few = tau["n"].min() < 3 if len(tau) else True
    if not few and (tau["low"] > claim.margin).all():
        return REFUTED, f"the order is kept: tau at least {tau['low'].min():.2f}"
    taus = ", ".join(
        f"{r.unit} {r.note}" if np.isnan(r.estimate) else f"{r.unit} {r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}]"
        for r in tau.itertuples()
    )
    few_told = "; two constitutions make no ranking" if few else ""
    return OPEN, f"no pair of constitutions reverses significantly; tau {taus}{few_told}"


def _with_whole(table: pd.DataFrame) -> pd.DataFrame:
    """Put a row over the parts of each divided claim: supported when all are, not supported when one is not."""
    rows = []
    for whole, parts in table.groupby(table["claim"].str.extract(r"^(C\d+)")[0], sort=False):
        if len(parts) > 1 or parts["claim"].iloc[0] != whole:
            given = set(parts["verdict"])
            verdict = SUPPORTED if given == {SUPPORTED} else REFUTED if REFUTED in given else OPEN
            counts = parts["verdict"].value_counts()
            why = ", ".join(f"{counts[v]} of {len(parts)} parts {v}" for v in (SUPPORTED, REFUTED, OPEN) if v in counts)
            rows.append({"claim": whole, "says": "all parts together", "verdict": verdict, "why": why})
        rows += parts.to_dict("records")
    return pd.DataFrame(rows, columns=COLUMNS)


def save(verdicts: pd.DataFrame, units: pd.DataFrame, figures_dir: str) -> pd.DataFrame:
    """Write claims.json (verdicts with their units) and the tables `claims` and `claims_units`; returns verdicts."""

    from ethical_personas.figures import style  # late: the check before a run reads claims and draws nothing

    document = _records(verdicts)
    for row in document:
        row["units"] = _records(units[units["claim"] == row["claim"]].drop(columns="claim"))
    path = ROOT / figures_dir / "claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"claims": document}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    style.save(None, _counts(units), figures_dir, "claims_units")
    style.save(None, _counts(verdicts), figures_dir, "claims")
    return verdicts


def _records(table: pd.DataFrame) -> list[dict]:
    """Rows as JSON knows them: four decimals, null where nothing was measured."""
    return table.round(4).astype(object).where(table.notna(), None).to_dict("records")


def _counts(table: pd.DataFrame) -> pd.DataFrame:
    """The same with n and seeds as whole numbers, empty where nothing was tested."""
    whole = {c: ["" if pd.isna(v) else int(v) for v in table[c]] for c in ("n", "seeds")}
    return table.assign(**whole).fillna(
        {"decided_by": "", "measure": "", "measured_in": "", "passed": "", "error": ""} if "decided_by" in table else {}
    )


def sentences(verdicts: pd.DataFrame) -> str:
    """A Markdown list of claims with verdict and reason."""
    return "\n".join(f"* **{r.claim}** {r.says}: **{r.verdict}** ({r.why})" for r in verdicts.itertuples())
