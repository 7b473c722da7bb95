"""Does a model's profile match its signature, and does it match it best?

These are contrasts, each constitution's shift minus the mean shift of all; so are the signs that they are matched with:
each minus the mean sign of the compared constitutions (`expected`). Chosen after the registration, whose own score is
in persona/registered.py. Cosines are taken over the dimensions on which the signature has a sign. Two permutation
nulls: the signature placed on other dimensions (does this profile fit better than a signature of the same shape placed
at random?), and constitutions shuffled, the same way in all scopes (does the label matter at all?).
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.stats import exact
from ethical_personas.study import grid, materials

MATCH = ["cosine", "low", "high", "p", "best", "best_cosine", "identified", "margin"]
MATCH += ["alignment", "alignment_low", "alignment_high", "alignment_p", "alignment_mde"]
EXACT = 20_000  # arrangements above which the null is sampled instead


def cosine(profile: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Cosine of profiles (..., dimensions) with signs (..., dimensions) over the cells where signs are not 0.

    NaN where a profile is 0 on all those cells.
    """
    # A dimension without a registered sign carries no prediction, so movement on it must not count against the match.
    length = np.sqrt((profile**2 * (signs != 0)).sum(-1)) * np.linalg.norm(signs, axis=-1)
    product = (profile * signs).sum(-1)
    return np.divide(product, length, out=np.full(np.shape(product), np.nan), where=length > 1e-12)


@lru_cache(maxsize=32)
def arrangements(signs: tuple[float, ...]) -> np.ndarray:
    """All distinct placings of a signature's values over the dimensions, (placings, dimensions).

    10! permutations of ten values repeat each other where values do; choosing the places of each value gives each
    placing once. Above EXACT of them the null is a seeded sample of permutations with the observed one among them, so
    that p is never 0.
    """
    values, counts = np.unique(signs, return_counts=True)
    if math.factorial(len(signs)) / math.prod(map(math.factorial, counts)) > EXACT:
        rng = np.random.default_rng(0)
        return np.array([signs, *(rng.permutation(signs) for _ in range(9999))], float)
    placings = [np.full(len(signs), np.nan)]
    for value, count in zip(values, counts, strict=True):
        placed = []
        for row in placings:
            for places in itertools.combinations(np.flatnonzero(np.isnan(row)), count):
                placed.append(row.copy())
                placed[-1][list(places)] = value
        placings = placed
    return np.array(placings)


