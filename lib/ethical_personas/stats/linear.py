"""The uncertainty of a mean over prompts and seeds, when both were drawn and could have been others.

A statistic is a signed sum of means: +1 x the mean over one side's prompts, -1 x the mean over the
other's (a gain has one side, discrimination J = S - O has two). Prompts are the clusters. With several
seeds the factors are crossed and the variance has a part for each: prompts, and seeds beyond what the
prompts' own noise explains (the ANOVA estimate; Cameron, Gelbach and Miller 2011). The parts' own t
half-widths add in squares (method of variance estimates recovery, Graybill and Wang 1980; Zou and Donner
2008): three seeds have two degrees of freedom, and pooling them with 180 prompts would hide that. With
one seed the result speaks of that seed alone.

Strata (an item's keying) are fixed, not drawn: they weigh the same whatever their sizes, what they differ in is no
noise, and a side's variance comes from the spread within them, with the degrees of freedom of Satterthwaite (1946).
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
    parts: tuple[tuple[float, float], ...]
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
        if width == 0 and not np.isnan(self.reach(0.4)):
            return 1.0
        if not width >= self.reach(0.4999):
            return np.nan if np.isnan(self.reach(0.4)) else 1.0
        if width >= self.reach(TINY / 2):
            return TINY
        return float(np.exp(brentq(lambda a: self.reach(np.exp(a) / 2) - width, np.log(TINY), np.log(0.9998))))

    def mde(self, alpha: float, power: float) -> float:
        """Smallest true value that a two-sided test at `alpha` finds with `power`, given this spread."""
        return self.reach(alpha / 2) + self.reach(1 - power)


def linear(
    values: np.ndarray, sign: np.ndarray, pseudo: tuple[float, float] | None = None, strata: np.ndarray | None = None
) -> Linear:
    """Signed sum of side means of `values` (prompts x seeds, NaN = no verdict).

    sign: +1 or -1 for each prompt. pseudo: two made-up prompts (for a difference of rates -1 and +1)
    added to each side for the variance alone, so that thirty equal pairs do not pass for certainty
    (the adjustment of Bonett and Price 2012). strata: a label for each prompt, see above; not with pseudo.
    A prompt without any value is left out; where a side has none, all is NaN, and where a stratum has one prompt
    and no pseudo-prompts, interval and p are.
    """
    values = np.asarray(values, float)
    values = values[:, None] if values.ndim == 1 else values
    there = ~np.isnan(values)
    kept = there.any(1)
    sides = np.unique(sign)
    values, sign = values[kept][:, there.any(0)], np.asarray(sign)[kept]
    if len(np.unique(sign)) < len(sides):
        return Linear(np.nan, (), int(there.sum()), len(values), values.shape[1])
    strata = np.zeros(len(sign)) if strata is None else np.asarray(strata)[kept]
    k = values.shape[1]
    estimate, residual, parts, per_seed = 0.0, 0.0, [], np.zeros(k)
    for side in sides:
        inside = sign == side
        variances, freedoms = [], []
        for stratum in np.unique(strata[inside]):
            x = values[inside & (strata == stratum)]
            n, means = len(x), np.nanmean(x, axis=1)
            weight = 1 / len(np.unique(strata[inside]))
            estimate += side * weight * means.mean()
            padded = means if pseudo is None else np.append(means, pseudo)
            variances.append(weight**2 * padded.var(ddof=1) / len(padded) if len(padded) > 1 else np.nan)
            freedoms.append(max(1, len(padded) - 1))
            if k > 1:
                by_seed = np.nanmean(x, axis=0)
                per_seed += side * weight * by_seed
                rest = x - means[:, None] - by_seed + means.mean()
                if n > 1:
                    spread = np.nansum(rest**2) / ((n - 1) * (k - 1) * np.mean(~np.isnan(x)))
                    residual += weight**2 * spread / (n * k)
        parts.append(_satterthwaite(np.array(variances), np.array(freedoms)))
    if k > 1:
        parts.append((max(0.0, float(np.nanvar(per_seed, ddof=1)) / k - residual), k - 1))
    return Linear(float(estimate) if parts else np.nan, tuple(parts), int((~np.isnan(values)).sum()), len(values), k)


def _satterthwaite(variances: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """Sum of independent variances and the degrees of freedom that it has."""
    total = float(variances.sum())
    if len(variances) == 1 or not total > 0:
        return total, int(freedoms.sum())
    return total, float(total**2 / (variances**2 / freedoms).sum())
