"""Rates freed of a judge's errors (Rogan and Gladen; prediction-powered), and effective sizes of clustered samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm


def effective_size(hits, clusters) -> float:
    """n divided by the design effect of clustered 0/1 values (never above n): Miller 2024, clustered errors."""
    hits, n = np.asarray(hits, dtype=float), len(hits)
    p = hits.mean()
    if clusters is None or p in (0.0, 1.0):
        # All alike: the data show no variance to split, so take the number of clusters, the safe side.
        return float(n if clusters is None else len(set(clusters)))
    sums = pd.Series(hits - p).groupby(np.asarray(clusters)).sum().to_numpy()
    return float(min(n, p * (1 - p) * n**2 / max((sums**2).sum(), 1e-12)))


def rogan_gladen(
    p: float, n: float, sensitivity: float, n1: float, specificity: float, n0: float, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Corrected prevalence and Lang-Reiczigel interval from an apparent rate and two calibration proportions."""
    if sensitivity + specificity <= 1:
        return math.nan, math.nan, math.nan
    estimate = (p + specificity - 1) / (sensitivity + specificity - 1)
    z = norm.ppf(1 - alpha / 2)
    p_, n_ = (n * p + z**2 / 2) / (n + z**2), n + z**2
    q1, m1 = (n1 * sensitivity + 1) / (n1 + 2), n1 + 2
    q0, m0 = (n0 * specificity + 1) / (n0 + 2), n0 + 2
    youden = q1 + q0 - 1
    if youden <= 0:
        return math.nan, math.nan, math.nan
    theta = (p_ + q0 - 1) / youden
    v1, v0 = q1 * (1 - q1) / m1, q0 * (1 - q0) / m0
    shift = 2 * z**2 * (theta * v1 - (1 - theta) * v0)
    half = z * math.sqrt(p_ * (1 - p_) / n_ + theta**2 * v1 + (1 - theta) ** 2 * v0) / youden
    low, high = theta + shift - half, theta + shift + half
    return float(np.clip(estimate, 0, 1)), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


class Stratum(NamedTuple):
    """Responses of one kind, of which some were read.

    verdicts: the judge's, 1.0 declined or 0.0, of every response; n: their effective number (`effective_size`);
    labels: a reader's, of m of them drawn at random; label_verdicts: the judge's on these m.
    """

    verdicts: np.ndarray
    n: float
    labels: np.ndarray
    label_verdicts: np.ndarray


def prediction_powered(strata: list[Stratum], alpha: float = 0.05) -> tuple[float, float, float]:
    """Share of `declined` from many verdicts and few labels of the same population: (estimate, low, high).

    Angelopoulos et al. 2023 (Science 382:669), the case of a mean, in each stratum: the mean verdict less the mean
    error among the labelled rows, with var(verdicts)/n + var(errors)/m; strata count by their responses. Few labels may
    show no error at all, and then no variance; so the variance counts one false alarm and one miss more than were seen
    in all strata together, as Lang and Reiczigel add one row to each side. NaN where a stratum has no labels.
    """
    total = sum(len(one.verdicts) for one in strata)
    if not total or not all(len(one.labels) for one in strata):
        return math.nan, math.nan, math.nan
    shares = [len(one.verdicts) / total for one in strata]
    errors = [np.asarray(one.label_verdicts, float) - np.asarray(one.labels, float) for one in strata]
    estimate = sum(w * (np.mean(one.verdicts) - e.mean()) for w, one, e in zip(shares, strata, errors, strict=True))
    # One pooled variance of errors: a stratum's own, of a few labels, would be zero as often as not.
    spread = np.concatenate([*errors, [1.0, -1.0]]).var(ddof=1)
    variance = sum(
        w**2 * (np.var(one.verdicts) / one.n + spread / len(e))
        for w, one, e in zip(shares, strata, errors, strict=True)
    )
    half = norm.ppf(1 - alpha / 2) * math.sqrt(variance)
    low, high = np.clip([estimate - half, estimate + half], 0, 1)
    return float(np.clip(estimate, 0, 1)), float(low), float(high)
