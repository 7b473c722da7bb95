"""Persona projectability: does a narrow model move along the same dimensions as the broad one?

    table = persona(contrasts)     contrasts: of persona.lens_shifts.averaged

The paper's formula is not known to us; this is the project's operationalisation. With m the profile of a model (mean
signed contrast of each dimension) and e its sampling noise over items,

    pP      = cos(m narrow, m broad)
    r       = (|m|^2 - E|e|^2) / |m|^2                 reliability: what is left of a profile without its noise
    ceiling = sqrt(r narrow x r broad)                 what pP would be for one and the same persona, measured twice
    pP free of noise = (m narrow . m broad - E e.e') / sqrt(product of the two |m|^2 - E|e|^2)

The last line is Spearman's (1904) correction for attenuation. E|e|^2 comes from the spread of items within dimension
and keying: the closed form of what random split halves with the Spearman-Brown formula give on average. Only the
noise-free pP can be compared between constitutions: a persona that moves less is noisier, and its plain cosine is lower
for that alone.

Where a profile over dimensions does not repeat between halves of its items that pP is undefined. What is defined always
is pP by replication: the correlation of the two models' profiles over items (persona/replication.py). Beside it stands
that with other constitutions' broad models; contrasts sum to 0 over constitutions, so that it lies below 0 by itself
where pP is above. pP by replication is a fingerprint, not the registered persona alone, and not freed of noise: a
constitution that sets its models less apart has a lower one for that alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.persona import replication
from ethical_personas.study import grid

RELIABLE = (
    0.2  # below this a profile does not repeat between halves of its own items, so its ceiling would be meaningless
)
COLUMNS = [
    *["constitution", "scope", "lens", "estimate", "low", "high", "p", "effect", "mde", "ceiling"],
    *["of_ceiling", "of_low", "of_high", "narrow_reliability", "broad_reliability"],
    *replication.REPEATS,
    *["n", "n_clusters", "seeds", "method", "reason"],
]
BESIDE = ["others", "noise_free", "noise_free_low", "noise_free_high"]  # beside pP in the table of `summary`


class Profiles:
    """Profiles of several models on the same items, with their noise.

    Args:
        values: Contrasts, (items, models).
        dimension, keyed: Of each item, (items,).

    Attributes:
        mean: Profiles, (dimensions, models).
        raw: Products of profiles, (models, models).
        clean: The same free of item noise: raw minus the covariances of the dimension means, summed over dimensions.
        alone: Some dimension has a single item, so that its noise is unknown.
    """

    def __init__(self, values: np.ndarray, dimension: np.ndarray, keyed: np.ndarray):
        names, place = np.unique(dimension, return_inverse=True)
        # The cells within which items are exchangeable: a dimension's items of one keying.
        cells, cell = np.unique(np.column_stack([place, keyed]), axis=0, return_inverse=True)
        size = np.bincount(cell)
        if size.min() < 2:  # too few items for that: noise from the spread within dimensions
            cells, cell, size = np.arange(len(names))[:, None], place, np.bincount(place)
        self.alone = bool(size.min() < 2)
        items = np.bincount(place)
        self.mean = np.zeros((len(names), values.shape[1]))
        np.add.at(self.mean, place, values / items[place][:, None])
        cell_means = np.zeros((len(size), values.shape[1]))
        np.add.at(cell_means, cell, values / size[cell][:, None])
        residuals = values - cell_means[cell]
        # A dimension's mean weighs each cell's mean by size / items; the variance of a cell's mean is its residual sum
        # of squares / (size (size - 1)).
        weight = (size / items[cells[:, 0].astype(int)]) ** 2 / (size * np.maximum(1, size - 1))
        self.raw = self.mean.T @ self.mean
        self.clean = self.raw - (residuals * weight[cell][:, None]).T @ residuals

    @staticmethod
    def cosine(products: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Cosines of models i with models j; NaN where a length is not above 0 (noise can exceed the profile)."""
        length = products[i, i] * products[j, j]
        positive = (products[i, i] > 1e-12) & (products[j, j] > 1e-12)
        return np.divide(products[i, j], np.sqrt(np.abs(length)), out=np.full(len(i), np.nan), where=positive)


def _fisher(x: np.ndarray) -> np.ndarray:
    """Fisher's z of a correlation or cosine, on which its interval is symmetric."""
    return np.arctanh(np.clip(x, -0.9999, 0.9999))


