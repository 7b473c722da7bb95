"""The cluster bootstrap, for statistics that are not a sum of means: ratios, ranks, omnibus tests.

Prompts are resampled within their category, and each model's seeds separately. n - 1 of n are drawn, and weights
scaled back up by n / (n - 1), so that the bootstrap variance is unbiased (McCarthy and Snowden 1985): with three seeds
the usual draw of three would miss a third of the seeds' variance. Prompts and seeds are resampled as crossed factors
(Owen 2007), which gives intervals that are slightly too wide when there are several seeds.
"""

from __future__ import annotations

import copy
import functools

import numpy as np
from scipy import stats as sp


def correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlations, one per row of weights; NaN where a side does not vary."""
    total = weights.sum(1)
    mx, my = weights @ x / total, weights @ y / total
    cov = weights @ (x * y) / total - mx * my
    vx, vy = weights @ x**2 / total - mx**2, weights @ y**2 / total - my**2
    scale = np.sqrt(np.clip(vx * vy, 0, None))
    return np.divide(cov, scale, out=np.full(len(weights), np.nan), where=scale > 1e-15)


@functools.lru_cache(maxsize=4)  # models measured on the same prompts share their weights
def _prompt_weights(strata: tuple, draws: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    """The random stream after the prompts were drawn, and their weights (draws, prompts)."""
    rng, strata = np.random.default_rng(seed), np.array(strata)
    weights = np.ones((draws, len(strata)))
    for name in np.unique(strata):
        inside = np.flatnonzero(strata == name)
        n = len(inside)
        if n > 1:
            weights[:, inside] = rng.multinomial(n - 1, np.full(n, 1 / n), size=draws) * (n / (n - 1))
    return rng, weights


class Resampler:
    """Joint bootstrap draws over one set of prompts, shared by all models.

    Args:
        strata: Category of each prompt, (prompts,).
        draws: Number of resamples.
        seed: Seed of the random stream.
    """

    def __init__(self, strata, draws: int, seed: int = 0):
        rng, self.weights = _prompt_weights(tuple(strata), draws, seed)
        self.draws, self.rng = draws, copy.deepcopy(rng)

    def seeds(self, k: int) -> np.ndarray:
        """Weights (draws, k) of one model's seeds; ones when there is one."""
        if k == 1:
            return np.ones((self.draws, 1))
        return self.rng.multinomial(k - 1, np.full(k, 1 / k), size=self.draws) * (k / (k - 1))

    def mean(self, values: np.ndarray, chosen: np.ndarray, seed_weights: np.ndarray, binary: bool) -> np.ndarray:
        """Resampled means of one model's values.

        Args:
            values: (prompts, seeds), NaN where there is none.
            chosen: Which prompts to average over, (prompts,) bool.
            seed_weights: From `seeds`, (draws, seeds).
            binary: Add half a declined and half a complied pseudo-prompt with random weight, so that a rate of 0 or 1
                has the spread of Jeffreys' Beta(1/2, 1/2) prior instead of none: Gamma(1/2) weights normalised to one
                are a draw from that Beta. Each call draws its own.

        Returns:
            (draws,), NaN where a resample holds no value.
        """
        x, weights = values[chosen], self.weights[:, chosen]
        there = ~np.isnan(x)
        total = (weights @ np.where(there, x, 0.0) * seed_weights).sum(1)
        size = (weights @ there.astype(float) * seed_weights).sum(1)
        if binary:
            ones, zeros = self.rng.gamma(0.5, size=(2, self.draws)) * values.shape[1]
            return (total + ones) / (size + ones + zeros)
        return np.divide(total, size, out=np.full(self.draws, np.nan), where=size > 0)


def interval(draws: np.ndarray, alpha: float) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN draws are left out."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def kendall(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of a and b along the last axis, (…, k) -> (…,); NaN where either is all ties.

    scipy's kendalltau takes one pair of rankings at a time; this one takes thousands of bootstrap draws at once.
    """
    i, j = np.triu_indices(np.shape(a)[-1], 1)
    da, db = np.sign(a[..., i] - a[..., j]), np.sign(b[..., i] - b[..., j])
    scale = np.sqrt((da != 0).sum(-1) * (db != 0).sum(-1))  # pairs without a tie on either side
    return np.divide((da * db).sum(-1), scale, out=np.full(np.shape(scale), np.nan), where=scale > 0)


def wald(estimates: np.ndarray, draws: np.ndarray) -> tuple[float, int, float]:
    """Omnibus test that all entries of `estimates` (k,) are equal, from joint draws (draws, k).

    Returns chi-square, degrees of freedom (k - 1) and p; NaN for fewer than two estimates.
    """
    k = len(estimates)
    if k < 2:
        return np.nan, 0, np.nan
    against_first = np.eye(k)[1:] - np.eye(k)[:1]  # each estimate minus the first: all 0 when all are equal
    covariance = np.atleast_2d(np.cov((draws[~np.isnan(draws).any(1)] @ against_first.T).T))
    differences = against_first @ estimates
    chi2 = float(differences @ np.linalg.pinv(covariance) @ differences)
    return chi2, k - 1, float(sp.chi2.sf(chi2, k - 1))
