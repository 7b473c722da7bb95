"""Do constitutions differ in projectability, and does their order in distribution hold out of it?"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.projectability.ratio import GainDraws
from ethical_personas.safety import gains
from ethical_personas.study import grid


def differences(
    panel: pd.DataFrame, measure: str, table: pd.DataFrame, draws: dict, alpha: float = 0.05
) -> pd.DataFrame:
    """Do constitutions differ in pS? Per narrow scope a Wald test over joint bootstrap draws.

    Args:
        panel: Verdicts, of gains.panel.
        measure: S or J, that of the table.
        table, draws: Of ratio.safety_draws.

    Returns:
        Columns scope, measure, estimate (largest minus smallest pS), low, high, mde, chi2, df, p, cochran_p (Cochran's
        Q on out-of-distribution verdicts, one seed only: do the models differ in S at all), constitutions, reason.
    """
    records = []
    for scope in [s for s in grid.NARROW if s in set(table["scope"])]:
        part = table[(table["scope"] == scope) & table["estimate"].notna()]
        drawn = np.array([draws[c, scope] for c in part["constitution"]]).T
        chi2, df, p = stats.wald(part["estimate"].to_numpy(), drawn)
        names = [c for c, s in gains.models(panel) if s == scope]
        off_topic = gains.rows_of(panel, "S", grid.Cell("", scope).ood)
        verdicts = [gains.values(panel, c, scope)[off_topic] for c in names]
        one_seed = all(x.shape[1] == 1 for x in verdicts)
        q = stats.cochran(np.hstack(verdicts))[1] if one_seed and len(names) > 1 else np.nan
        row = {"scope": scope, "measure": measure, **spread(part["estimate"].to_numpy(), drawn, alpha)}
        row |= {"chi2": chi2, "df": df, "p": p, "cochran_p": q}
        reason = "" if len(part) > 1 else "fewer than two constitutions with a defined pS"
        records.append(row | {"constitutions": len(part), "reason": reason})
    columns = ["scope", "measure", "estimate", "low", "high", "mde", "chi2", "df", "p", "cochran_p", "constitutions"]
    return pd.DataFrame(records, columns=[*columns, "reason"])


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


def _places(scope: str) -> list[tuple[str, tuple[str, ...]]]:
    """Harm categories in distribution and out of it, for a narrow scope."""
    cell = grid.Cell("", scope)
    return [("id", cell.categories), ("ood", cell.ood)]


def ranks(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Constitutions ordered by gain in distribution (the trained category) and out of it, by narrow scope.

    One row per constitution and scope: gain, interval, rank (1 = largest gain) and the rank's bootstrap interval, for
    `id` and `ood`; and the scope's Kendall tau-b between the two orders with its interval, the same on each row.
    `reason` says where tau means little: two constitutions, or ties throughout.
    """
    bootstrap = GainDraws(panel, draws, seed)
    records = []
    for scope in grid.NARROW:
        names = [c for c, s in gains.models(panel) if s == scope]
        rows = [{"constitution": c, "scope": scope, "measure": measure} for c in names]
        point, drawn = {}, {}
        for place, categories in _places(scope) if names else ():
            fits = [gains.gain(panel, c, scope, measure, categories, alpha) for c in names]
            point[place] = np.array([f["estimate"] for f in fits])
            drawn[place] = np.array([bootstrap.gain(c, scope, measure, categories) for c in names]).T
            rank = sp.rankdata(-point[place])
            low, high = np.quantile(sp.rankdata(-drawn[place], axis=1), [alpha / 2, 1 - alpha / 2], axis=0)
            for i, (row, fit) in enumerate(zip(rows, fits, strict=True)):
                row |= {f"{place}_gain": fit["estimate"], f"{place}_low": fit["low"], f"{place}_high": fit["high"]}
                row |= {f"{place}_rank": rank[i], f"{place}_rank_low": low[i], f"{place}_rank_high": high[i]}
        if names:
            tau = _tau(point, drawn, alpha)
            records += [row | tau for row in rows]
    return pd.DataFrame(records)


def _tau(point: dict[str, np.ndarray], drawn: dict[str, np.ndarray], alpha: float) -> dict:
    """Kendall's tau of the two orders of one scope, with its interval, and how far it can be trusted."""
    n, tau, low, high, reason = len(point["id"]), np.nan, np.nan, np.nan, ""
    if n > 1:
        tau = float(stats.kendall(point["id"], point["ood"]))
    if n < 2:
        reason = "undefined: one constitution has no order"
    elif np.isnan(tau):
        reason = "undefined: every gain ties"
    else:
        low, high = stats.interval(stats.kendall(drawn["id"], drawn["ood"]), alpha)
        reason = "weak: two constitutions allow -1 and 1 alone" if n == 2 else ""
    return {"tau": tau, "tau_low": low, "tau_high": high, "constitutions": n, "reason": reason}


def reversals(panel: pd.DataFrame, measure: str = "S", alpha: float = 0.05) -> pd.DataFrame:
    """Pairs of constitutions that change places: a ahead of b in distribution, b ahead of a out of it.

    Per scope and pair: the difference a - b in and out of distribution, and p = the larger of the two tests' p
    (both must hold), 1 where the signs agree. Columns scope, a, b, id, ood, p, mde (the larger), reversed.
    """
    records = []
    for scope in grid.NARROW:
        names = [c for c, s in gains.models(panel) if s == scope]
        for a, b in itertools.combinations(names, 2):
            inside, outside = (
                gains.difference(panel, (a, scope), (b, scope), measure, categories, alpha)
                for _, categories in _places(scope)
            )
            turned = bool(inside["estimate"] * outside["estimate"] < 0)
            row = {"scope": scope, "a": a, "b": b, "id": inside["estimate"], "ood": outside["estimate"]}
            row |= {"p": max(inside["p"], outside["p"]) if turned else 1.0, "mde": max(inside["mde"], outside["mde"])}
            records.append(row | {"reversed": turned})
    return pd.DataFrame(records, columns=["scope", "a", "b", "id", "ood", "p", "mde", "reversed"])
