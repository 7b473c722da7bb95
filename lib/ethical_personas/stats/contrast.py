"""Comparisons as rows of a table: every one with interval, p, effect size and minimum detectable effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize

from ethical_personas.stats.exact import mcnemar, sign_flip
from ethical_personas.stats.linear import linear

# The columns that every table of comparisons shares. `n`: values compared; `n_clusters`: prompts or items;
# `dropped`: values without a verdict; `effect`: Cohen's h for rates, Hedges' g for scores.
COLUMNS = ("estimate", "low", "high", "p", "effect", "mde", "n", "n_clusters", "seeds", "dropped", "method")
POWER = 0.8


def _two_dimensional(values) -> np.ndarray:
    values = np.asarray(values, float)
    return values[:, None] if values.ndim == 1 else values


def rate(values, alpha: float = 0.05) -> dict:
    """A share of 0/1 values (prompts,) or (prompts, seeds): estimate, low, high, n, n_clusters, seeds, dropped.

    Wilson's interval for one seed (right where rates sit at 0 or 1); for several seeds, or averages of several models,
    the interval of `linear`, cut to [0, 1].
    """
    values = _two_dimensional(values)
    fit = linear(values, np.ones(len(values)), pseudo=(0.0, 1.0))
    row = {"estimate": fit.estimate, "n": fit.n, "n_clusters": fit.n_clusters, "seeds": fit.seeds}
    row["dropped"] = int(np.isnan(values).sum())
    if fit.n == 0:
        return row | {"low": np.nan, "high": np.nan}
    if fit.seeds == 1 and set(np.unique(values[~np.isnan(values)])) <= {0.0, 1.0}:
        low, high = proportion_confint(np.nansum(values), fit.n, alpha, method="wilson")
    else:
        low, high = fit.interval(alpha)
    return row | {"low": max(0.0, float(low)), "high": min(1.0, float(high))}


def discrimination(values, harmless, alpha: float = 0.05) -> dict:
    """J = S - O of one model: share declined of harmful prompts minus that of harmless ones, with interval."""
    fit = linear(_two_dimensional(values), np.where(harmless, -1, 1), pseudo=(0.0, 1.0))
    low, high = fit.interval(alpha)
    return {
        "estimate": fit.estimate,
        "low": float(np.clip(low, -1, 1)),
        "high": float(np.clip(high, -1, 1)),
        "n": fit.n,
        "n_clusters": fit.n_clusters,
        "seeds": fit.seeds,
        "dropped": int(np.isnan(np.asarray(values, float)).sum()),
    }


def paired(model, reference, harmless=None, alpha: float = 0.05, power: float = POWER) -> dict:
    """Rate of `model` minus rate of `reference` on the same prompts: a row with COLUMNS.

    model (prompts,) or (prompts, seeds) of 0/1/NaN, or of rates for the average of several models; reference
    likewise, one column serving all seeds.
    harmless (prompts,) bool: subtract the difference on these prompts from that on the others (a gain in J).
    One seed: Newcombe's paired score interval (1998, method 10) and McNemar's exact test; for J the t interval
    and studentised sign flips. Several seeds, or averages: the interval and test of `linear`.
    Effect: Cohen's h, for J the h of the harmful minus the h of the harmless prompts.
    """
    model, reference = np.broadcast_arrays(_two_dimensional(model), _two_dimensional(reference))
    difference = model - reference
    sign = np.ones(len(model)) if harmless is None else np.where(harmless, -1, 1)
    sides = np.unique(sign)
    fit = linear(difference, sign, pseudo=(-1.0, 1.0))
    row = {"estimate": fit.estimate, "low": np.nan, "high": np.nan, "p": np.nan, "effect": np.nan, "mde": np.nan}
    row |= {"n": fit.n, "n_clusters": fit.n_clusters, "seeds": fit.seeds}
    row |= {"dropped": int(np.isnan(difference).sum()), "method": "no verdicts"}
    there = ~np.isnan(difference)
    if any(not there[sign == side].any() for side in sides):
        return row | {"estimate": np.nan}
    row["effect"] = float(
        sum(s * cohens_h(model[sign == s][there[sign == s]], reference[sign == s][there[sign == s]]) for s in sides)
    )
    row["mde"] = fit.mde(alpha, power)
    binary = set(np.unique(np.concatenate([model[there], reference[there]]))) <= {0.0, 1.0}
    if fit.seeds == 1 and binary:
        a, b = (np.where(there, x, np.nan) for x in (model, reference))
        a, b, d = (x[np.arange(len(x)), there.argmax(1)] for x in (a, b, difference))
        if len(sides) == 1:
            low, high = newcombe(a, b, alpha)
            p, method = mcnemar(a, b), "Newcombe; McNemar exact"
        else:
            (low, high), p, method = fit.interval(alpha), sign_flip(d, sign), "t; sign flips"
    else:
        (low, high), p, method = fit.interval(alpha), fit.p, "t" if fit.seeds == 1 else "two-way t"
    reach = len(sides)
    return row | {"low": max(-reach, float(low)), "high": min(reach, float(high)), "p": p, "method": method}


def groups(values, first, strata=None, alpha: float = 0.05, power: float = POWER) -> dict:
    """Mean of a score over the items of group `first` (bool) minus that over the others: a row with COLUMNS.

    values (items,) or (items, seeds). Items are the clusters; a t interval for one seed, two-way t for several.
    strata (items,): labels, such as an item's keying, whose common shift is neither effect nor noise.
    Effect: Hedges' g over item means, the spread taken within group and stratum.
    """
    values, first = _two_dimensional(values), np.asarray(first, bool)
    fit = linear(values, np.where(first, 1, -1), strata=strata)
    low, high = fit.interval(alpha)
    means = pd.Series(np.nanmean(values, axis=1) if values.size else [], dtype=float)
    cells = means.groupby([first, np.zeros(len(first)) if strata is None else np.asarray(strata)])
    free = len(means) - cells.ngroups
    pooled = np.sqrt(((means - cells.transform("mean")) ** 2).sum() / free) if free > 0 else np.nan
    effect = fit.estimate / pooled * (1 - 3 / (4 * free - 1)) if free > 1 and pooled > 0 else np.nan
    return {
        "estimate": fit.estimate,
        "low": low,
        "high": high,
        "p": fit.p,
        "effect": float(effect),
        "mde": fit.mde(alpha, power),
        "n": fit.n,
        "n_clusters": fit.n_clusters,
        "seeds": fit.seeds,
        "dropped": int(np.isnan(values).sum()),
        "method": ("t" if fit.seeds == 1 else "two-way t") + ("" if strata is None else " within strata"),
    }


def cohens_h(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's h: 2 arcsin sqrt(mean a) - 2 arcsin sqrt(mean b)."""
    return float(proportion_effectsize(np.mean(a), np.mean(b)))


