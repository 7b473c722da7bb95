"""The uncertainty of a mean over prompts and seeds, when both were drawn and could have been others.

A statistic is a signed sum of means: +1 x the mean over one side's prompts, -1 x the mean over the
other's (a gain has one side, discrimination J = S - O has two). Prompts are the clusters. With several
seeds the factors are crossed and the variance has a part for each: prompts, and seeds beyond what the
prompts' own noise explains (the ANOVA estimate; Cameron, Gelbach and Miller 2011). The parts' own t
half-widths add in squares (method of variance estimates recovery, Graybill and Wang 1980; Zou and Donner
2008): three seeds have two degrees of freedom, and pooling them with 180 prompts would hide that. With
one seed the result speaks of that seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats as sp
from scipy.optimize import brentq

TINY = 1e-12  # smallest p told apart


@dataclass(frozen=True)
class Linear:
    """A signed sum of means and the parts of its variance: (variance, degrees of freedom) each."""

    estimate: float
    parts: tuple[tuple[float, int], ...]
    n: int  # values
    n_clusters: int  # prompts or items
    seeds: int

    def reach(self, tail: float) -> float:
        """Half-width that leaves `tail` above it: root of the sum of squared t half-widths."""
        if not self.parts:
            return np.nan
        return float(np.sqrt(sum(v * sp.t.isf(tail, df) ** 2 for v, df in self.parts)))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided interval."""
        half = self.reach(alpha / 2)
        return self.estimate - half, self.estimate + half

    @property
    def p(self) -> float:
        """Two-sided p: the alpha at which the interval just touches 0 (not below 1e-12)."""
        width = abs(self.estimate)
        if not width >= self.reach(0.4999):
            return np.nan if np.isnan(self.reach(0.4)) else 1.0
        if width >= self.reach(TINY / 2):
            return TINY
        return float(np.exp(brentq(lambda a: self.reach(np.exp(a) / 2) - width, np.log(TINY), np.log(0.9998))))

    def mde(self, alpha: float, power: float) -> float:
        """Smallest true value that a two-sided test at `alpha` finds with `power`, given this spread."""
        return self.reach(alpha / 2) + self.reach(1 - power)


def linear(values: np.ndarray, sign: np.ndarray, pseudo: tuple[float, float] | None = None) -> Linear:
    """Signed sum of side means of `values` (prompts x seeds, NaN = no verdict).

    sign: +1 or -1 for each prompt. pseudo: two made-up prompts (for a difference of rates -1 and +1)
    added to each side for the variance alone, so that thirty equal pairs do not pass for certainty
    (the adjustment of Bonett and Price 2012). A prompt without any value is left out; where a side has
    none, or one prompt and no pseudo-prompts, interval and p are NaN.
    """
    values = np.asarray(values, float)
    values = values[:, None] if values.ndim == 1 else values
    there = ~np.isnan(values)
    values, sign = values[there.any(1)][:, there.any(0)], np.asarray(sign)[there.any(1)]
    k = values.shape[1]
    estimate, residual, parts, per_seed = 0.0, 0.0, [], np.zeros(k)
    for side in np.unique(sign):
        x = values[sign == side]
        n, means = len(x), np.nanmean(x, axis=1)
        estimate += side * means.mean()
        padded = means if pseudo is None else np.append(means, pseudo)
        parts.append((padded.var(ddof=1) / len(padded) if len(padded) > 1 else np.nan, max(1, len(padded) - 1)))
        if k > 1:
            by_seed = np.nanmean(x, axis=0)
            per_seed += side * by_seed
            rest = x - means[:, None] - by_seed + means.mean()
            if n > 1:
                residual += np.nansum(rest**2) / ((n - 1) * (k - 1) * np.mean(~np.isnan(x))) / (n * k)
    if k > 1:
        parts.append((max(0.0, float(np.nanvar(per_seed, ddof=1)) / k - residual), k - 1))
    return Linear(float(estimate) if parts else np.nan, tuple(parts), int((~np.isnan(values)).sum()), len(values), k)
