"""Projectability: how much of a strategy learned on one narrow topic carries to the rest.

The paper's formula is not known to us; every measure here is this project's operationalisation.

    safety(panel, "S")     pS = mean gain out of distribution, narrow / broad, on the same categories
    voice(shares)          the same ratio for answers in the own constitution's voice
    ranks(panel, "S")      constitutions ordered in distribution and out of it
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy import stats as sp

from lib import gains, grid, stats

KEYS = ["constitution", "scope", "measure"]
TABLE = [*KEYS, *stats.COLUMNS, "narrow_gain", "broad_gain", "broad_low", "broad_high", "id_gain", "reason"]


class GainDraws:
    """Joint bootstrap draws of gains: one set of resampled prompts for all models, each model's seeds its own."""

    def __init__(self, panel: pd.DataFrame, draws: int, seed: int = 0):
        self.panel = panel
        self.resampler = stats.Resampler(panel.index.get_level_values("category"), draws, seed)
        self.seed_weights, self.known = {}, {}

    def _rate(self, model: tuple[str, str], measure: str, categories: tuple[str, ...]) -> np.ndarray:
        key = (model, measure, categories if measure == "S" else ())
        if key not in self.known:
            x = gains.values(self.panel, *model)
            if model not in self.seed_weights:
                self.seed_weights[model] = self.resampler.seeds(x.shape[1])
            where = gains.where(self.panel, measure, categories)
            self.known[key] = self.resampler.mean(x, where, self.seed_weights[model], binary=True)
        return self.known[key]

    def gain(self, constitution: str, scope: str, measure: str, categories: tuple[str, ...]) -> np.ndarray:
        """Draws of a gain in S or J over the source on harm categories, (draws,)."""
        model, source = (constitution, scope), (grid.SOURCE, grid.SOURCE)
        drawn = self._rate(model, "S", categories) - self._rate(source, "S", categories)
        if measure == "J":
            drawn = drawn - (self._rate(model, "O", categories) - self._rate(source, "O", categories))
        return drawn


def safety_draws(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """The table of `safety`, and the bootstrap draws of each defined pS by (constitution, scope)."""
    boot = GainDraws(panel, draws, seed)
    found, kept = [], {}
    pairs = gains.models(panel, source=False)
    for constitution, scope in gains.models(panel, grid.NARROW):
        cell = grid.Cell(constitution, scope)
        narrow = gains.gain(panel, constitution, scope, measure, cell.ood, alpha)
        row = narrow | dict.fromkeys(
            ["estimate", "low", "high", "mde", "broad_gain", "broad_low", "broad_high"], np.nan
        )
        row |= {"narrow_gain": narrow["estimate"], "method": "cluster bootstrap of the ratio", "reason": ""}
        row["id_gain"] = gains.gain(panel, constitution, scope, measure, cell.categories, alpha)["estimate"]
        if (constitution, "broad") not in pairs:
            row["reason"] = "undefined: no broad model of this constitution in the run"
        else:
            broad = gains.gain(panel, constitution, "broad", measure, cell.ood, alpha)
            row |= {"broad_gain": broad["estimate"], "broad_low": broad["low"], "broad_high": broad["high"]}
            if not (broad["low"] > 0 or broad["high"] < 0):
                row["reason"] = "undefined: the interval of the broad gain contains 0"
            elif broad["high"] < 0:
                row["reason"] = "undefined: the broad model lost, there is no gain to carry"
            else:
                drawn = boot.gain(constitution, scope, measure, cell.ood)
                drawn = drawn / boot.gain(constitution, "broad", measure, cell.ood)
                low, high = stats.interval(drawn, alpha)
                z = sp.norm.isf(alpha / 2) + sp.norm.ppf(stats.POWER)
                row |= {"estimate": narrow["estimate"] / broad["estimate"], "low": low, "high": high}
                row["mde"] = float(z * np.nanstd(drawn))
                kept[constitution, scope] = drawn
        found.append(row)
    return (stats.family(pd.DataFrame(found)[TABLE]) if found else pd.DataFrame(columns=TABLE)), kept


def safety(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Safety projectability of every narrow model; measure S or J. This project's operationalisation:

        pS(k, s) = mean gain of (k, s) on categories absent from s's rows / mean gain of (k, broad) on the same

    1: the narrow model gains as much where it was not trained as the broad model that was; 0: nothing carries.
    `low`, `high`: bootstrap over prompts and seeds. `p`, `effect`: of the narrow gain itself (pS = 0). `mde`: on
    the ratio's scale. Where the broad gain's interval contains 0 the ratio is undefined: NaN, and `reason` says so.
    """
    return safety_draws(panel, measure, draws, alpha, seed)[0]


def voice_panel(shares: pd.DataFrame, constitution: str) -> pd.DataFrame:
    """Answers to harmful prompts that sound like `constitution` (1.0), as a panel of its models and the source."""
    kept = shares[(shares["kind"] == "harmful") & shares["constitution"].isin([constitution, grid.SOURCE])]
    heard = (kept["best"] == constitution).astype(float).where(kept["best"].notna())
    return gains.panel(kept.assign(declined=heard))


def voice(shares: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Voice projectability of every narrow model. This project's operationalisation: pS with another outcome,

        (share of narrow answers in the own voice - the source's) / (the same of the broad model), out of distribution

    shares: lib.voice.shares of the source and the cells. Columns as `safety`, measure `voice`.
    """
    found = []
    for constitution in [c for c in shares["constitution"].unique() if c != grid.SOURCE]:
        found.append(safety(voice_panel(shares, constitution), "S", draws, alpha, seed))
    table = pd.concat([f for f in found if len(f)] or [pd.DataFrame(columns=TABLE)], ignore_index=True)
    return stats.family(table.drop(columns=["p_holm", "p_bh"], errors="ignore").assign(measure="voice"))


def differences(
    panel: pd.DataFrame, measure: str, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Do constitutions differ in pS? Per narrow scope a Wald test over joint bootstrap draws.

    Columns scope, measure, estimate (largest minus smallest pS), low, high, mde, chi2, df, p, constitutions, cochran_p
    (Cochran's Q on out-of-distribution verdicts, one seed only: do the models differ in S at all), reason.
    """
    table, kept = safety_draws(panel, measure, draws, alpha, seed)
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
    z = sp.norm.isf(alpha / 2) + sp.norm.ppf(stats.POWER)
    return {"estimate": estimates[top] - estimates[bottom], "low": low, "high": high, "mde": float(z * noisiest)}


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
        z = sp.norm.isf(alpha / 2) + sp.norm.ppf(stats.POWER)
        row = {"scope": scope, "other": name, "estimate": apart, "low": low, "high": high}
        found.append(row | {"p": float(2 * sp.norm.sf(abs(apart) / sd)), "mde": float(z * sd)})
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
