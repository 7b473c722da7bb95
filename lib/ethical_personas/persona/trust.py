"""How far the lenses can be trusted: acquiescence, reliability, position bias, and each other."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pingouin as pg

from ethical_personas import stats
from ethical_personas.persona import lens_shifts
from ethical_personas.run import Run
from ethical_personas.stats import bootstrap
from ethical_personas.study import grid, materials, rows


def acquiescence(
    run: Run, models: list[str], alpha: float = 0.05, items: list[rows.Item] | None = None
) -> pd.DataFrame:
    """Agreeing with an item and with its reverse: mean unsigned score, both keys weighing the same.

    One row per model (the source first) and lens: model, constitution, scope, seed, lens, acquiescence, low, high,
    shift (minus the source's), shift_low, shift_high (t over items). 0 is neutral for choice and text; the
    likelihood lens has no neutral point, so only its shift speaks.
    """
    frames = {}
    for model in dict.fromkeys([grid.SOURCE, *models]):
        frame = lens_shifts.described(lens_shifts.scores(run, model), items)
        frames[model] = frame.groupby(["lens", "keyed", "id"])["value"].mean()
    found = []
    for model, frame in frames.items():
        moved = frame - frames[grid.SOURCE]
        for lens in frame.index.unique("lens"):
            level, low, high = _balanced(frame[lens], alpha)
            row = {
                "model": model,
                **grid.about(model),
                "lens": lens,
                "acquiescence": level,
                "low": low,
                "high": high,
            }
            shift = _balanced(moved[lens], alpha)
            found.append(row | dict(zip(("shift", "shift_low", "shift_high"), shift, strict=True)))
    return pd.DataFrame(found)


def _balanced(values: pd.Series, alpha: float) -> tuple[float, float, float]:
    """Mean of the two keys' means with its t interval over items; values indexed by keyed, id."""
    means = values.groupby("keyed").mean()
    rest = values - values.groupby("keyed").transform("mean")
    fit = stats.linear(rest + means.mean())
    return (fit.estimate, *fit.interval(alpha))


def reliability(shifts: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Cronbach's alpha per lens and dimension: lens, dimension, alpha, low, high, items, subjects.

    Subjects are models x wordings; scores are signed shifts from the source at the same wording, so that what
    an item or a wording has in common for all models does not count as consistency. A subject's shift in
    acquiescence (the mean of its two keys' mean shifts over all items) is taken out first: it enters the two keys
    with opposite signs, and would drive alpha far below zero whatever the items measure. NaN where a dimension
    does not vary over subjects or has one item.
    """
    subject = ["lens", "model", "wording"]
    level = shifts.groupby([*subject, "keyed"])["shift"].mean().groupby(subject).mean().rename("level")
    shifts = shifts.join(level, on=subject)
    shifts["signed"] = shifts["signed"] - shifts["keyed"] * shifts["level"]
    found = []
    for (lens, dimension), part in shifts.groupby(["lens", "dimension"]):
        wide = part.pivot_table(index=["model", "wording"], columns="id", values="signed")
        row = {"lens": lens, "dimension": dimension, "alpha": np.nan, "low": np.nan, "high": np.nan}
        if wide.shape[1] > 1 and len(wide) > 2 and wide.sum(axis=1).var() > 1e-12:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                value, (low, high) = pg.cronbach_alpha(wide.reset_index(drop=True), ci=1 - alpha)
            row |= {"alpha": float(value), "low": float(low), "high": float(high)}
        found.append(row | {"items": wide.shape[1], "subjects": len(wide)})
    return pd.DataFrame(found)


def lens_agreement(contrasts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Do two lenses see the same? Over item contrasts of all models, a row per pair of lenses.

    Columns lens_a, lens_b, r (Pearson), low, high (bootstrap over items, all models of an item together),
    opposite (share of opposite signs where both moved), n (items x models), n_items.
    """
    keys = ["constitution", "scope", "seed"]
    wide = contrasts.pivot_table(index=[*keys, "id"], columns="lens", values="contrast")
    items = wide.index.get_level_values("id")
    codes, names = pd.factorize(items)
    weights = stats.Resampler(np.zeros(len(names)), draws, seed).weights[:, codes]
    found = []
    for a, b in itertools.combinations([n for n in grid.ITEM_LENSES if n in wide.columns], 2):
        x, y = wide[a].to_numpy(), wide[b].to_numpy()
        there = ~(np.isnan(x) | np.isnan(y))
        x, y, w = x[there], y[there], weights[:, there]
        moved = (np.abs(x) > 1e-12) & (np.abs(y) > 1e-12)
        low, high = stats.interval(bootstrap.correlation(x, y, w), alpha)
        row = {"lens_a": a, "lens_b": b, "r": float(bootstrap.correlation(x, y, np.ones((1, len(x))))[0])}
        row |= {"low": low, "high": high}
        row["opposite"] = float(np.mean(x[moved] * y[moved] < 0)) if moved.any() else np.nan
        found.append(row | {"n": len(x), "n_items": len(names)})
    return pd.DataFrame(found, columns=["lens_a", "lens_b", "r", "low", "high", "opposite", "n", "n_items"])


def position_bias(run: Run, models: list[str], alpha: float = 0.05) -> pd.DataFrame:
    """Choice lens: log-odds of agreement with the agreeing word first, minus with it last.

    One row per model and wording: model, constitution, scope, seed, wording, bias, low, high (t over items),
    orders_r (correlation of the two orders over items: what the order leaves of the item).
    """
    found = []
    for model in dict.fromkeys([grid.SOURCE, *models]):
        frame = lens_shifts.scores(run, model)
        for wording, part in frame[frame["lens"] == "choice"].groupby("wording"):
            wide = part.pivot(index="id", columns="order", values="value")
            difference = (wide["agree_first"] - wide["disagree_first"]).to_numpy()
            fit = stats.linear(difference)
            low, high = fit.interval(alpha)
            both = bootstrap.correlation(
                wide["agree_first"].to_numpy(), wide["disagree_first"].to_numpy(), np.ones((1, len(wide)))
            )
            row = {"model": model, **grid.about(model), "wording": wording, "bias": fit.estimate}
            found.append(row | {"low": low, "high": high, "orders_r": float(both[0])})
    return pd.DataFrame(found)


def top_items(contrasts: pd.DataFrame, lens: str, number: int = 3) -> pd.DataFrame:
    """The items that set each constitution apart most, scopes and seeds averaged, on one lens.

    Columns constitution, statement, dimension, keyed, agreement (contrast in *un*signed agreement with the
    statement: positive means agrees more than the other constitutions), in_line (with the registered sign:
    yes, no, or – where the signature says nothing), models.
    """
    statements = {i.id: i.statement for i in materials.items()}
    signatures = materials.signatures()
    part = contrasts[contrasts["lens"] == lens]
    mean = part.groupby(["constitution", "dimension", "id", "keyed"], as_index=False)["contrast"].mean()
    mean["size"] = mean["contrast"].abs()
    top = mean.sort_values(["constitution", "size", "id"], ascending=[True, False, True])
    top = top.groupby("constitution").head(number)
    counts = part.groupby(["constitution", "id"]).size()
    found = []
    for row in top.itertuples():
        expected = signatures.get(row.constitution, {}).get(row.dimension, 0)
        verdict = "–" if not expected else "yes" if expected * row.contrast > 0 else "no"
        found.append(
            {
                "constitution": row.constitution,
                "statement": statements.get(row.id, row.id),
                "dimension": row.dimension,
                "keyed": row.keyed,
                "agreement": row.keyed * row.contrast,
                "in_line": verdict,
                "models": int(counts[row.constitution, row.id]),
            }
        )
    return pd.DataFrame(found)


def dilemma_summary(preferences: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Mean preference for each constitution's options, scopes and seeds averaged, a row per model's constitution
    and option: constitution, option, shift (from the source), contrast (to the other constitutions), low, high
    (t over dilemmas, for the contrast), own, n."""
    kept = preferences[preferences["constitution"] != grid.SOURCE]
    found = []
    for (constitution, option), part in kept.groupby(["constitution", "option"]):
        by_dilemma = part.groupby("id")[["shift", "contrast"]].mean()
        fit = stats.linear(by_dilemma["contrast"])
        low, high = fit.interval(alpha)
        row = {"constitution": constitution, "option": option, "shift": by_dilemma["shift"].mean()}
        row |= {"contrast": fit.estimate, "low": low, "high": high}
        found.append(row | {"own": constitution == option, "n": len(by_dilemma)})
    return pd.DataFrame(found)


def extra_instrument(run: Run, models: list[str], items: list[rows.Item], alpha: float = 0.05) -> pd.DataFrame:
    """How the models moved on the items of the parameter persona_evals; empty without any.

    One row per dimension (the file's name), constitution, scope and lens: shift (signed by keying, from the source),
    contrast (to the mean of the constitutions of the scope), each with low, high and p (t over items within keying,
    seeds averaged), items, seeds.
    """
    if not items:
        return pd.DataFrame()
    shifts = lens_shifts.item_shifts(run, models, items, "extra")
    keys = ["dimension", "constitution", "scope", "lens"]
    contrast = lens_shifts.wording_contrasts(shifts)["contrast"]
    found = []
    for key, part in shifts.assign(contrast=contrast).groupby(keys, sort=False):
        by_item = part.groupby(["id", "keyed"])[["signed", "contrast"]].mean()
        keyed = by_item.index.get_level_values("keyed")
        strata = keyed if keyed.nunique() == 2 and keyed.value_counts().min() > 1 else None
        row = dict(zip(keys, key, strict=True))
        for name, column in (("shift", "signed"), ("contrast", "contrast")):
            fit = stats.linear(by_item[column], strata=strata)
            low, high = fit.interval(alpha)
            row |= {name: fit.estimate, f"{name}_low": low, f"{name}_high": high, f"{name}_p": fit.p}
        found.append(row | {"items": len(by_item), "seeds": part["seed"].nunique()})
    return pd.DataFrame(found)
