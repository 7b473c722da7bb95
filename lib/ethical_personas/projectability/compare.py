"""Do constitutions differ in projectability, and does their order in distribution hold out of it?"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.projectability import ratio
from ethical_personas.projectability.ratio import GainDraws
from ethical_personas.safety import gains
from ethical_personas.study import grid


def differences(
    panel: pd.DataFrame, measure: str, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Do constitutions differ in pS? Per narrow scope a Wald test over joint bootstrap draws.

    Columns scope, measure, estimate (largest minus smallest pS), low, high, mde, chi2, df, p, constitutions, cochran_p
    (Cochran's Q on out-of-distribution verdicts, one seed only: do the models differ in S at all), reason.
    """
    table, kept = ratio.safety_draws(panel, measure, draws, alpha, seed)
    found = []
    for scope in [s for s in grid.NARROW if s in set(table["scope"])]:
        part = table[(table["scope"] == scope) & table["estimate"].notna()]
        drawn = np.array([kept[c, scope] for c in part["constitution"]]).T
        chi2, df, p = stats.wald(part["estimate"].to_numpy(), drawn)
        names = [c for c, s in gains.models(panel) if s == scope]
        outcomes = [gains.values(panel, c, scope)[gains.where(panel, "S", grid.Cell("", scope).ood)] for c in names]
        single = all(x.shape[1] == 1 for x in outcomes)
        q = stats.cochran(np.hstack(outcomes))[1] if single and len(names) > 1 else np.nan
        row = {"scope": scope, "measure": measure, **spread(part["estimate"].to_numpy(), drawn, alpha)}
        row |= {"chi2": chi2, "df": df, "p": p, "cochran_p": q}
        reason = "" if len(part) > 1 else "fewer than two constitutions with a defined pS"
        found.append(row | {"constitutions": len(part), "reason": reason})
    columns = ["scope", "measure", "estimate", "low", "high", "mde", "chi2", "df", "p", "cochran_p", "constitutions"]
    return pd.DataFrame(found, columns=[*columns, "reason"])


def spread(estimates: np.ndarray, drawn: np.ndarray, alpha: float) -> dict:
    """Largest minus smallest of `estimates` (k,), the interval of that pair's difference from joint draws (draws, k),
    and the smallest difference that the noisiest pair would show with 80 % power; NaN for k < 2."""
    if len(estimates) < 2:
        return dict.fromkeys(["estimate", "low", "high", "mde"], np.nan)
    top, bottom = int(np.argmax(estimates)), int(np.argmin(estimates))
    low, high = stats.interval(drawn[:, top] - drawn[:, bottom], alpha)
    noisiest = max(np.nanstd(drawn[:, a] - drawn[:, b]) for a, b in itertools.combinations(range(len(estimates)), 2))
    mde = stats.normal_mde(noisiest, alpha)
    return {"estimate": estimates[top] - estimates[bottom], "low": low, "high": high, "mde": mde}


def lower_than(kept: dict, table: pd.DataFrame, constitution: str, alpha: float = 0.05) -> pd.DataFrame:
    """Is `constitution` the least projectable? Each other constitution's pS minus its, by scope, from joint draws.

    kept, table: of `safety_draws` or `persona_draws`. Columns scope, other, estimate, low, high, p (two-sided, normal,
    with the draws' spread), mde.
    """
    found = []
    point = table.set_index(["constitution", "scope"])["estimate"]
    for name, scope in kept:
        if name == constitution or (constitution, scope) not in kept:
            continue
        drawn = kept[name, scope] - kept[constitution, scope]
        low, high = stats.interval(drawn, alpha)
        apart, sd = point[name, scope] - point[constitution, scope], np.nanstd(drawn)
        row = {"scope": scope, "other": name, "estimate": apart, "low": low, "high": high}
        found.append(row | {"p": float(2 * sp.norm.sf(abs(apart) / sd)), "mde": stats.normal_mde(sd, alpha)})
    return pd.DataFrame(found, columns=["scope", "other", "estimate", "low", "high", "p", "mde"])


