"""The second registration (data/persona/registration_2.yaml) point by point: what was said beforehand, what came of it.

    table = scorecard(contrasts, repeated, pooled, minimal, words)

Every number is that of the tables of 05; thresholds are the file's. A point of `what counts` is met or not met. One of
`what would count against` is against, or not shown: an interval that is merely wide counts against nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from pydantic import BaseModel
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.files import validated
from ethical_personas.paths import ROOT
from ethical_personas.persona import matching
from ethical_personas.study import grid, inputs

COLUMNS = ["part", "criterion", "registered", "measured", "estimate", "low", "high", "p", "n", "threshold", "verdict"]
COUNTS, AGAINST = "counts", "counts against"
MET, NOT_MET, HOLDS, NOT_SHOWN, UNMEASURED = "met", "not met", "against", "not shown", "not measured"


class Instrument(BaseModel):
    """What is measured."""

    lens: str


class Registration(BaseModel):
    """What the file says of deciding; the rest of it is prose."""

    instrument: Instrument
    smallest_effects_of_interest: dict[str, float]
    what_counts: dict[str, str]
    what_would_count_against: dict[str, str]


def registration() -> Registration:
    """The file; raises CompanionError naming field and remedy where it is not as it should be."""
    return validated(Registration, ROOT / inputs.REGISTRATION)


def scorecard(
    contrasts: pd.DataFrame,
    repeated: pd.DataFrame,
    pooled: pd.DataFrame,
    minimal: pd.DataFrame,
    words: pd.DataFrame,
    draws: int = 2000,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Columns COLUMNS, a row for each point of the registration, those of `what counts` first.

    Args:
        contrasts: Of lens_shifts.averaged, constitutions alone; on the lens `pairs` these are the pure swaps.
        repeated: Of replication.replication.
        pooled: Of registered.pooled.
        minimal: Of registered.minimal_pairs.
        words: Of lexical.control; constitutions beyond the compared ones count for nothing.
        draws, alpha: Of the draws behind match and lead, and of every test.

    Returns:
        measured: what was found, in words. estimate, low, high, p: of what decides; where every model is asked, of the
        model that is furthest from meeting the point (p one-sided, by Holm; each end of its interval one-sided at alpha
        over all matches and leads). n:
        models, items or constitutions, as `measured` says. threshold: the registered one.
    """
    said = registration()
    swaps = contrasts[contrasts["lens"] == said.instrument.lens]
    names = grid.compared(swaps["constitution"].unique())
    if len(names) < 2:  # a lone constitution's contrasts are 0 by themselves, and rule nothing out
        swaps, pooled, minimal = swaps.iloc[:0], pooled.iloc[:0], minimal.iloc[:0]
    words = words[words["constitution"].isin(names)]
    rows = _of_models(said, _models(swaps[swaps["constitution"].isin(names)], draws, alpha), alpha)
    along = pooled[pooled["lens"] == said.instrument.lens]
    rows += _of_replication(said, repeated, along, alpha) + _of_pooled(said, along, len(names), alpha)
    rows.append(_of_words(said, pooled, minimal, words, alpha))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.assign(n=table["n"].fillna(0).astype(int), measured=table["measured"].fillna(""))
    return table.sort_values("part", key=lambda p: p == AGAINST, kind="stable", ignore_index=True)


def _models(swaps: pd.DataFrame, draws: int, alpha: float) -> pd.DataFrame:
    """Match and lead of every model: model, measure, estimate, p, p_holm, low, high (ends at alpha over them all)."""
    table, drawn = matching.signature_draws(swaps, draws, alpha)
    known = [row for row in table.to_dict("records") if not np.isnan(row["margin"])]
    tail, records = alpha / max(1, 2 * len(known)), []
    for row in known:
        found = drawn[row["constitution"], row["scope"], row["lens"]]
        about = {"model": f"{row['constitution']} {row['scope']}"}
        ends = stats.interval(found.own, 2 * tail)
        match = {"measure": "match", "estimate": row["cosine"], "p": row["p"], "low": ends[0], "high": ends[1]}
        sd, lead = np.nanstd(found.lead), row["margin"]
        half = sp.norm.isf(tail) * sd
        ahead = {"measure": "lead", "estimate": lead, "low": lead - half, "high": lead + half}
        records += [about | match, about | ahead | {"p": sp.norm.sf(lead / sd) if sd > 0 else np.nan}]
    columns = ["model", "measure", "estimate", "p", "low", "high"]
    # With an item or two a dimension there is nothing to draw from, and so no interval.
    measured = pd.DataFrame(records, columns=columns).dropna(subset=["p", "high"], ignore_index=True)
    return stats.family(measured, by="measure")


