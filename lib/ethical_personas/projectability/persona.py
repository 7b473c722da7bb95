"""Persona projectability: does a narrow model move along the same dimensions as the broad one?

    table = persona(contrasts)     contrasts: of persona.lens_shifts.averaged

The paper's formula is not known to us; this is the project's operationalisation. With m the profile of a model (mean
signed contrast of each dimension) and e its sampling noise over items,

    pP      = cos(m narrow, m broad)
    r       = (|m|^2 - E|e|^2) / |m|^2                 reliability: what is left of a profile without its noise
    ceiling = sqrt(r narrow x r broad)                 what pP would be for one and the same persona, measured twice
    pP free of noise = (m narrow . m broad - E e.e') / sqrt(product of the two |m|^2 - E|e|^2)

E|e|^2 comes from the spread of items within dimension and keying: the closed form of what random split halves with
Spearman-Brown give on average. Only the last one can be compared between constitutions: a persona that moves less is
noisier, and its plain cosine is lower for that alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.study import grid

RELIABLE = 0.2  # below this a profile does not repeat between halves of its own items, and no ceiling can be told
COLUMNS = [
    *["constitution", "scope", "lens", "estimate", "low", "high", "p", "effect", "mde", "ceiling"],
    *["of_ceiling", "of_low", "of_high", "narrow_reliability", "broad_reliability"],
    *["n", "n_clusters", "seeds", "method", "reason"],
]


class Profiles:
    """Profiles of several models on the same items, with their noise.

    values (items, models); dimension, keyed (items,). `raw`: products of profiles (models, models); `clean`: the same
    freed of item noise.
    """

    def __init__(self, values: np.ndarray, dimension: np.ndarray, keyed: np.ndarray):
        names, place = np.unique(dimension, return_inverse=True)
        cells, cell = np.unique(np.column_stack([place, keyed]), axis=0, return_inverse=True)
        size = np.bincount(cell)
        if size.min() < 2:  # few items: noise from the spread within dimensions
            cells, cell, size = np.arange(len(names))[:, None], place, np.bincount(place)
        self.alone = bool(size.min() < 2)
        per_dimension = np.bincount(place)
        mean = np.zeros((len(names), values.shape[1]))
        np.add.at(mean, place, values / per_dimension[place][:, None])
        of_cell = np.zeros((len(size), values.shape[1]))
        np.add.at(of_cell, cell, values / size[cell][:, None])
        rest = values - of_cell[cell]
        weight = (size / per_dimension[cells[:, 0].astype(int)]) ** 2 / (size * np.maximum(1, size - 1))
        self.mean = mean
        self.raw = mean.T @ mean
        self.clean = self.raw - (rest * weight[cell][:, None]).T @ rest

    @staticmethod
    def cosine(products: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Cosines of models i with models j; NaN where a length is not above 0."""
        length = products[i, i] * products[j, j]
        positive = (products[i, i] > 1e-12) & (products[j, j] > 1e-12)
        return np.divide(products[i, j], np.sqrt(np.abs(length)), out=np.full(len(i), np.nan), where=positive)


def _fisher(x: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(x, -0.9999, 0.9999))


def _of_lens(rows: pd.DataFrame, alpha: float, draws: int, seed: int) -> tuple[list[dict], dict]:
    """Rows of one lens, and joint draws of the noise-free pP by (constitution, scope)."""
    columns = ["constitution", "scope", "seed"]
    wide = rows.pivot(index=["dimension", "keyed", "id"], columns=columns, values="contrast").dropna()
    wide = wide.sort_index(axis=1)
    dimension, keyed = (wide.index.get_level_values(n).to_numpy() for n in ("dimension", "keyed"))
    pairs = sorted({(c, s) for c, s, _ in wide.columns})
    blocks = {pair: wide[pair].to_numpy(float) for pair in pairs}
    values = np.column_stack([blocks[p].mean(1) for p in pairs])
    narrow = [p for p in pairs if p[1] in grid.NARROW]
    whole = Profiles(values, dimension, keyed)
    both = [p for p in narrow if (p[0], grid.BROAD) in pairs]
    i, j = (np.array([pairs.index(q) for q in which], int) for which in (both, [(c, grid.BROAD) for c, _ in both]))
    point = {"cosine": whole.cosine(whole.raw, i, j), "clean": whole.cosine(whole.clean, i, j)}
    spread = _jackknife(blocks, pairs, dimension, keyed, i, j)
    reliability = np.clip(np.diag(whole.clean) / np.maximum(np.diag(whole.raw), 1e-12), 0, 1)

    found, defined = [], []
    for pair in narrow:
        row = {"constitution": pair[0], "scope": pair[1], "lens": rows["lens"].iloc[0]}
        row |= {"n": len(wide) * blocks[pair].shape[1], "n_clusters": len(wide), "seeds": blocks[pair].shape[1]}
        row |= {"method": "item jackknife; shuffled dimensions"}
        if pair not in both:
            found.append(row | {"reason": "undefined: no broad model of this constitution in the run"})
            continue
        at = both.index(pair)
        row |= {"narrow_reliability": reliability[i[at]], "broad_reliability": reliability[j[at]]}
        row["ceiling"] = float(np.sqrt(reliability[i[at]] * reliability[j[at]]))
        if np.isnan(point["cosine"][at]):
            row["reason"] = "undefined: a profile without any contrast (one constitution alone in its scope?)"
        else:
            z = sp.norm.isf(alpha / 2)
            centre, half = _fisher(point["cosine"][at]), z * np.sqrt(spread["cosine"][at, at])
            row |= {"estimate": point["cosine"][at], "low": np.tanh(centre - half), "high": np.tanh(centre + half)}
            row |= _against_shuffled(whole.mean[:, i[at]], whole.mean[:, j[at]], alpha, seed)
            which = "narrow" if row["narrow_reliability"] < row["broad_reliability"] else "broad"
            if whole.alone:
                row["reason"] = "no ceiling: one item a dimension has no spread"
            elif min(row["narrow_reliability"], row["broad_reliability"]) < RELIABLE:
                row["reason"] = f"no ceiling: the {which} profile does not repeat between halves of its items"
            else:
                half = z * np.sqrt(spread["clean"][at, at])
                row |= {"of_ceiling": point["clean"][at], "reason": ""}
                row |= {"of_low": point["clean"][at] - half, "of_high": point["clean"][at] + half}
                defined.append(at)
        found.append(row)
    rng = np.random.default_rng(seed)
    covariance = spread["clean"][np.ix_(defined, defined)]
    drawn = rng.multivariate_normal(point["clean"][defined], covariance, size=draws, method="eigh") if defined else None
    return found, {both[at]: drawn[:, k] for k, at in enumerate(defined)}