# 46 lines: each model's row collects what may be undefined one step at a time.
def _of_lens(contrasts: pd.DataFrame, alpha: float, draws: int, seed: int) -> tuple[list[dict], dict]:
    """Rows of one lens, and joint draws of the noise-free pP by (constitution, scope)."""
    columns = ["constitution", "scope", "seed"]
    wide = contrasts.pivot(index=["dimension", "keyed", "id"], columns=columns, values="contrast")
    wide = wide.dropna().sort_index(axis=1)
    dimension, keyed = (wide.index.get_level_values(n).to_numpy() for n in ("dimension", "keyed"))
    models = sorted({(c, s) for c, s, _ in wide.columns})
    by_seed = {m: wide[m].to_numpy(float) for m in models}
    profiles = Profiles(np.column_stack([by_seed[m].mean(1) for m in models]), dimension, keyed)
    narrow = [m for m in models if m[1] in grid.NARROW]
    compared = [m for m in narrow if (m[0], grid.BROAD) in models]
    i = np.array([models.index(m) for m in compared], int)
    j = np.array([models.index((c, grid.BROAD)) for c, _ in compared], int)
    plain, clean = profiles.cosine(profiles.raw, i, j), profiles.cosine(profiles.clean, i, j)
    covariance = _jackknife(by_seed, dimension, keyed, i, j)
    reliability = np.clip(np.diag(profiles.clean) / np.maximum(np.diag(profiles.raw), 1e-12), 0, 1)

    records, defined, z = [], [], sp.norm.isf(alpha / 2)
    for model in narrow:
        row = {"constitution": model[0], "scope": model[1], "lens": contrasts["lens"].iloc[0]}
        row |= {"n": by_seed[model].size, "n_clusters": len(wide), "seeds": by_seed[model].shape[1]}
        row |= {"method": "item jackknife; shuffled dimensions"}
        records.append(row)
        if model not in compared:
            row["reason"] = "undefined: no broad model of this constitution in the run"
            continue
        k = compared.index(model)
        of_narrow, of_broad = reliability[i[k]], reliability[j[k]]
        row |= {"narrow_reliability": of_narrow, "broad_reliability": of_broad}
        row |= {"ceiling": float(np.sqrt(of_narrow * of_broad))}
        if np.isnan(plain[k]):
            row["reason"] = "undefined: a profile without any contrast (one constitution alone in its scope?)"
            continue
        centre, half = _fisher(plain[k]), z * np.sqrt(covariance["cosine"][k, k])
        row |= {"estimate": plain[k], "low": np.tanh(centre - half), "high": np.tanh(centre + half)}
        row |= _against_shuffled(profiles.mean[:, i[k]], profiles.mean[:, j[k]], alpha, seed)
        row["reason"] = _no_ceiling(profiles, of_narrow, of_broad)
        if not row["reason"]:
            half = z * np.sqrt(covariance["clean"][k, k])
            row |= {"of_ceiling": clean[k], "of_low": clean[k] - half, "of_high": clean[k] + half}
            defined.append(k)
    if not defined:
        return records, {}
    spread = covariance["clean"][np.ix_(defined, defined)]
    drawn = np.random.default_rng(seed).multivariate_normal(clean[defined], spread, size=draws, method="eigh")
    return records, {compared[k]: column for k, column in zip(defined, drawn.T, strict=True)}


def _no_ceiling(profiles: Profiles, of_narrow: float, of_broad: float) -> str:
    """Why the noise-free pP of two profiles with these reliabilities is not given; empty where it is."""
    if profiles.alone:
        return "no ceiling: one item a dimension has no spread"
    if min(of_narrow, of_broad) < RELIABLE:
        which = "narrow" if of_narrow < of_broad else "broad"
        return f"no ceiling: the {which} profile does not repeat between halves of its items"
    return ""