def _of_models(said: Registration, models: pd.DataFrame, alpha: float) -> list[dict]:
    """Match and lead, asked of every model; and the upper ends that would rule an effect out in some model."""
    rows = []
    for measure in ("match", "lead"):
        part = models[models["measure"] == measure]
        passed = part["p_holm"] < alpha
        row = {"part": COUNTS, "criterion": measure, "registered": said.what_counts[measure], "n": len(part)}
        row |= {"threshold": f"p (Holm) < {alpha:g} in every model", "verdict": UNMEASURED}
        if len(part):
            least = part.sort_values(["p_holm", "estimate"], ascending=[False, True])
            row |= _numbers(least.iloc[0], "p_holm") | {"verdict": MET if passed.all() else NOT_MET}
            row["measured"] = f"{passed.sum()} of {len(part)} models; furthest from it {least['model'].iloc[0]}"
        rows.append(row)
    effects = said.smallest_effects_of_interest
    below = models[models["high"] < models["measure"].map(effects).astype(float)]
    row = {"part": AGAINST, "criterion": "match_and_lead", "n": models["model"].nunique(), "verdict": UNMEASURED}
    row |= {"registered": said.what_would_count_against["match_and_lead"]}
    row["threshold"] = f"upper end < {effects['match']:g} (match), {effects['lead']:g} (lead) in some model"
    if len(models):
        worst = models.loc[models["high"].idxmin()]
        row |= _numbers(worst) | {"verdict": HOLDS if len(below) else NOT_SHOWN}
        row["measured"] = (
            f"in {below['model'].nunique()} of {models['model'].nunique()} models; lowest upper end: "
            f"{worst['measure']} of {worst['model']}"
        )
    return [*rows, row]


def _numbers(row: pd.Series, p: str = "") -> dict:
    return {k: row[k] for k in ("estimate", "low", "high")} | ({"p": row[p]} if p else {})


def _of_replication(said: Registration, repeated: pd.DataFrame, along: pd.DataFrame, alpha: float) -> list[dict]:
    """Whether the item profile repeats, and whether that is a fingerprint only."""
    chosen = {"lens": said.instrument.lens, "kind": "disjoint", "part": "items", "constitution": grid.MEAN}
    found = repeated[(repeated[list(chosen)] == pd.Series(chosen)).all(axis=1)]
    counts = {"part": COUNTS, "registered": said.what_counts["replication"], "threshold": f"p < {alpha:g}"}
    against = {"part": AGAINST, "registered": said.what_would_count_against["replication"]}
    against["threshold"] = "it repeats, and the alignment is not above 0"
    if len(found) and len(along):
        row, mean = found.iloc[0], along.iloc[0]
        repeats = bool(row["p"] < alpha)
        counts |= {"estimate": row["within"], "low": row["low"], "high": row["high"], "p": row["p"]}
        counts |= {"n": row["n_items"], "verdict": MET if repeats else NOT_MET}
        counts["measured"] = f"r within constitutions, items as n; between them {row['between']:.2f}"
        only = repeats and mean["low"] <= 0
        against |= _aligned(mean) | {"verdict": HOLDS if only else NOT_SHOWN}
        against["measured"] = f"it {'repeats' if repeats else 'is not shown to repeat'}; mean alignment, items as n"
    return [{"criterion": "replication", "verdict": UNMEASURED} | row for row in (counts, against)]


