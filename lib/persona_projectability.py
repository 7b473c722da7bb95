"""Persona projectability: does a narrow model move along the same dimensions as the broad one?

table = persona(contrasts)     contrasts: lib.persona.analyse.item_contrasts(run, models)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from lib import grid, stats

SPLITS = 200
RELIABLE = 0.2  # below this a profile does not repeat between halves of its own items, and no ceiling can be told
COLUMNS = [
    *["constitution", "scope", "lens", "estimate", "low", "high", "p", "effect", "mde", "ceiling", "of_ceiling"],
    *["narrow_reliability", "broad_reliability", "n", "n_clusters", "seeds", "method", "reason"],
]


def persona_projectability(narrow: pd.DataFrame, broad: pd.DataFrame, splits: int = SPLITS, seed: int = 0) -> dict:
    """Cosine of two contrast profiles beside its noise ceiling. This project's operationalisation:

        pP = cos(narrow profile, broad profile),  ceiling = sqrt(reliability narrow x reliability broad)

    A profile is the mean signed contrast of each dimension; its reliability is the cosine between profiles of two
    random halves of the items (within dimension and keying), averaged over `splits` and stepped up by Spearman-Brown.
    A perfectly shared persona reaches the ceiling, not 1. narrow, broad: one model's rows of item_contrasts (dimension,
    id, keyed, contrast already signed by keying; seeds are averaged). Keys estimate, ceiling, of_ceiling,
    narrow_reliability, broad_reliability, reason.
    """
    a, b, dimension, keyed = _aligned(narrow, broad)
    half = _halves(dimension, keyed, splits, seed)
    row = {"estimate": float(_cosine(_profile(a, dimension), _profile(b, dimension)))}
    for name, x in (("narrow", a), ("broad", b)):
        r = np.nanmean(_cosine(_profile(x, dimension, half), _profile(x, dimension, ~half)))
        row[f"{name}_reliability"] = float(2 * r / (1 + r)) if r > 0 else 0.0
    least = min(row["narrow_reliability"], row["broad_reliability"])
    row["ceiling"] = float(np.sqrt(row["narrow_reliability"] * row["broad_reliability"]))
    told = least >= RELIABLE and not np.isnan(row["estimate"])
    row["of_ceiling"] = row["estimate"] / row["ceiling"] if told else np.nan
    which = "narrow" if row["narrow_reliability"] <= row["broad_reliability"] else "broad"
    row["reason"] = "" if told else f"no ceiling: the {which} profile does not repeat between halves of its items"
    if np.isnan(row["estimate"]):
        row["reason"] = "undefined: a profile without any contrast (one constitution alone in its scope?)"
    return row


def _aligned(narrow: pd.DataFrame, broad: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Seed-averaged contrasts of the items that both have, with their dimension and keying."""
    keys = ["dimension", "keyed", "id"]
    both = pd.concat(
        {"a": narrow.groupby(keys)["contrast"].mean(), "b": broad.groupby(keys)["contrast"].mean()}, axis=1
    )
    both = both.dropna().reset_index()
    return both["a"].to_numpy(), both["b"].to_numpy(), both["dimension"].to_numpy(), both["keyed"].to_numpy()


