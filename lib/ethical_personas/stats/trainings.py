"""Differences between constitutions, with the error of training: what another training of the same would give.

An interval over prompts or items speaks of the models that were trained. Two trainings of one constitution differ too,
and a test of constitutions that leaves this out rejects a true null far too often (Clark 1973 on language as a fixed
effect; Bouthillier et al. 2021 on trained models). Constitutions (k) and blocks (b: a scope, or scope and seed) form a
table of one training each, y[k, b] = constitution k + block b + e[k, b], as in a randomised block design (Montgomery
2017, ch. 4). The residual mean square, with (K - 1)(B - 1) degrees of freedom, estimates the variance of a training;
scopes that act differently on constitutions enlarge it. A difference of two means over blocks has variance 2 MS / B.
To it comes the error over items, which all trainings share. What items add within a single training is counted in both
parts, so the sum is a little too large; it is never less than the error over items. The interval is that of
stats.linear (t half-widths as a root of squares, each with its own degrees of freedom).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas.stats.linear import Linear, as_columns, linear

ONE = "one training of each, how far another would differ cannot be told; interval and mde are over items alone"


def residual(table: np.ndarray) -> tuple[np.ndarray, int]:
    """Residual mean square of tables (..., names, blocks), (...), and its df; NaN, 0 where it has none."""
    table = np.asarray(table, float)
    df = (table.shape[-2] - 1) * (table.shape[-1] - 1)
    if df < 1:
        return np.full(table.shape[:-2], np.nan), 0
    rest = table - table.mean(-1, keepdims=True) - table.mean(-2, keepdims=True) + table.mean((-2, -1), keepdims=True)
    return (rest**2).sum((-2, -1)) / df, df


def by_scope(table: np.ndarray, scopes) -> np.ndarray:
    """A table (names, blocks) with the blocks of a scope averaged, (names, scopes); scopes: a label for each block."""
    labels = np.asarray(scopes)
    return np.column_stack([table[:, labels == scope].mean(1) for scope in dict.fromkeys(scopes)])


def compare(
    values: dict[str, np.ndarray],
    first: str | list[str],
    second: str,
    pseudo=None,
    error: str = "trainings",
    strata=None,
    scopes=None,
) -> Linear:
    """Mean of one constitution's trainings, or of several constitutions', minus another's.

    Args:
        values: (items, blocks) of each constitution, the same items and blocks; NaN where a block does not ask an item.
        first, second: Names in `values`, of `first` the mean; the others serve the variance of a training alone.
        pseudo: As in stats.linear.
        error: `trainings`, the variance of a training by all of `values`; `scopes`, the same with the seeds of a scope
            averaged; `pair`, by these two alone (a paired t over blocks); `items`, none: the result is about these
            models alone.
        strata: A label for each item, as in stats.linear: each has the same weight whatever its number of items.
        scopes: A label for each block, for the error `scopes`.

    Returns:
        Without `parts` (interval and p NaN) where a training's error is asked for and cannot be told.
    """
    names = [first] if isinstance(first, str) else first
    ahead = np.mean([values[name] for name in names], axis=0)
    difference = as_columns(ahead - values[second])
    asked = ~np.isnan(difference).all(1)
    of_asked = None if strata is None else np.asarray(strata)[asked]
    items = linear(np.nanmean(difference[asked], axis=1), pseudo=pseudo, strata=of_asked)
    if error == "items":
        return items
    known = (ahead, values[second]) if error == "pair" else values.values()
    means = np.array([_means(as_columns(x), strata) for x in known])
    if error == "scopes":
        means = by_scope(means, scopes)
    square, df = residual(means)
    share = 2.0 if error == "pair" else 1 / len(names) + 1
    return add_variance(items, float(share * square / means.shape[1]), df)


def _means(values: np.ndarray, strata) -> np.ndarray:
    """Mean of each block, (blocks,); with strata the mean of those that the block asks, each of the same weight."""
    if strata is None:
        return np.nanmean(values, axis=0)
    return pd.DataFrame(values).groupby(np.asarray(strata)).mean().mean().to_numpy()


def add_variance(items: Linear, variance: float, df: int) -> Linear:
    """The same with the variance of training as one more part; without any part where that is not known."""
    parts = (*items.parts, (variance, df)) if df >= 1 else ()
    return Linear(items.estimate, parts, items.n, items.n_clusters, items.seeds)


def shift_estimate(fit: Linear, by: float) -> Linear:
    """The same with another estimate: its p is that of the null `estimate = -by`."""
    return Linear(fit.estimate + by, fit.parts, fit.n, fit.n_clusters, fit.seeds)


def omnibus(estimates: np.ndarray, items: np.ndarray, training: np.ndarray, df: int) -> float:
    """p of the test that all estimates (k,) are equal.

    Wald's statistic over k - 1, F with Satterthwaite's degrees of freedom: those of training by its share of the
    variance, the error over items being taken as known.

    Args:
        items: Covariance over items, (k, k).
        training: Variance by training, (k,), with `df` degrees of freedom; zeros leave it out.
    """
    k = len(estimates)
    contrast = np.eye(k)[1:] - np.eye(k)[:1]
    own = contrast @ np.diag(training) @ contrast.T
    inverse = np.linalg.pinv(contrast @ items @ contrast.T + own)
    differences = contrast @ estimates
    share = float(np.trace(own @ inverse)) / (k - 1)
    freedom = df / share**2 if share > 1e-9 else np.inf
    wald = float(differences @ inverse @ differences) / (k - 1)
    return float(sp.f.sf(wald, k - 1, freedom)) if np.isfinite(freedom) else float(sp.chi2.sf(wald * (k - 1), k - 1))
