"""The uncertainty of a mean over prompts and seeds, both of which are samples.

A statistic is a signed sum of means: +1 x the mean over one side's prompts, -1 x the mean over the other's (a gain has
one side, discrimination J = S - O has two). Prompts are the clusters. With several seeds, prompts and seeds are crossed
factors, and the variance has a part for each (Cameron, Gelbach and Miller 2011): the variance of the prompt means, and
the variance of the seed means minus what the prompts' own noise contributes to it (the ANOVA estimate of a variance
component). The interval combines the t half-widths of the parts as a root of squares (method of variance estimates
recovery: Graybill and Wang 1980; Zou and Donner 2008). Adding the variances and pooling their degrees of freedom would
hide that three seeds have only two. With one seed the result is about that seed alone.

Strata (an item's keying, a prompt's form) are fixed, not sampled: each has the same weight whatever its size (direct
standardisation with equal weights), differences between strata are not noise, and a side's variance comes from the
spread within them, with Satterthwaite's (1946) degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy import stats as sp
from scipy.optimize import brentq

POWER = 0.8  # of every minimum detectable effect
SMALLEST_P = 1e-12


def normal_mde(standard_error: float, alpha: float) -> float:
    """Smallest true value that a two-sided normal test at `alpha` finds with 80 % power."""
    return float((sp.norm.isf(alpha / 2) + sp.norm.ppf(POWER)) * standard_error)


def normal_p(estimate: float, standard_error: float) -> float:
    """Two-sided p of an estimate that is normal about 0 under the null."""
    return float(2 * sp.norm.sf(abs(estimate) / standard_error))


@dataclass(frozen=True)
class Linear:
    """A signed sum of means and the parts of its variance: (variance, degrees of freedom) each."""

    estimate: float
    parts: tuple[tuple[float, float], ...]
    n: int  # values
    n_clusters: int  # prompts or items
    seeds: int

    def half_width(self, tail: float) -> float:
        """Distance from the estimate that leaves `tail` above it: root of the sum of squared t half-widths."""
        if not self.parts:
            return np.nan
        # The quantile itself: scipy.stats would check its arguments at each of a thousand calls.
        return float(np.sqrt(sum(v * special.stdtrit(df, tail) ** 2 for v, df in self.parts)))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided interval."""
        half = self.half_width(alpha / 2)
        return self.estimate - half, self.estimate + half

    @property
    def method(self) -> str:
        """Name of the interval for a table."""
        return "t" if self.seeds == 1 else "two-way t"

    @property
    def p(self) -> float:
        """Two-sided p: the alpha at which the interval just touches 0 (not below SMALLEST_P).

        Several parts with their own degrees of freedom have no joint t distribution, so the root is found numerically.
        """
        distance = abs(self.estimate)
        if np.isnan(self.half_width(0.4)):
            return np.nan
        if distance == 0 or distance < self.half_width(0.4999):
            return 1.0
        if distance >= self.half_width(SMALLEST_P / 2):
            return SMALLEST_P
        log_p = brentq(lambda a: self.half_width(np.exp(a) / 2) - distance, np.log(SMALLEST_P), np.log(0.9998))
        return float(np.exp(log_p))

    def mde(self, alpha: float) -> float:
        """Smallest true value that a two-sided test at `alpha` finds with 80 % power, given this spread."""
        return self.half_width(alpha / 2) + self.half_width(1 - POWER)


def as_columns(values) -> np.ndarray:
    """(prompts,) or (prompts, seeds) as a float array (prompts, seeds)."""
    values = np.asarray(values, float)
    return values[:, None] if values.ndim == 1 else values


def linear(values, sign=None, pseudo: tuple[float, float] | None = None, strata=None) -> Linear:
    """Signed sum of side means of `values`, with its variance.

    Args:
        values: (prompts,) or (prompts, seeds); NaN = no verdict. A prompt without any value is left out.
        sign: +1 or -1 for each prompt, its side; one side by default.
        pseudo: Two made-up prompts (for a difference of rates -1 and +1) added to each side, or each stratum of it, for
            the variance alone, so that thirty equal pairs do not count as certainty (Bonett and Price 2012).
        strata: A label for each prompt, see the head of this module.

    Returns:
        The estimate is NaN where a side has no value; interval and p are NaN too where a stratum has one prompt.
    """
    values = as_columns(values)
    sign = np.ones(len(values)) if sign is None else np.asarray(sign)
    there, sides = ~np.isnan(values), np.unique(sign)
    kept = there.any(1)
    values, sign = values[kept][:, there.any(0)], sign[kept]
    (clusters, k), n = values.shape, int(there.sum())
    if len(np.unique(sign)) < len(sides):
        return Linear(np.nan, (), n, clusters, k)
    strata = np.zeros(len(sign)) if strata is None else np.asarray(strata)[kept]
    estimate, noise_of_seed_means, parts, seed_means = 0.0, 0.0, [], np.zeros(k)
    for side in sides:
        cells = [values[(sign == side) & (strata == name)] for name in np.unique(strata[sign == side])]
        weight = 1 / len(cells)
        variances, freedoms = [], []
        for cell in cells:
            prompt_means = np.nanmean(cell, axis=1)
            estimate += side * weight * prompt_means.mean()
            padded = prompt_means if pseudo is None else np.append(prompt_means, pseudo)
            variances.append(weight**2 * padded.var(ddof=1) / len(padded) if len(padded) > 1 else np.nan)
            freedoms.append(max(1, len(padded) - 1))
            if k > 1:
                seed_means += side * weight * np.nanmean(cell, axis=0)
                noise_of_seed_means += weight**2 * _residual_variance(cell) / cell.size
        parts.append(_satterthwaite(np.array(variances), np.array(freedoms)))
    if k > 1:
        parts.append((max(0.0, float(np.nanvar(seed_means, ddof=1)) / k - noise_of_seed_means), k - 1))
    return Linear(float(estimate) if parts else np.nan, tuple(parts), n, clusters, k)


def _residual_variance(cell: np.ndarray) -> float:
    """Variance of what neither prompt nor seed explains, (prompts, seeds); 0 for one prompt.

    Missing values lower the sum of squares in proportion, so it is divided by the share that is there.
    """
    n, k = cell.shape
    if n < 2:
        return 0.0
    prompt_means, seed_means = np.nanmean(cell, axis=1), np.nanmean(cell, axis=0)
    residuals = cell - prompt_means[:, None] - seed_means + prompt_means.mean()
    return np.nansum(residuals**2) / ((n - 1) * (k - 1) * np.mean(~np.isnan(cell)))


def _satterthwaite(variances: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """Sum of independent variances and its degrees of freedom (Satterthwaite 1946)."""
    total = float(variances.sum())
    if len(variances) == 1 or not total > 0:
        return total, int(freedoms.sum())
    return total, float(total**2 / (variances**2 / freedoms).sum())
