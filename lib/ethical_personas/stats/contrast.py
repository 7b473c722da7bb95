"""Comparisons as rows of a table: every one with interval, p, effect size and minimum detectable effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize

from ethical_personas.stats.exact import mcnemar, sign_flip
from ethical_personas.stats.linear import as_columns, linear

# The columns that every table of comparisons shares. `n`: values compared; `n_clusters`: prompts or items;
# `dropped`: values without a verdict; `effect`: Cohen's h for rates, Hedges' g for scores.
COLUMNS = ("estimate", "low", "high", "p", "effect", "mde", "n", "n_clusters", "seeds", "dropped", "method")


def share(hits: float, n: int, alpha: float = 0.05) -> tuple[float, float, float]:
    """Share of `hits` among n with Wilson's interval: (share, low, high)."""
    low, high = proportion_confint(hits, n, alpha, method="wilson")
    return float(hits / n), float(low), float(high)


def _binary(values: np.ndarray) -> bool:
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def rate(values, alpha: float = 0.05, strata=None) -> dict:
    """A share of 0/1 values (prompts,) or (prompts, seeds): estimate, low, high, n, n_clusters, seeds, dropped.

    Wilson's interval for one seed (right where rates sit at 0 or 1); for several seeds, averages of several models, or
    a share standardised over `strata` (a label for each prompt), the interval of `linear`, cut to [0, 1].
    """
    values = as_columns(values)
    fit = linear(values, pseudo=(0.0, 1.0), strata=strata)
    wilson = fit.n and fit.seeds == 1 and strata is None and _binary(values)
    low, high = np.clip(share(np.nansum(values), fit.n, alpha)[1:] if wilson else fit.interval(alpha), 0.0, 1.0)
    row = {"estimate": fit.estimate, "n": fit.n, "n_clusters": fit.n_clusters, "seeds": fit.seeds}
    return row | {"dropped": int(np.isnan(values).sum()), "low": low, "high": high}


def discrimination(values, harmless, alpha: float = 0.05, strata=None) -> dict:
    """J = S - O of one model, share declined of harmful minus that of harmless prompts: estimate, low, high."""
    if len(np.unique(harmless)) < 2:  # one side is missing: no difference
        return dict.fromkeys(("estimate", "low", "high"), np.nan)
    fit = linear(values, np.where(harmless, -1, 1), pseudo=(0.0, 1.0), strata=strata)
    low, high = np.clip(fit.interval(alpha), -1.0, 1.0)
    return {"estimate": fit.estimate, "low": low, "high": high}


# 48 lines: the docstring says once for all tables which interval and test a comparison has.
def paired(model, reference, harmless=None, alpha: float = 0.05, strata=None) -> dict:
    """Rate of `model` minus rate of `reference` on the same prompts: a row with COLUMNS.

    One seed: Newcombe's paired score interval (1998, method 10) and McNemar's exact test; for J the t interval
    and studentised sign flips. Several seeds, averages, or strata: the interval and test of `linear`.
    Effect: Cohen's h, for J the h of the harmful minus the h of the harmless prompts.

    Args:
        model: (prompts,) or (prompts, seeds) of 0/1/NaN, or of rates for the average of several models.
        reference: The same; one column serves all seeds.
        harmless: (prompts,) bool: subtract the difference on these prompts from that on the others (a gain in J).
        strata: (prompts,) labels that the difference is standardised over, each with equal weight.
    """
    model, reference = np.broadcast_arrays(as_columns(model), as_columns(reference))
    difference = model - reference
    there = ~np.isnan(difference)
    sign = np.ones(len(model)) if harmless is None else np.where(harmless, -1, 1)
    sides = (1,) if harmless is None else (-1, 1)
    fit = linear(difference, sign, pseudo=(-1.0, 1.0), strata=strata)
    row = dict.fromkeys(COLUMNS, np.nan) | {"n": fit.n, "n_clusters": fit.n_clusters, "seeds": fit.seeds}
    row |= {"dropped": int((~there).sum()), "method": "no verdicts"}
    if any(not there[sign == side].any() for side in sides):
        return row
    h = {s: cohens_h(*(x[sign == s][there[sign == s]] for x in (model, reference))) for s in sides}
    (low, high), p, method = fit.interval(alpha), fit.p, fit.method
    if fit.seeds == 1 and strata is None and _binary(model[there]) and _binary(reference[there]):
        seen = np.arange(len(there)), there.argmax(1)  # each prompt's one value, whatever seed's column it is in
        if harmless is None:
            a, b = (np.where(there, x, np.nan)[seen] for x in (model, reference))
            (low, high), p, method = newcombe(a, b, alpha), mcnemar(a, b), "Newcombe; McNemar exact"
        else:
            p, method = sign_flip(difference[seen], sign), "t; sign flips"
    row |= {"estimate": fit.estimate, "effect": float(sum(s * h[s] for s in sides)), "mde": fit.mde(alpha)}
    most = len(sides)  # a difference of rates is at most 1, of two such differences 2
    return row | {"low": max(-most, float(low)), "high": min(most, float(high)), "p": p, "method": method}