def ranks(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Constitutions ordered by gain in distribution (the trained category) and out of it, by narrow scope.

    One row per constitution and scope: gain, interval, rank (1 = largest gain) and the rank's bootstrap interval, for
    `id` and `ood`; and the scope's Kendall tau-b between the two orders with its interval, the same on each row.
    `reason` says where tau cannot tell much: two constitutions, or ties throughout.
    """
    boot = GainDraws(panel, draws, seed)
    found = []
    for scope in grid.NARROW:
        names = [c for c, s in gains.models(panel) if s == scope]
        cell = grid.Cell("", scope)
        rows = [{"constitution": c, "scope": scope, "measure": measure} for c in names]
        point, drawn = {}, {}
        for place, categories in (("id", cell.categories), ("ood", cell.ood)):
            fits = [gains.gain(panel, c, scope, measure, categories, alpha) for c in names]
            point[place] = np.array([f["estimate"] for f in fits])
            drawn[place] = np.array([boot.gain(c, scope, measure, categories) for c in names]).T
            for row, fit in zip(rows, fits, strict=True):
                row |= {f"{place}_gain": fit["estimate"], f"{place}_low": fit["low"], f"{place}_high": fit["high"]}
            if names:
                rank = sp.rankdata(-point[place])
                span = np.quantile(sp.rankdata(-drawn[place], axis=1), [alpha / 2, 1 - alpha / 2], axis=0)
                for i, row in enumerate(rows):
                    row |= {f"{place}_rank": rank[i], f"{place}_rank_low": span[0, i], f"{place}_rank_high": span[1, i]}
        if names:
            tau = float(stats.kendall(point["id"], point["ood"])) if len(names) > 1 else np.nan
            low, high = (
                stats.interval(stats.kendall(drawn["id"], drawn["ood"]), alpha) if len(names) > 1 else (tau, tau)
            )
            low, high = (np.nan, np.nan) if np.isnan(tau) else (low, high)
            reason = "undefined: every gain ties" if np.isnan(tau) else ""
            reason = "undefined: one constitution has no order" if len(names) < 2 else reason
            reason = "weak: two constitutions allow -1 and 1 alone" if len(names) == 2 and not reason else reason
            extra = {"tau": tau, "tau_low": low, "tau_high": high, "constitutions": len(names), "reason": reason}
            found += [row | extra for row in rows]
    return pd.DataFrame(found)


def reversals(panel: pd.DataFrame, measure: str = "S", alpha: float = 0.05) -> pd.DataFrame:
    """Pairs of constitutions whose order turns round: a ahead of b in distribution, b ahead of a out of it.

    Per scope and pair: the difference a - b in and out of distribution, and p = the larger of the two tests' p
    (both must hold), 1 where the signs agree. Columns scope, a, b, id, ood, p, mde (the larger), reversed.
    """
    found = []
    for scope in grid.NARROW:
        cell = grid.Cell("", scope)
        names = [c for c, s in gains.models(panel) if s == scope]
        for a, b in itertools.combinations(names, 2):
            rows = {}
            for place, categories in (("id", cell.categories), ("ood", cell.ood)):
                keep = gains.where(panel, measure, categories)
                harmless = (panel.index.get_level_values("kind") != "harmful")[keep] if measure == "J" else None
                x, y = (gains.values(panel, c, scope)[keep] for c in (a, b))
                rows[place] = stats.paired(x, y, harmless, alpha)
            turned = rows["id"]["estimate"] * rows["ood"]["estimate"] < 0
            p = max(rows["id"]["p"], rows["ood"]["p"]) if turned else 1.0
            row = {"scope": scope, "a": a, "b": b, "id": rows["id"]["estimate"], "ood": rows["ood"]["estimate"]}
            mde = max(rows["id"]["mde"], rows["ood"]["mde"])
            found.append(row | {"p": p, "mde": mde, "reversed": bool(turned)})
    return pd.DataFrame(found, columns=["scope", "a", "b", "id", "ood", "p", "mde", "reversed"])