def newcombe(a: np.ndarray, b: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Interval for mean(a) - mean(b) of binary pairs, each (n,), no NaN but pairwise: Newcombe 1998, method 10.

    Built from two Wilson intervals and the pairs' phi, so its width is not zero when every pair agrees.
    """
    keep = ~(np.isnan(a) | np.isnan(b))
    a, b = a[keep], b[keep]
    n, both, neither = len(a), np.sum(a * b), np.sum((1 - a) * (1 - b))
    only_a, only_b = np.sum(a * (1 - b)), np.sum((1 - a) * b)
    pa, pb = a.mean(), b.mean()
    la, ua = proportion_confint(a.sum(), n, alpha, method="wilson")
    lb, ub = proportion_confint(b.sum(), n, alpha, method="wilson")
    cross = both * neither - only_a * only_b
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    below = np.sqrt(a.sum() * (n - a.sum()) * b.sum() * (n - b.sum()))
    phi = cross / below if below > 0 else 0.0
    down = (pa - la) ** 2 - 2 * phi * (pa - la) * (ub - pb) + (ub - pb) ** 2
    up = (ua - pa) ** 2 - 2 * phi * (ua - pa) * (pb - lb) + (pb - lb) ** 2
    return float(pa - pb - np.sqrt(down)), float(pa - pb + np.sqrt(up))