def profiles(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Mean over items and seeds: one row per constitution, scope and lens, one column per dimension."""
    by_item = contrasts.groupby(["constitution", "scope", "lens", "dimension", "id"])["contrast"].mean()
    return by_item.groupby(level=[0, 1, 2, 3]).mean().unstack("dimension")


def expected(signatures: dict[str, dict[str, int]], constitutions, dimensions) -> tuple[list[str], np.ndarray]:
    """Names of those constitutions that have a signature, and the contrasts it expects (signatures, dimensions).

    Those are its signs minus the mean sign of the compared constitutions, as a contrast is a shift minus their mean
    shift. A dimension without a registered sign stays 0: theory gives it no direction, whatever the others do.
    """
    names = [c for c in signatures if c in set(constitutions)]
    signs = [[signatures[c].get(d, 0) for d in dimensions] for c in names]
    signs = np.array(signs, float).reshape(len(names), len(dimensions))
    shared = [names.index(c) for c in grid.compared(names)]
    common = signs[shared].mean(0) if len(shared) > 1 else 0.0
    return names, np.where(signs == 0, 0.0, signs - common).round(9)


class MatchDraws(NamedTuple):
    """What the uncertainty of one model's match rests on."""

    own: np.ndarray  # (draws,) bootstrap draws of the cosine with the own signature
    lead: np.ndarray  # (draws,) the same minus the best other cosine of the draw
    null: np.ndarray  # (placings,) cosines of the signature with all its placings on the dimensions


def signature_match(contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """One row per constitution, scope and lens, seeds averaged.

    Columns cosine (with its own signature), low, high (percentile bootstrap over items, and seeds where there are
    several: resampling adds their noise a second time, so the draws are biased towards 0), p (one-sided, over all
    placings of the signature on the dimensions), best (best-matching signature), best_cosine, identified (1.0 when that
    is its own), margin (own cosine minus the best other), alignment (mean contrast in the registered direction, lens
    units), alignment_low, alignment_high, alignment_p, alignment_mde (t, items as clusters; two-way with seeds),
    n_items and seeds.
    Signatures of the compared constitutions of the run (grid.compared), and a model's own. NaN for a constitution
    without a signature, for a profile that does not move, and where no other signature is there to be told from.
    """
    return signature_draws(contrasts, draws, alpha, seed)[0]


def signature_draws(
    contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, dict[tuple[str, str, str], MatchDraws]]:
    """The table of `signature_match`, and the draws behind it by (constitution, scope, lens)."""
    records, drawn = [], {}
    rivals, signatures = grid.compared(contrasts["constitution"].unique()), materials.signatures()
    for (constitution, scope, lens), part in contrasts.groupby(["constitution", "scope", "lens"]):
        dimensions = sorted(part["dimension"].unique())
        names, signs = expected(signatures, [*rivals, constitution], dimensions)
        items = part.groupby(["dimension", "id", "keyed"], as_index=False)["contrast"].mean()
        profile = np.array([items.loc[items["dimension"] == d, "contrast"].mean() for d in dimensions])
        cosines = cosine(profile[None], signs)
        row = {"constitution": constitution, "scope": scope, "lens": lens, "n_items": len(items)}
        row["seeds"] = part["seed"].nunique()
        row |= dict.fromkeys(MATCH, np.nan) | {"best": None}
        if not np.isnan(cosines).all():
            best = int(np.nanargmax(cosines))
            row |= {"best": names[best], "best_cosine": cosines[best]}
            if constitution in names and len(names) > 1:
                own = names.index(constitution)
                row |= {"cosine": cosines[own], "p": _placed(profile, signs[own])}
                resampled = cosine(profile_draws(part, draws, seed)[:, None], signs[None])
                lead = resampled[:, own] - np.nanmax(np.delete(resampled, own, axis=1), axis=1)
                null = cosine(arrangements(tuple(signs[own])), signs[own])
                drawn[constitution, scope, lens] = MatchDraws(resampled[:, own], lead, null)
                row["low"], row["high"] = stats.interval(resampled[:, own], alpha)
                row |= alignment(part, signatures[constitution], alpha)
                others = np.delete(cosines, own)
                row |= {"identified": float(best == own), "margin": cosines[own] - np.nanmax(others)}
        records.append(row)
    return pd.DataFrame(records, columns=["constitution", "scope", "lens", *MATCH, "n_items", "seeds"]), drawn


def alignment(part: pd.DataFrame, signs: dict[str, int], alpha: float) -> dict:
    """Mean of sign x contrast over the items of the signature's non-zero dimensions, with a t interval.

    Strata are the direction in which agreeing with the item counts for the signature: a model that agrees with
    everything moves the two strata in opposite directions, which is acquiescence and must not count as noise.
    """
    sign = part["dimension"].map(signs).fillna(0)
    part = part.assign(toward=part["contrast"] * sign, agreeing=part["keyed"] * sign)[sign != 0]
    wide = part.pivot_table(index=["agreeing", "id"], columns="seed", values="toward")
    fit = stats.linear(wide.to_numpy(), strata=strata(wide.index.get_level_values("agreeing")))
    low, high = fit.interval(alpha)
    row = {"alignment": fit.estimate, "alignment_low": low, "alignment_high": high}
    return row | {"alignment_p": fit.p, "alignment_mde": fit.mde(alpha)}


def _placed(profile: np.ndarray, signs: np.ndarray) -> float:
    """Share of all placings of a signature on the dimensions that fit a profile at least as well; NaN: no profile."""
    observed = float(cosine(profile, signs))
    null = cosine(profile[None], arrangements(tuple(signs)))
    return np.nan if np.isnan(observed) else float(np.mean(null >= observed - 1e-12))


def profile_draws(part: pd.DataFrame, draws: int, seed: int = 0) -> np.ndarray:
    """Bootstrap draws of one model's profile, (draws, dimensions in sorted order), from its rows of one lens.

    Items are resampled within dimension and keying where there are several, and seeds where there are several.
    """
    wide = part.pivot(index=["dimension", "keyed", "id"], columns="seed", values="contrast")
    dimension, keyed = (np.asarray(wide.index.get_level_values(level)) for level in ("dimension", "keyed"))
    resampler = stats.Resampler(strata(dimension, keyed), draws, seed)
    weights, x = resampler.seeds(wide.shape[1]), wide.to_numpy(float)
    return np.stack([resampler.mean(x, dimension == d, weights, binary=False) for d in np.unique(dimension)], axis=-1)


def strata(*labels) -> np.ndarray:
    """One label an item, joined from several.

    Without the last of them where a stratum would hold a single item: it could not vary in a resample, and the interval
    would be too narrow.
    """
    whole = pd.Series([" ".join(map(str, row)) for row in zip(*labels, strict=True)])
    if whole.value_counts().min() > 1:
        return whole.to_numpy()
    return strata(*labels[:-1]) if len(labels) > 1 else np.zeros(len(whole))


def identification(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Per lens: how many models match their own signature best, against shuffled constitution labels.

    Columns lens, identified, models, chance (expected count under the null), p_identified, mean (cosine with
    the own signature), p_mean. Models are those of the compared constitutions (grid.compared): what is added to the
    study takes no part. Constitutions are the unit: one shuffle renames them in all scopes alike, since models of one
    constitution share its text and its rows, and no p below 1 / (number of constitutions)! is possible. A lens that
    calls every model the same name gains nothing by it.
    """
    rivals = grid.compared(contrasts["constitution"].unique())
    table = profiles(contrasts[contrasts["constitution"].isin(rivals)])
    names, signs = expected(materials.signatures(), rivals, table.columns)
    table = table[[c in names for c in table.index.get_level_values("constitution")]]
    records = []
    for lens, part in table.groupby(level="lens"):
        scopes = []
        for _, scope in part.groupby(level="scope"):
            own = [names.index(c) for c in scope.index.get_level_values("constitution")]
            scopes.append((cosine(scope.to_numpy()[:, None], signs[None]), own))
        records.append({"lens": lens} | exact.shuffle_test(scopes))
    return pd.DataFrame(records, columns=["lens", "identified", "models", "chance", "p_identified", "mean", "p_mean"])


def dimension_profile(contrasts: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Contrast by dimension with intervals over items and wordings, and seeds where there are several (all resampled).

    Takes wording contrasts. Columns constitution, scope, lens, dimension, expected (registered sign or NaN),
    contrast, low, high, scaled, scaled_low, scaled_high (divided by the lens's own spread over items, so that
    lenses can stand side by side), n_items, wordings, seeds.
    """
    signatures = materials.signatures()
    reference = contrasts[contrasts["constitution"].isin(grid.compared(contrasts["constitution"].unique()))]
    spread = reference.groupby(["lens", "constitution", "scope", "seed", "id"])["contrast"].mean()
    spread = spread.groupby("lens").std()
    records = []
    for (constitution, scope, lens), part in contrasts.groupby(["constitution", "scope", "lens"]):
        table = part.pivot_table(index=["dimension", "keyed", "id"], columns=["seed", "wording"], values="contrast")
        dimensions = np.asarray(table.index.get_level_values("dimension"))
        resampler = stats.Resampler(strata(dimensions, table.index.get_level_values("keyed")), draws, seed)
        seeds, wordings = (resampler.seeds(table.columns.unique(level).size) for level in ("seed", "wording"))
        # Seeds and wordings are crossed: the weight of a column is the product of its two weights.
        crossed = (seeds[:, :, None] * wordings[:, None]).reshape(draws, -1)
        unit = spread[lens] if spread[lens] > 1e-12 else np.nan
        for dimension in sorted(set(dimensions)):
            inside = dimensions == dimension
            drawn = resampler.mean(table.to_numpy(), inside, crossed, binary=False)
            low, high = stats.interval(drawn, alpha)
            mean = float(np.nanmean(table.to_numpy()[inside]))
            row = {"constitution": constitution, "scope": scope, "lens": lens, "dimension": dimension}
            row["expected"] = signatures.get(constitution, {}).get(dimension, np.nan)
            row |= {"contrast": mean, "low": low, "high": high}
            row |= {"scaled": mean / unit, "scaled_low": low / unit, "scaled_high": high / unit}
            row |= {"n_items": int(inside.sum()), "wordings": wordings.shape[1], "seeds": seeds.shape[1]}
            records.append(row)
    return pd.DataFrame(records)


def dimension_contrast(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """The flagship contrast: do a constitution's models agree more with one dimension's items than with another's?

    `table`: item shifts (column signed: relative to the source) or contrasts (column contrast: relative also to
    the other constitutions). One row per scope and lens of each constitution that names two dimensions in
    data/study.yaml: measure, estimate (mean over the first dimension's items minus mean over the second's), interval,
    p, effect, mde and the rest of stats.COLUMNS. Items are the clusters, within keying: half the items are
    reverse-keyed, and a model that agrees more with everything would otherwise look noisy.
    """
    value = "contrast" if "contrast" in table.columns else "signed"
    records = []
    for constitution, (first, second) in grid.CONTRASTS.items():
        kept = table[(table["constitution"] == constitution) & table["dimension"].isin([first, second])]
        for (scope, lens), part in kept.groupby(["scope", "lens"]):
            wide = part.pivot_table(index=["dimension", "keyed", "id"], columns="seed", values=value)
            dimension, keyed = (wide.index.get_level_values(level) for level in ("dimension", "keyed"))
            sizes = wide.groupby([dimension, keyed]).size()
            keyed = keyed if len(sizes) == 4 and sizes.min() > 1 else None  # both keys on both sides
            row = stats.groups(wide.to_numpy(), dimension == first, keyed, alpha)
            measure = "contrast" if value == "contrast" else "shift"
            records.append({"constitution": constitution, "scope": scope, "lens": lens, "measure": measure} | row)
    return pd.DataFrame(records, columns=["constitution", "scope", "lens", "measure", *stats.COLUMNS])