def groups(values, first, strata=None, alpha: float = 0.05) -> dict:
    """Mean of a score over one group of items minus that over the others: a row with COLUMNS.

    Items are the clusters; a t interval for one seed, two-way t for several. Effect: Hedges' g over item means, the
    spread taken within group and stratum.

    Args:
        values: (items,) or (items, seeds).
        first: Which items form the first group, (items,) bool.
        strata: (items,) labels, such as an item's keying, whose common shift is neither effect nor noise.
    """
    values, first = as_columns(values), np.asarray(first, bool)
    fit = linear(values, np.where(first, 1, -1), strata=strata)
    low, high = fit.interval(alpha)
    means = pd.Series(np.nanmean(values, axis=1) if values.size else [], dtype=float)
    cells = means.groupby([first, np.zeros(len(first)) if strata is None else np.asarray(strata)])
    freedom = len(means) - cells.ngroups
    pooled = np.sqrt(((means - cells.transform("mean")) ** 2).sum() / freedom) if freedom > 0 else np.nan
    # Hedges' small-sample correction of Cohen's d.
    effect = fit.estimate / pooled * (1 - 3 / (4 * freedom - 1)) if freedom > 1 and pooled > 0 else np.nan
    row = {"estimate": fit.estimate, "low": low, "high": high, "p": fit.p, "effect": float(effect)}
    row |= {"mde": fit.mde(alpha), "n": fit.n, "n_clusters": fit.n_clusters, "seeds": fit.seeds}
    method = fit.method + ("" if strata is None else " within strata")
    return row | {"dropped": int(np.isnan(values).sum()), "method": method}


def cohens_h(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's h: 2 arcsin sqrt(mean a) - 2 arcsin sqrt(mean b)."""
    return float(proportion_effectsize(np.mean(a), np.mean(b)))


def newcombe(a: np.ndarray, b: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Interval for mean(a) - mean(b) of binary pairs, each (n,), no NaN but pairwise: Newcombe 1998, method 10.

    Built from two Wilson intervals and the pairs' phi, so its width is not zero when every pair agrees.
    """
    keep = ~(np.isnan(a) | np.isnan(b))
    a, b = a[keep], b[keep]
    n = len(a)
    (pa, la, ua), (pb, lb, ub) = share(a.sum(), n, alpha), share(b.sum(), n, alpha)
    cross = np.sum(a * b) * np.sum((1 - a) * (1 - b)) - np.sum(a * (1 - b)) * np.sum((1 - a) * b)
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross  # his continuity correction of phi
    margins = np.sqrt(a.sum() * (n - a.sum()) * b.sum() * (n - b.sum()))
    phi = cross / margins if margins > 0 else 0.0
    down = (pa - la) ** 2 - 2 * phi * (pa - la) * (ub - pb) + (ub - pb) ** 2
    up = (ua - pa) ** 2 - 2 * phi * (ua - pa) * (pb - lb) + (pb - lb) ** 2
    return float(pa - pb - np.sqrt(down)), float(pa - pb + np.sqrt(up))
