"""Small tables of 05: ambiguous replies, the items that moved most, another instrument."""

from __future__ import annotations

import pandas as pd

from ethical_personas import stats
from ethical_personas.persona import lens_shifts
from ethical_personas.run import Run
from ethical_personas.study import materials, rows


def ambiguity_shares(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Share of ambiguous replies: constitution, scope, share, low, high (Wilson over items), n items.

    An item counts once, however many wordings: its share is the mean over them and over seeds.
    """
    by_item = table.groupby(["constitution", "scope", "id"])["ambiguous"].mean()
    records = []
    for (constitution, scope), part in by_item.groupby(level=[0, 1]):
        records.append((constitution, scope, *stats.share(part.sum(), len(part), alpha), len(part)))
    return pd.DataFrame(records, columns=["constitution", "scope", "share", "low", "high", "n"])


def top_items(contrasts: pd.DataFrame, lens: str, number: int = 3) -> pd.DataFrame:
    """The items that set each constitution apart most, scopes and seeds averaged, on one lens.

    Columns constitution, statement, dimension, keyed, agreement (contrast in *un*signed agreement with the
    statement: positive means agrees more than the other constitutions), in_line (with the registered sign:
    yes, no, or – where the signature says nothing), models. What a model agrees more with in everything is taken out
    (lens_shifts.without_acquiescence): else it alone puts a statement here.
    """
    statements = {i.id: i.statement for i in materials.items()} | {p.id: p.statement for p in materials.pairs()}
    signatures = materials.signatures()
    part = lens_shifts.without_acquiescence(contrasts[contrasts["lens"] == lens])
    mean = part.groupby(["constitution", "dimension", "id", "keyed"], as_index=False)["contrast"].mean()
    mean["size"] = mean["contrast"].abs()
    top = mean.sort_values(["constitution", "size", "id"], ascending=[True, False, True])
    top = top.groupby("constitution").head(number)
    counts = part.groupby(["constitution", "id"]).size()
    records = []
    for row in top.itertuples():
        expected = signatures.get(row.constitution, {}).get(row.dimension, 0)
        in_line = "–" if not expected else "yes" if expected * row.contrast > 0 else "no"
        record = {"constitution": row.constitution, "statement": statements.get(row.id, row.id)}
        record |= {"dimension": row.dimension, "keyed": row.keyed, "agreement": row.keyed * row.contrast}
        records.append(record | {"in_line": in_line, "models": int(counts[row.constitution, row.id])})
    return pd.DataFrame(records)


def extra_instrument(run: Run, models: list[str], items: list[rows.Item], alpha: float = 0.05) -> pd.DataFrame:
    """How the models moved on the items of the parameter persona_evals; empty without any.

    One row per dimension (the file's name), constitution, scope and lens: shift (signed by keying, from the source),
    contrast (to the mean of the constitutions of the scope), each with low, high and p (t over items within keying,
    seeds averaged), items, seeds.
    """
    if not items:
        return pd.DataFrame()
    shifts = lens_shifts.item_shifts(lens_shifts.scores(run, models, "extra", items), items)
    keys = ["dimension", "constitution", "scope", "lens"]
    contrast = lens_shifts.wording_contrasts(shifts)["contrast"]
    records = []
    for key, part in shifts.assign(contrast=contrast).groupby(keys, sort=False):
        by_item = part.groupby(["id", "keyed"])[["signed", "contrast"]].mean()
        keyed = by_item.index.get_level_values("keyed")
        strata = keyed if keyed.nunique() == 2 and keyed.value_counts().min() > 1 else None
        row = dict(zip(keys, key, strict=True))
        for name, column in (("shift", "signed"), ("contrast", "contrast")):
            fit = stats.linear(by_item[column], strata=strata)
            low, high = fit.interval(alpha)
            row |= {name: fit.estimate, f"{name}_low": low, f"{name}_high": high, f"{name}_p": fit.p}
        records.append(row | {"items": len(by_item), "seeds": part["seed"].nunique()})
    return pd.DataFrame(records)