def _aligned(mean: pd.Series) -> dict:
    return {"estimate": mean["alignment"]} | {k: mean[k] for k in ("low", "high", "p")} | {"n": mean["n_items"]}


def _of_pooled(said: Registration, along: pd.DataFrame, names: int, alpha: float) -> list[dict]:
    """The two means over all models, and whether an alignment of interest is ruled out."""
    least, effect = 1 / math.factorial(max(1, names)), said.smallest_effects_of_interest["alignment"]
    alignment: dict = {"part": COUNTS, "criterion": "pooled: alignment", "threshold": f"above 0, p < {alpha:g}"}
    match: dict = {"part": COUNTS, "criterion": "pooled: match", "threshold": f"p = {least:.3f}, 1 of {1 / least:.0f}"}
    against: dict = {"part": AGAINST, "criterion": "pooled", "threshold": f"upper end < {effect:g}"}
    for row in (alignment, match):
        row |= {"registered": said.what_counts["pooled"], "verdict": UNMEASURED}
    against |= {"registered": said.what_would_count_against["pooled"], "verdict": UNMEASURED}
    if len(along):
        mean = along.iloc[0]
        above = mean["alignment"] > 0 and mean["p"] < alpha
        alignment |= _aligned(mean) | {"verdict": MET if above else NOT_MET}
        alignment["measured"] = f"mean alignment of {mean['models']} models, items as n"
        if least < alpha:  # of two or three constitutions the best of all exchanges is no rare one
            match |= {"estimate": mean["cosine"], "p": mean["p_constitutions"], "n": names}
            match |= {"measured": f"mean match of {mean['models']} models, constitutions as n"}
            match |= {"verdict": MET if mean["p_constitutions"] <= least + 1e-9 else NOT_MET}
        against |= _aligned(mean) | {"p": np.nan, "verdict": HOLDS if mean["high"] < effect else NOT_SHOWN}
        side = "wholly below" if mean["high"] < effect else "not wholly below"
        against["measured"] = f"the interval of the mean alignment lies {side} {effect:g}, items as n"
    return [alignment, match, against]


def _of_words(
    said: Registration, pooled: pd.DataFrame, minimal: pd.DataFrame, words: pd.DataFrame, alpha: float
) -> dict:
    """Whether a match on likelihood, or on all pairs, is one of words: gone on the swaps, or with the words taken out.

    Taken as a match: a mean above that of exchanged constitutions (p < alpha); as gone with the words: a mean of what
    is left that is below the smallest effect of interest.
    """
    row = {"part": AGAINST, "criterion": "words", "registered": said.what_would_count_against["words"]}
    row |= {"threshold": f"a match (p < {alpha:g}) there and none on the pure swaps", "verdict": UNMEASURED}
    lenses, kinds = pooled.set_index("lens"), minimal.set_index("pairs")
    if "likelihood" not in lenses.index or not {"all", "pure swaps"} <= set(kinds.index):
        return row
    found = {
        "likelihood": lenses.loc["likelihood"],
        "all pairs": kinds.loc["all"],
        "pure swaps": kinds.loc["pure swaps"],
    }
    shown = {name: bool(part["p_constitutions"] < alpha) for name, part in found.items()}
    left = words.loc[words["lens"] == "likelihood", "cosine_without"].mean()
    goes = shown["likelihood"] and left < said.smallest_effects_of_interest["match"]
    told = [f"{part['cosine']:.2f} (p = {part['p_constitutions']:.3f}) on {name}" for name, part in found.items()]
    row["measured"] = f"mean match {', '.join(told)}; on likelihood without the words {left:.2f}; models as n"
    swaps = found["pure swaps"]
    row |= {"estimate": swaps["cosine"], "p": swaps["p_constitutions"], "n": swaps["models"]}
    elsewhere = shown["likelihood"] or shown["all pairs"]
    row["verdict"] = HOLDS if elsewhere and (not shown["pure swaps"] or goes) else NOT_SHOWN
    return row
