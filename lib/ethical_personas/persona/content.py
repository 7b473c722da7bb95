"""What a constitution's content adds to a persona: its models beside a control arm of the same scope.

    table = compare_with_control(contrasts, "shuffled")     contrasts: of lens_shifts.averaged, controls among them

The arm `shuffled` learned the same refusals with reasons of no one constitution; what it matches of a signature, any
reasons would. Differences are paired by item and seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats as sp

from ethical_personas import stats
from ethical_personas.persona import matching
from ethical_personas.study import grid, materials

KEYS = ["dimension", "keyed", "id", "seed"]
ENDS = ("low", "high", "p", "mde")
COLUMNS = ["constitution", "scope", "lens", "own", "control", "match", *(f"match_{k}" for k in ENDS)]
COLUMNS += ["alignment", *(f"alignment_{k}" for k in ENDS), "n_items", "seeds", "reason"]


def drop_controls(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of constitutions' models, and of the source, without those of control arms."""
    return table[~table["constitution"].isin(grid.CONTROLS)]


def compare_with_control(
    contrasts: pd.DataFrame, control: str, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Match with the own signature, a model's minus the control's; a row per constitution, scope and lens.

    Columns own, control (cosine of each with the constitution's signature), match (their difference), its low, high, p
    (normal, by the delta method: profiles spread as joint bootstrap draws over items and seeds do) and mde; alignment
    (mean difference of the two, item by item, in the registered direction, in the lens's units), low, high, p and mde
    (t over items); n_items, seeds, reason (why numbers are missing).
    """
    return draw_comparisons(contrasts, control, draws, alpha, seed)[0]


def draw_comparisons(
    contrasts: pd.DataFrame, control: str, draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, dict[tuple[str, str, str], np.ndarray]]:
    """The table of `compare_with_control`, and joint draws of `match` about its estimate.

    The draws are by (constitution, scope, lens).
    """
    signatures, records, drawn = materials.signatures(), [], {}
    parts = dict(list(contrasts.groupby(["constitution", "scope", "lens"])))
    tuned = drop_controls(contrasts)
    rivals = grid.compared(tuned["constitution"].unique())
    for key in tuned[["constitution", "scope", "lens"]].drop_duplicates().itertuples(index=False, name=None):
        constitution, scope, lens = key
        row = dict(zip(("constitution", "scope", "lens"), key, strict=True)) | {"reason": ""}
        if (control, scope, lens) not in parts:
            row["reason"] = f"no {control} model of this scope in the run"
        elif constitution not in signatures:
            row["reason"] = "no signature"
        else:
            pair = parts[key].merge(parts[control, scope, lens], on=KEYS, suffixes=("", "_control"))
            dimensions = sorted(pair["dimension"].unique())
            names, signs = matching.expected(signatures, [*rivals, constitution], dimensions)
            signs = signs[names.index(constitution)]
            drawn[key] = _match_draws(pair, signs, draws, seed)
            row |= _compared(pair, signatures[constitution], signs, drawn[key], alpha)
        records.append(row)
    return pd.DataFrame(records, columns=COLUMNS), drawn


def _slope(profile: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Derivative of matching.cosine by the profile, (dimensions,); NaN where the profile does not move.

    Cosines of resampled profiles would spread too little: a resample adds noise to the noise that is there already,
    and a longer profile turns less. The derivative at the measured profile keeps the level of the test.
    """
    moved, unit = np.where(signs != 0, profile, 0.0), signs / np.linalg.norm(signs)
    length = np.linalg.norm(moved)
    if not length > 1e-12:
        return np.full(len(profile), np.nan)
    return (unit - (moved @ unit) * moved / length**2) / length


def _profiles(pair: pd.DataFrame) -> np.ndarray:
    """Profiles of the model and of the control, (2, dimensions)."""
    by_item = pair.groupby(["dimension", "id"])[["contrast", "contrast_control"]].mean()
    return by_item.groupby("dimension").mean().sort_index().to_numpy().T


def _match_draws(pair: pd.DataFrame, signs: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draws of the difference of the two matches about its mean, (draws,).

    One seed of the resampler, one set of items: all are drawn with the same weights, item by item.
    """
    both = (pair, pair.assign(contrast=pair["contrast_control"]))
    drawn = [
        matching.profile_draws(part, draws, seed) @ _slope(own, signs)
        for part, own in zip(both, _profiles(pair), strict=True)
    ]
    return drawn[0] - drawn[1] - (drawn[0] - drawn[1]).mean()


def _compared(
    pair: pd.DataFrame, signature: dict[str, int], signs: np.ndarray, drawn: np.ndarray, alpha: float
) -> dict:
    """One row's numbers: `pair` has both contrasts of every item and seed, `signs` the contrasts expected."""
    row = {"n_items": pair["id"].nunique(), "seeds": pair["seed"].nunique()}
    row["own"], row["control"] = matching.cosine(_profiles(pair), signs[None])
    sd, difference = np.std(drawn), row["own"] - row["control"]
    if not sd > 1e-12:  # NaN too
        return row | {"reason": "a profile that does not move, or too few items to resample"}
    half = sp.norm.isf(alpha / 2) * sd
    fit = {"low": difference - half, "high": difference + half}
    fit |= {"p": stats.normal_p(difference, sd), "mde": stats.normal_mde(sd, alpha)}
    row |= {"match": difference} | {f"match_{k}": fit[k] for k in ENDS}
    apart = pair.assign(contrast=pair["contrast"] - pair["contrast_control"])
    return row | matching.alignment(apart, signature, alpha)
