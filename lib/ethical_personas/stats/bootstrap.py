"""The cluster bootstrap, for statistics that are not a sum of means: ratios, ranks, omnibus tests.

Prompts are resampled within their category and each model's seeds apart, n - 1 of n draws, so that the
bootstrap variance is unbiased (McCarthy and Snowden 1985): with three seeds the usual draw of three would
miss a third of the seeds' variance. Prompts and seeds are resampled as crossed factors (Owen 2007), which
for several seeds errs to the wide side.
"""

from __future__ import annotations

import numpy as np
from scipy import stats as sp


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlations, one per row of weights; NaN where a side does not vary."""
    total = weights.sum(1)
    mx, my = weights @ x / total, weights @ y / total
    cov = weights @ (x * y) / total - mx * my
    vx, vy = weights @ x**2 / total - mx**2, weights @ y**2 / total - my**2
    below = np.sqrt(np.clip(vx * vy, 0, None))
    return np.divide(cov, below, out=np.full(len(weights), np.nan), where=below > 1e-15)


class Resampler:
    """Joint bootstrap draws over one set of prompts, shared by all models.

    stratum (prompts,): category of each prompt; draws: resamples; seed: of the random stream.
    """

    def __init__(self, stratum, draws: int, seed: int = 0):
        stratum = np.asarray(stratum)
        self.rng = np.random.default_rng(seed)
        self.draws = draws
        self.weights = np.ones((draws, len(stratum)))
        for name in np.unique(stratum):
            inside = np.flatnonzero(stratum == name)
            if len(inside) > 1:
                n = len(inside)
                drawn = self.rng.multinomial(n - 1, np.full(n, 1 / n), size=draws)
                self.weights[:, inside] = drawn * (n / (n - 1))

    def seeds(self, k: int) -> np.ndarray:
        """Weights (draws, k) of one model's seeds; ones when there is one."""
        if k == 1:
            return np.ones((self.draws, 1))
        return self.rng.multinomial(k - 1, np.full(k, 1 / k), size=self.draws) * (k / (k - 1))

    def mean(self, values: np.ndarray, where: np.ndarray, seed_weights: np.ndarray, binary: bool) -> np.ndarray:
        """Resampled means (draws,) of values (prompts, seeds) over the prompts `where` (bool).

        binary: add half a declined and half a complied pseudo-prompt with random weight, independent for each
        call, so that a rate of 0 or 1 has Jeffreys' spread and not none.
        """
        x = values[where]
        there = ~np.isnan(x)
        top = (self.weights[:, where] @ np.where(there, x, 0.0) * seed_weights).sum(1)
        below = (self.weights[:, where] @ there.astype(float) * seed_weights).sum(1)
        if binary:
            k = values.shape[1]
            ones, zeros = self.rng.gamma(0.5, size=(2, self.draws)) * k
            return (top + ones) / (below + ones + zeros)
        return np.divide(top, below, out=np.full(self.draws, np.nan), where=below > 0)


def interval(draws: np.ndarray, alpha: float) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN draws are left out."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def kendall(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of a and b along the last axis, (…, k) -> (…,); NaN where either is all ties."""
    i, j = np.triu_indices(np.shape(a)[-1], 1)
    da, db = np.sign(a[..., i] - a[..., j]), np.sign(b[..., i] - b[..., j])
    below = np.sqrt((da != 0).sum(-1) * (db != 0).sum(-1))
    return np.divide((da * db).sum(-1), below, out=np.full(np.shape(below), np.nan), where=below > 0)


def wald(estimates: np.ndarray, draws: np.ndarray) -> tuple[float, int, float]:
    """Omnibus test that all entries of `estimates` (k,) are equal, from joint draws (draws, k).

    Returns chi-square, degrees of freedom (k - 1) and p; NaN for fewer than two estimates.
    """
    k = len(estimates)
    if k < 2:
        return np.nan, 0, np.nan
    apart = np.eye(k)[1:] - np.eye(k)[:1]
    covariance = np.atleast_2d(np.cov((draws[~np.isnan(draws).any(1)] @ apart.T).T))
    d = apart @ estimates
    chi2 = float(d @ np.linalg.pinv(covariance) @ d)
    return chi2, k - 1, float(sp.chi2.sf(chi2, k - 1))