def _jackknife(blocks, pairs, dimension, keyed, i, j) -> dict[str, np.ndarray]:
    """Covariances (pairs, pairs) of Fisher's z of pP and of the noise-free pP.

    Items are left out one by one within dimension and keying (they are shared, so models covary); then each model's
    seeds, which only add to its own variance.
    """
    values = np.column_stack([blocks[p].mean(1) for p in pairs])

    def both(x, keep):
        part = Profiles(x[keep], dimension[keep], keyed[keep])
        clean = np.nan_to_num(part.cosine(part.clean, i, j), nan=0.0)
        return np.stack([_fisher(np.nan_to_num(part.cosine(part.raw, i, j), nan=0.0)), clean])

    everything = np.ones(len(values), bool)
    left_out = []
    for item in range(len(values)):
        keep = everything.copy()
        keep[item] = False
        alone = (dimension[keep] == dimension[item]).sum() == 0
        left_out.append(both(values, everything if alone else keep))
    left_out = np.array(left_out)
    result = np.zeros((2, len(i), len(i)))
    for name in np.unique(dimension):
        for sign in np.unique(keyed):
            inside = (dimension == name) & (keyed == sign)
            n = inside.sum()
            if n > 1:
                apart = left_out[inside] - left_out[inside].mean(0)
                result += (n - 1) / n * np.einsum("lkp,lkq->kpq", apart, apart)
    for k, pair in enumerate(pairs):
        seeds = blocks[pair].shape[1]
        if seeds > 1:
            one_less = []
            for s in range(seeds):
                x = values.copy()
                x[:, k] = np.delete(blocks[pair], s, axis=1).mean(1)
                one_less.append(both(x, everything))
            apart = np.array(one_less) - np.mean(one_less, axis=0)
            result += (seeds - 1) / seeds * np.einsum("lkp,lkq->kpq", apart, apart)
    return dict(zip(("cosine", "clean"), result, strict=True))


def _against_shuffled(a: np.ndarray, b: np.ndarray, alpha: float, seed: int, shuffles: int = 9999) -> dict:
    """p, effect and mde of a cosine against itself with dimensions shuffled."""
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(len(a)), (shuffles, 1)), axis=1)
    length = np.sqrt((a**2).sum() * (b**2).sum())
    observed = float(a @ b / length)
    null = np.append(a[order] @ b / length, observed)
    spread = null.std()
    p = float(np.mean(np.abs(null) >= abs(observed) - 1e-12))
    return {
        "p": p,
        "effect": observed / spread if spread > 0 else np.nan,
        "mde": min(1.0, stats.normal_mde(spread, alpha)),
    }


def persona_draws(
    contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, dict[tuple[str, str], np.ndarray]]]:
    """The table of `persona`; and joint normal draws of the noise-free pP, by lens and (constitution, scope)."""
    found, kept = [], {}
    for lens, rows in contrasts.groupby("lens"):
        table, kept[lens] = _of_lens(rows, alpha, draws, seed)
        found += table
    return stats.family(pd.DataFrame(found, columns=COLUMNS), by="lens"), kept


def persona(contrasts: pd.DataFrame, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """pP of every narrow model and lens; formulae at the head of this module. One row per constitution, scope, lens.

    estimate, low, high: pP with a jackknife interval over items (and seeds) on Fisher's z scale; it errs on the wide
    side. p: share of 10 000 shuffles of the dimensions whose |cosine| is as large. effect: the cosine in standard
    deviations of the shuffles; mde: the cosine that 80 % power needs with so few dimensions. of_ceiling, of_low,
    of_high: pP free of noise (it may pass 1). reason: why a number is missing. Holm and BH within each lens.
    """
    return persona_draws(contrasts, 2, alpha, seed)[0]


def summary(safety: pd.DataFrame, voice: pd.DataFrame | None, persona: pd.DataFrame | None, lens: str) -> pd.DataFrame:
    """All projectabilities: constitution, scope, measure, estimate, low, high, n_clusters, seeds, reason."""
    columns = ["constitution", "scope", "measure", "estimate", "low", "high", "n_clusters", "seeds", "reason"]
    tables = [safety[columns]]
    if voice is not None and len(voice):
        tables.append(voice[columns])
    if persona is not None and len(persona):
        part = persona[persona["lens"] == lens].assign(measure="pP")
        part = part.drop(columns=["estimate", "low", "high"])
        tables.append(part.rename(columns={"of_ceiling": "estimate", "of_low": "low", "of_high": "high"})[columns])
    return pd.concat([t for t in tables if len(t)] or [pd.DataFrame(columns=columns)], ignore_index=True)
