"""Tests that count instead of approximating: McNemar, Cochran, and sign flips of paired differences."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from statsmodels.stats import contingency_tables


def shuffle_test(scopes: list[tuple[np.ndarray, list[int]]]) -> dict:
    """Does the label of a model matter? One entry a scope: scores (models, names), and each model's own name.

    Two statistics, the number of models whose own name scores highest and the mean own score, each with a one-sided p
    over all ways to exchange the names of those that have models, the same exchange in every scope. A model without
    scores matches nothing.
    """
    present = sorted({name for _, own in scopes for name in own})
    orders = permutations(len(present))
    counts, sums, models = np.zeros(len(orders)), np.zeros(len(orders)), 0
    for scores, own in scopes:
        scores = np.nan_to_num(scores, nan=0.0)
        best = np.where((np.abs(scores) < 1e-12).all(1), -1, scores.argmax(1))
        labels = np.array(present)[orders][:, [present.index(name) for name in own]]
        counts += (best[None] == labels).sum(1)
        sums += scores[np.arange(len(own)), labels].sum(1)
        models += len(own)
    return {
        "identified": int(counts[0]),
        "models": models,
        "chance": float(counts.mean()),
        "p_identified": float(np.mean(counts >= counts[0] - 1e-9)),
        "mean": sums[0] / models if models else np.nan,
        "p_mean": float(np.mean(sums >= sums[0] - 1e-9)),
    }


def permutations(n: int, most: int = 720) -> np.ndarray:
    """All orders of n things, the identity first; a seeded sample of them when there are more than `most`."""
    if math.factorial(n) <= most:
        return np.array(list(itertools.permutations(range(n))))
    rng = np.random.default_rng(0)
    return np.array([np.arange(n), *(rng.permutation(n) for _ in range(most - 1))])


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Exact two-sided McNemar p for binary pairs (n,), (n,); pairs with a NaN are dropped.

    1 when no pair differs: nothing speaks against equality.
    """
    return float(contingency_tables.mcnemar([[0, np.sum(a > b)], [np.sum(a < b), 0]], exact=True).pvalue)


def cochran(values: np.ndarray) -> tuple[float, float]:
    """Cochran's Q and p for binary outcomes (prompts, models); prompts with a NaN are dropped.

    (0, 1) when no prompt separates the models.
    """
    values = values[~np.isnan(values).any(1)]
    if values.shape[1] < 2 or len(values) < 3 or (values == values[:, :1]).all():
        return 0.0, 1.0
    result = contingency_tables.cochrans_q(values)
    return float(result.statistic), float(result.pvalue)


@functools.lru_cache(maxsize=8)  # gains of all models on the same prompts share their flips
def _flips(draws: int, n: int, seed: int) -> np.ndarray:
    """Random signs (draws + 1, n), the first row without a flip."""
    flips = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(draws, n))
    return np.vstack([np.ones(n), flips])


def sign_flip(differences: np.ndarray, sign: np.ndarray, draws: int = 4999, seed: int = 0) -> float:
    """Two-sided p of a studentised sign-flip test that the signed sum of side means is 0.

    differences (n,): model minus reference for each prompt; sign (n,): +1 or -1, the side. Exact when the
    two are exchangeable within prompts; studentised (Janssen 1997), so it keeps its level when only the sum
    is 0: a model that declines everything raises S and O alike and must not pass for discriminating.
    The statistic's standard error holds two pseudo-prompts a side, as in `linear`. NaN are dropped.
    """
    differences, sign = np.asarray(differences, float), np.asarray(sign)
    sign, differences = sign[~np.isnan(differences)], differences[~np.isnan(differences)]
    flips = _flips(draws, len(differences), seed)
    estimate, variance = np.zeros(draws + 1), np.zeros(draws + 1)
    for side in np.unique(sign):
        n, own = np.sum(sign == side), np.where(sign == side, differences, 0.0)
        totals = flips @ own
        estimate += side * totals / n
        # Sum of squares about the mean and variance of the mean, with the pseudo-prompts -1 and +1 among n + 2 values.
        variance += ((own**2).sum() + 2 - totals**2 / (n + 2)) / ((n + 1) * (n + 2))
    t = np.abs(estimate) / np.sqrt(variance)
    return float(np.mean(t >= t[0] - 1e-12))