def _profile(x: np.ndarray, dimension: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weighted mean of items by dimension: weight (..., items) -> (..., dimensions)."""
    weight = np.ones(len(x)) if weight is None else weight.astype(float)
    columns = []
    for name in np.unique(dimension):
        w = weight[..., dimension == name]
        total = w.sum(-1)
        columns.append(np.divide(w @ x[dimension == name], total, out=np.zeros(np.shape(total)), where=total > 0))
    return np.stack(columns, axis=-1)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    length = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.divide((a * b).sum(-1), length, out=np.full(np.shape(length), np.nan), where=length > 1e-12)


def _halves(dimension: np.ndarray, keyed: np.ndarray, splits: int, seed: int) -> np.ndarray:
    """Random halves of the items within dimension and keying, (splits, items) bool."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros((splits, len(dimension)), bool)
    for name in np.unique(dimension):
        for sign in np.unique(keyed):
            inside = np.flatnonzero((dimension == name) & (keyed == sign))
            order = rng.permuted(np.tile(np.arange(len(inside)), (splits, 1)), axis=1)
            # An odd item goes to either half by turns, so that neither is always the larger.
            size = len(inside) // 2 + (len(inside) % 2) * rng.integers(0, 2, (splits, 1))
            chosen[:, inside] = order < size
    return chosen


def persona_draws(
    contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, dict[tuple[str, str], np.ndarray]]]:
    """The table of `persona`, and its bootstrap draws by lens and (constitution, scope)."""
    found, kept = [], {}
    for lens, rows in contrasts.groupby("lens"):
        wide = rows.pivot(
            index=["dimension", "keyed", "id"], columns=["constitution", "scope", "seed"], values="contrast"
        )
        dimension = wide.index.get_level_values("dimension").to_numpy()
        stratum = [f"{d}{k}" for d, k in zip(dimension, wide.index.get_level_values("keyed"), strict=True)]
        resampler = stats.Resampler(stratum, draws, seed)
        pairs = sorted({(c, s) for c, s, _ in wide.columns})
        profiles = {}
        for pair in pairs:
            x = wide[pair].to_numpy(float)
            weights = resampler.seeds(x.shape[1])
            by = [resampler.mean(x, dimension == name, weights, binary=False) for name in np.unique(dimension)]
            profiles[pair] = np.stack(by, axis=-1)
        for constitution, scope in [p for p in pairs if p[1] in grid.NARROW]:
            row = {"constitution": constitution, "scope": scope, "lens": lens}
            row |= {"method": "item bootstrap; shuffled dimensions"}
            own = rows[rows["constitution"] == constitution]
            narrow, broad = (own[own["scope"] == s] for s in (scope, "broad"))
            row |= {"n": len(narrow), "n_clusters": narrow["id"].nunique(), "seeds": narrow["seed"].nunique()}
            if not len(broad):
                found.append(row | {"reason": "undefined: no broad model of this constitution in the run"})
                continue
            row |= persona_projectability(narrow, broad, seed=seed)
            if not np.isnan(row["estimate"]):
                drawn = _cosine(profiles[constitution, scope], profiles[constitution, "broad"])
                kept.setdefault(lens, {})[constitution, scope] = drawn
                row["low"], row["high"] = fisher_interval(row["estimate"], drawn, alpha)
                row |= _against_shuffled(narrow, broad, alpha, seed)
            found.append(row)
    table = pd.DataFrame(found, columns=COLUMNS)
    return stats.family(table, by="lens"), kept


def persona(contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """pP of every narrow model and lens, with `persona_projectability`'s columns, an interval and a test.

    low, high: on Fisher's z scale, spread from items resampled within dimension and keying, seeds apart. p: share of
    10 000 shuffles of the dimensions whose |cosine| is as large. effect: the cosine in standard deviations of the
    shuffles; mde: the cosine that 80 % power needs with so few dimensions. Holm and BH within each lens.
    """
    return persona_draws(contrasts, draws, alpha, seed)[0]


def fisher_interval(estimate: float, draws: np.ndarray, alpha: float) -> tuple[float, float]:
    """Interval of a cosine: estimate -+ z x bootstrap spread, both on the scale of arctanh.

    The percentiles themselves would not do: resamples are noisier than the sample, so their cosines fall short of it.
    """
    spread = np.nanstd(np.arctanh(np.clip(draws, -0.9999, 0.9999)))
    centre, z = np.arctanh(np.clip(estimate, -0.9999, 0.9999)), sp.norm.isf(alpha / 2)
    return float(np.tanh(centre - z * spread)), float(np.tanh(centre + z * spread))


def _against_shuffled(narrow: pd.DataFrame, broad: pd.DataFrame, alpha: float, seed: int, shuffles: int = 9999) -> dict:
    a, b, dimension, _ = _aligned(narrow, broad)
    one, two = _profile(a, dimension), _profile(b, dimension)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(len(one)), (shuffles, 1)), axis=1)
    null = np.append(_cosine(one[order], two), observed := _cosine(one, two))
    spread = null.std()
    z = sp.norm.isf(alpha / 2) + sp.norm.ppf(stats.POWER)
    p = float(np.mean(np.abs(null) >= abs(observed) - 1e-12))
    return {"p": p, "effect": float(observed / spread) if spread > 0 else np.nan, "mde": float(min(1.0, z * spread))}
