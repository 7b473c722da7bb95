"""How reliable the lenses are: acquiescence, Cronbach's alpha, position bias, and agreement with each other."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pingouin as pg

from ethical_personas import stats
from ethical_personas.persona import lens_shifts
from ethical_personas.stats import bootstrap
from ethical_personas.study import grid, rows


def acquiescence(scores: pd.DataFrame, alpha: float = 0.05, items: list[rows.Item] | None = None) -> pd.DataFrame:
    """Agreeing with an item and with its reverse: mean unsigned score, both keys weighing the same.

    0 is neutral for choice and text; the likelihood lens has no neutral point, so only its shift means anything. In
    minimal pairs it has cancelled, and they have no row.

    Args:
        scores: Of lens_shifts.scores.
        alpha: One minus the level of the intervals.
        items: The instrument, the bundled one by default.

    Returns:
        One row per model (the source first) and lens: model, constitution, scope, seed, lens, acquiescence, low, high,
        shift (minus the source's), shift_low, shift_high (t over items).
    """
    by_item = lens_shifts.add_dimensions(scores, items).groupby(["model", "lens", "keyed", "id"])["value"].mean()
    records = []
    for model in scores["model"].unique():
        shifts = (by_item[model] - by_item[grid.SOURCE]).dropna()  # an added constitution's own items have no source
        for lens in [n for n in by_item[model].index.unique("lens") if n not in _one_key(by_item)]:
            level, shift = _balanced(by_item[model][lens], alpha), _balanced(shifts[lens], alpha)
            row = {"model": model, **grid.parse_model(model), "lens": lens}
            row |= dict(zip(("acquiescence", "low", "high"), level, strict=True))
            records.append(row | dict(zip(("shift", "shift_low", "shift_high"), shift, strict=True)))
    columns = ["model", *lens_shifts.CELL, "lens", "acquiescence", "low", "high", "shift", "shift_low", "shift_high"]
    return pd.DataFrame(records, columns=columns)


def _one_key(keyed: pd.Series | pd.DataFrame) -> set[str]:
    """Lenses all of whose items have one key, so that agreeing with everything cannot be told (or has cancelled)."""
    keys = keyed.reset_index().groupby("lens")["keyed"].nunique()
    return set(keys.index[keys < 2])


def _balanced(values: pd.Series, alpha: float) -> tuple[float, float, float]:
    """Mean of the two keys' means with its t interval over items; values indexed by keyed, id."""
    means = values.groupby("keyed").mean()
    rest = values - values.groupby("keyed").transform("mean")
    fit = stats.linear(rest + means.mean())
    return (fit.estimate, *fit.interval(alpha))


def cronbach(shifts: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Cronbach's alpha per lens and dimension: lens, dimension, alpha, low, high, items, subjects.

    Subjects are models x wordings; scores are signed shifts from the source at the same wording, so that what
    an item or a wording has in common for all models does not count as consistency. A subject's shift in
    acquiescence (the mean of its two keys' mean shifts over all items) is taken out first: it enters the two keys
    with opposite signs, and would drive alpha far below zero whatever the items measure. NaN where a dimension
    does not vary over subjects or has one item.
    """
    subject = ["lens", "model", "wording"]
    level = shifts.groupby([*subject, "keyed"])["shift"].mean().groupby(subject).mean().rename("level")
    level[level.index.get_level_values("lens").isin(_one_key(shifts))] = 0.0
    shifts = shifts.join(level, on=subject)
    shifts["signed"] = shifts["signed"] - shifts["keyed"] * shifts["level"]
    records = []
    for (lens, dimension), part in shifts.groupby(["lens", "dimension"]):
        wide = part.pivot_table(index=["model", "wording"], columns="id", values="signed")
        row = {"lens": lens, "dimension": dimension, "alpha": np.nan, "low": np.nan, "high": np.nan}
        if wide.shape[1] > 1 and len(wide) > 2 and wide.sum(axis=1).var() > 1e-12:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                value, (low, high) = pg.cronbach_alpha(wide.reset_index(drop=True), ci=1 - alpha)
            row |= {"alpha": float(value), "low": float(low), "high": float(high)}
        records.append(row | {"items": wide.shape[1], "subjects": len(wide)})
    return pd.DataFrame(records)


def lens_agreement(contrasts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Do two lenses see the same? Over item contrasts of all models, a row per pair of lenses of the same items.

    Columns lens_a, lens_b, r (Pearson), low, high (bootstrap over items, all models of an item together),
    opposite (share of opposite signs where both moved), n (items x models), n_items (those that both lenses have).
    """
    keys = ["constitution", "scope", "seed"]
    wide = contrasts.pivot_table(index=[*keys, "id"], columns="lens", values="contrast")
    items = wide.index.get_level_values("id")
    codes, names = pd.factorize(items)
    weights = stats.Resampler(np.zeros(len(names)), draws, seed).weights[:, codes]
    records = []
    for a, b in itertools.combinations([n for n in grid.ITEM_LENSES if n in wide.columns], 2):
        x, y = wide[a].to_numpy(), wide[b].to_numpy()
        there = ~(np.isnan(x) | np.isnan(y))
        if not there.any():  # lenses of different statements
            continue
        x, y, w = x[there], y[there], weights[:, there]
        nonzero = (np.abs(x) > 1e-12) & (np.abs(y) > 1e-12)
        low, high = stats.interval(bootstrap.correlation(x, y, w), alpha)
        row = {"lens_a": a, "lens_b": b, "r": wide[a].corr(wide[b])}
        row |= {"low": low, "high": high}
        row["opposite"] = float(np.mean(x[nonzero] * y[nonzero] < 0)) if nonzero.any() else np.nan
        records.append(row | {"n": len(x), "n_items": len(np.unique(codes[there]))})
    return pd.DataFrame(records, columns=["lens_a", "lens_b", "r", "low", "high", "opposite", "n", "n_items"])


def position_bias(scores: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Choice lens: log-odds of agreement with the agreeing word first, minus with it last.

    One row per model and wording: model, constitution, scope, seed, wording, bias, low, high (t over items),
    orders_r (correlation of the two orders over items: what the order leaves of the item).
    """
    records = []
    choice = scores[scores["lens"] == "choice"]
    pairs = itertools.product(scores["model"].unique(), sorted(choice["wording"].unique()))
    parts = dict(list(choice.groupby(["model", "wording"])))
    for model, wording in pairs:
        wide = parts[model, wording].pivot(index="id", columns="order", values="value")
        fit = stats.linear(wide["agree_first"] - wide["disagree_first"])
        low, high = fit.interval(alpha)
        row = {
            "model": model,
            **grid.parse_model(model),
            "wording": wording,
            "bias": fit.estimate,
            "low": low,
            "high": high,
        }
        records.append(row | {"orders_r": wide["agree_first"].corr(wide["disagree_first"])})
    return pd.DataFrame(records)