def _jackknife(by_seed: dict, dimension, keyed, i, j) -> dict[str, np.ndarray]:
    """Covariances (pairs, pairs) of Fisher's z of pP and of the noise-free pP, by the stratified jackknife.

    The cosine is a smooth function of item means, for which leaving out one item at a time estimates the variance:
    (n - 1) / n times the sum of squares of the leave-one-out values about their mean, in each stratum (Efron and Stein
    1981; strata: dimension and keying). Items are shared by the models, so one loop gives the covariances between
    models too. Seeds are then left out one by one; a model's own seeds are shared with no other model.
    """
    values = np.column_stack([x.mean(1) for x in by_seed.values()])

    def cosines(x, kept):
        part = Profiles(x[kept], dimension[kept], keyed[kept])
        plain, clean = (np.nan_to_num(part.cosine(p, i, j), nan=0.0) for p in (part.raw, part.clean))
        return np.stack([_fisher(plain), clean])

    def squares(left_out):
        apart = left_out - left_out.mean(0)
        return (len(apart) - 1) / len(apart) * np.einsum("lkp,lkq->kpq", apart, apart)

    every = np.ones(len(values), bool)
    left_out = []
    for item in range(len(values)):
        kept = every.copy()
        kept[item] = (dimension == dimension[item]).sum() == 1  # a dimension's only item stays: it has no spread
        left_out.append(cosines(values, kept))
    left_out, result = np.array(left_out), np.zeros((2, len(i), len(i)))
    for name, sign in sorted(set(zip(dimension, keyed, strict=True))):
        result += squares(left_out[(dimension == name) & (keyed == sign)])
    for k, x in enumerate(by_seed.values()):
        if x.shape[1] > 1:
            less = np.repeat(values[None], x.shape[1], axis=0)
            for s in range(x.shape[1]):
                less[s, :, k] = np.delete(x, s, axis=1).mean(1)
            result += squares(np.array([cosines(one, every) for one in less]))
    return dict(zip(("cosine", "clean"), result, strict=True))


def _against_shuffled(a: np.ndarray, b: np.ndarray, alpha: float, seed: int, shuffles: int = 9999) -> dict:
    """p, effect and mde of a cosine against the same one with the dimensions of one profile shuffled."""
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
    records, drawn = [], {}
    for lens, part in contrasts.groupby("lens"):
        table, drawn[lens] = _of_lens(part, alpha, draws, seed)
        repeats = replication.narrow_with_broad(part, alpha=alpha, seed=seed).set_index(["constitution", "scope"])
        repeats = repeats.to_dict("index")
        records += [row | repeats.get((row["constitution"], row["scope"]), {}) for row in table]
    return stats.family(pd.DataFrame(records, columns=COLUMNS), by="lens", declared=grid.REFERENCE), drawn


def persona(contrasts: pd.DataFrame, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """pP of every narrow model and lens; formulae at the head of this module. One row per constitution, scope, lens.

    estimate, low, high: pP with a jackknife interval over items (and seeds) on Fisher's z scale; it is slightly
    too wide. p: share of 10 000 shuffles of the dimensions whose |cosine| is as large. effect: the cosine in standard
    deviations of the shuffles; mde: the cosine that 80 % power needs with so few dimensions. of_ceiling, of_low,
    of_high: pP free of noise (it may pass 1). repeats, repeats_low, repeats_high: the correlation over items with the
    own broad model; repeats_others: with those of the other constitutions. reason: why a number is missing. Holm and BH
    within each lens.
    """
    return persona_draws(contrasts, 2, alpha, seed)[0]


def summary(safety: pd.DataFrame, voice: pd.DataFrame | None, persona: pd.DataFrame | None, lens: str) -> pd.DataFrame:
    """All projectabilities: constitution, scope, measure, estimate, low, high, BESIDE, n_clusters, seeds, reason.

    pP is that by replication; beside it `others` (the same with the broad models of the other constitutions) and the
    cosine freed of noise, where it is defined. reason: why a number is missing.
    """
    columns = ["constitution", "scope", "measure", "estimate", "low", "high", *BESIDE, "n_clusters", "seeds", "reason"]
    tables = [t.assign(**dict.fromkeys(BESIDE, np.nan)) for t in (safety, voice) if t is not None]
    if persona is not None:
        part = persona[persona["lens"] == lens].drop(columns=["estimate", "low", "high"]).assign(measure="pP")
        measured = [*replication.REPEATS, "of_ceiling", "of_low", "of_high"]
        tables.append(part.rename(columns=dict(zip(measured, ["estimate", "low", "high", *BESIDE], strict=True))))
    tables = [table[columns] for table in tables if len(table)]
    return pd.concat(tables or [pd.DataFrame(columns=columns)], ignore_index=True)
