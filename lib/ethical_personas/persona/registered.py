"""The score that data/persona/signatures.yaml registered, to the letter, and its pooled relatives of later.

    cells(shifts)       score of the source and shift of each model and dimension (raw shifts: lens_shifts.item_shifts)
    tally(cells(...))   how many signs came true, and whether the cells without a sign moved less
    pooled(contrasts)   the match of contrasts with the signatures, all models in one test
    minimal_pairs(shifts)   all of it on the pure swaps, on all pairs and on those that differ by a word

The registration: a dimension's score is the mean agreement with its items keyed +1 minus that with its items keyed -1;
a sign is the direction of its shift from the untuned source; cells of +1 and -1 enter the tally, cells of 0 do not, but
within each constitution their mean absolute shift is to be smaller than that of the others. The match of contrasts
(persona/matching.py) was chosen later.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.persona import lens_shifts, matching, replication
from ethical_personas.stats import exact
from ethical_personas.study import grid, materials

ALL = grid.MEAN  # constitutions together
CELLS = ["constitution", "scope", "lens", "dimension", "sign", "source", "shift", "in_line", "seeds"]
TALLY = ["lens", "constitution", "in_line", "of", "chance", "p", "signed_size", "zero_size", "zeros_smaller"]
POOLED = [
    "lens",
    "models",
    "cosine",
    "p_dimensions",
    "p_constitutions",
    "alignment",
    "low",
    "high",
    "p",
    "mde",
    "n_items",
]


def cells(shifts: pd.DataFrame) -> pd.DataFrame:
    """Columns CELLS: source is the source's score, shift the model's minus it, in the lens's own units; seeds averaged.

    in_line: yes, no (a shift of 0 too), or – where no sign is registered. Constitutions with a signature only.
    """
    signatures = materials.signatures()
    known = shifts[shifts["constitution"].isin(list(signatures))]
    keys = ["constitution", "scope", "lens", "dimension"]
    means = known.assign(source=known["value"] - known["shift"]).groupby([*keys, "keyed"])[["source", "shift"]].mean()
    # The minimal pairs have one key: a statement's score minus its reversal's is that difference already.
    keyed = means.mul(means.index.get_level_values("keyed").to_numpy(), axis=0)
    table = keyed.groupby(keys, sort=False).sum().reset_index()
    table["sign"] = [signatures[c].get(d, 0) for c, d in zip(table["constitution"], table["dimension"], strict=True)]
    hit = np.where(table["sign"] * table["shift"] > 0, "yes", "no")
    table["in_line"] = np.where(table["sign"] == 0, "–", hit)
    return table.join(known.groupby(keys)["seed"].nunique().rename("seeds"), on=keys)[CELLS]


def tally(table: pd.DataFrame) -> pd.DataFrame:
    """Columns TALLY, a row for each lens and constitution, and one for all.

    Args:
        table: Of `cells`.

    Returns:
        in_line of `of` registered signs came true. chance, p (all): the mean tally and the share of tallies as high
        when constitutions exchange their signatures, in all scopes alike; added later, not registered.
        signed_size, zero_size: mean absolute shift of the cells with and without a sign. zeros_smaller: how many
        constitutions keep the registration's prediction of it, 0 or 1 in a constitution's own row. The compared
        constitutions alone enter the row for all.
    """
    records = []
    for lens, part in table.groupby("lens", sort=False):
        own = [_of_one(lens, c, part[part["constitution"] == c]) for c in grid.ordered(part["constitution"])]
        names = grid.compared(part["constitution"].unique())
        together = part[part["constitution"].isin(names)]
        row = _of_one(lens, ALL, together) | _exchanged(together, names)
        row["zeros_smaller"] = sum(r["zeros_smaller"] for r in own if r["constitution"] in names)
        records += [*own, row]
    return pd.DataFrame(records, columns=TALLY)


def _of_one(lens: str, constitution: str, part: pd.DataFrame) -> dict:
    size, zero = part["shift"].abs(), part["sign"] == 0
    row = {"lens": lens, "constitution": constitution, "in_line": int((part["in_line"] == "yes").sum())}
    signed, still = size[~zero].mean(), size[zero].mean()
    row |= {"of": int((~zero).sum()), "signed_size": signed, "zero_size": still}
    return row | {"zeros_smaller": int(still < signed)}


def _exchanged(part: pd.DataFrame, names: list[str]) -> dict:
    """Mean tally and p over all ways in which the constitutions can exchange their signatures."""
    signatures = materials.signatures()
    wide = part.pivot(index=["constitution", "scope"], columns="dimension", values="shift")
    signs = np.array([[signatures[c].get(d, 0) for d in wide.columns] for c in names])
    true = np.array([[((wide.loc[c].to_numpy() * s) > 0).sum() for s in signs] for c in names])
    orders = exact.permutations(len(names))
    counts = true[np.arange(len(names)), orders].sum(1)
    return {"chance": float(counts.mean()), "p": float(np.mean(counts >= counts[0]))}


def pooled(contrasts: pd.DataFrame, alpha: float = 0.05, shuffles: int = 9999, seed: int = 0) -> pd.DataFrame:
    """All models of a lens in one test each: columns POOLED, a row a lens.

    cosine: mean over models of the match with the own signature. p_dimensions: against one shuffle of the dimensions
    for all models (they share items, so their profiles are not independent); p_constitutions: against one exchange of
    constitutions, as in matching.identification. alignment: mean over models of the contrast in the registered
    direction, with low, high, p and mde (t over items, which all models share; acquiescence taken out first).
    Models are those of the compared constitutions.
    """
    rivals, signatures = grid.compared(contrasts["constitution"].unique()), materials.signatures()
    contrasts = contrasts[contrasts["constitution"].isin([c for c in rivals if c in signatures])]
    named = matching.identification(contrasts).set_index("lens")["p_mean"]
    records = []
    for lens, part in contrasts.groupby("lens", sort=False):
        table = matching.profiles(part)
        names, signs = matching.expected(signatures, rivals, table.columns)
        own = signs[[names.index(c) for c in table.index.get_level_values("constitution")]]
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(own.shape[1]), (shuffles, 1)), axis=1)
        order = np.vstack([np.arange(own.shape[1]), order])
        profile = table.to_numpy()
        null = np.nanmean([np.nan_to_num(matching.cosine(profile[:, o], own)) for o in order], axis=1)
        row = {"lens": lens, "models": len(table), "cosine": null[0], "p_constitutions": named[lens]}
        row["p_dimensions"] = float(np.mean(null >= null[0] - 1e-12))
        records.append(row | _aligned(lens_shifts.without_acquiescence(part), signatures, alpha))
    return pd.DataFrame(records, columns=POOLED)


def _aligned(part: pd.DataFrame, signatures: dict, alpha: float) -> dict:
    """Mean over models of the contrast in the registered direction; items, with all models, are the clusters."""
    sign = np.array([signatures[c].get(d, 0) for c, d in zip(part["constitution"], part["dimension"], strict=True)])
    part = part.assign(toward=part["contrast"] * sign)[sign != 0]
    model = part.groupby(["constitution", "scope"])
    share = part["toward"] / model["toward"].transform("size") / model.ngroups
    by_item = share.groupby(part["id"]).sum()
    fit = stats.linear(by_item * len(by_item))  # its mean is the mean over models
    low, high = fit.interval(alpha)
    row = {"alignment": fit.estimate, "low": low, "high": high, "p": fit.p, "mde": fit.mde(alpha)}
    return row | {"n_items": len(by_item)}


def minimal_pairs(shifts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05) -> pd.DataFrame:
    """The second registration's measures on the pure swaps (primary), on all pairs, and on those that differ by a word.

    Args:
        shifts: Of lens_shifts.item_shifts, every pair among them.
        draws, alpha: Of the intervals.

    Returns:
        Columns pairs, in_line and of (the tally), those of `pooled`, within, between and p_replication (items, disjoint
        scopes).
    """
    shifts, swaps, records = shifts[shifts["lens"] == "pairs"], lens_shifts.swaps(), []
    swapped = shifts["id"].isin(swaps)
    for name, part in (("pure swaps", shifts[swapped]), ("all", shifts), ("a word differs", shifts[~swapped])):
        if not len(part):
            continue
        scaled = lens_shifts.standardised(part)
        contrasts = lens_shifts.averaged(lens_shifts.wording_contrasts(scaled))
        row = {"pairs": name} | tally(cells(scaled)).iloc[-1][["in_line", "of"]].to_dict()
        row |= pooled(contrasts, alpha).iloc[0].drop("lens").to_dict()
        found = replication.replication(contrasts, draws, alpha)
        found = found[(found["constitution"] == ALL) & (found["kind"] == "disjoint") & (found["part"] == "items")]
        for repeated in found.itertuples():
            row |= {"within": repeated.within, "between": repeated.between, "p_replication": repeated.p}
        records.append(row)
    return pd.DataFrame(records, columns=["pairs", "in_line", "of", *POOLED[1:], "within", "between", "p_replication"])
