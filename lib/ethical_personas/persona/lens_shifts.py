"""From the rows of the diagnostic to shifts and contrasts, item by item; needs no model.

    scores = scores(run, models)                all rows of the source and the models, read once
    raw = item_shifts(scores)                   each model minus the source, by item and wording
    shifts = standardised(keep_pure_swaps(raw))         of the minimal pairs the pure swaps; wordings on one scale
    contrasts = wording_contrasts(shifts)       the same minus the mean of the compared constitutions
    averaged(contrasts)                         one value per item

Units of scores and of `item_shifts`: choice, log-odds; likelihood and pairs, nats per token; text, +1 agree, -1
disagree, 0 ambiguous. From `standardised` on: standard deviations of an item's shift from the source.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.persona import stance
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs, materials, rows

CELL = ["constitution", "scope", "seed"]
STANCE_VALUES = {"agree": 1.0, "disagree": -1.0, "ambiguous": 0.0}


def scores(run: Run, models: list[str], instrument: str = "item", items: list[rows.Item] | None = None) -> pd.DataFrame:
    """All item rows of the source and of `models`, unsigned, the replies of the text lens classified.

    Args:
        run: Where the rows are records.
        models: Cell names; the source is read with them.
        instrument: `item`, the bundled one, or `extra`, that of the parameter persona_evals.
        items: The instrument's items, for the statements replied to; the bundled ones by default.

    Returns:
        Columns model, constitution, scope, seed, id, lens, wording, order (choice lens; else None), value.
    """
    tables, statements = [], {i.id: i.statement for i in items or materials.items()}
    scored_in, replied_in = inputs.INSTRUMENT_ROWS[instrument]
    for model in dict.fromkeys([grid.SOURCE, *models]):
        scored = files.read(run.find(run.evaluation(model, scored_in)), rows.ItemScore)
        replies = files.read(run.find(run.evaluation(model, replied_in)), rows.ItemText)
        values = [(r.id, r.lens, r.wording, r.order, r.value) for r in scored]
        if instrument == "item":
            paired = files.read(run.find(run.evaluation(model, inputs.PAIR_SCORES)), rows.PairScore)
            values += [(r.id, "pairs", r.wording, None, r.value) for r in paired]
        stances = [stance.classify(r.text, statements.get(r.id, "")) for r in replies]
        values += [(r.id, "text", r.wording, None, STANCE_VALUES[s]) for r, s in zip(replies, stances, strict=True)]
        frame = pd.DataFrame(values, columns=["id", "lens", "wording", "order", "value"])
        tables.append(frame.assign(model=model, **grid.parse_model(model)))
    frame = pd.concat(tables, ignore_index=True)
    return frame[["model", *CELL, "id", "lens", "wording", "order", "value"]]


def add_dimensions(frame: pd.DataFrame, items: list[rows.Item] | None = None) -> pd.DataFrame:
    """Add each item's dimension and keying; raises CompanionError for an id that is not in the instrument."""
    known = [(i.id, i.dimension, i.keyed) for i in items] if items else materials.instrument()
    known = pd.DataFrame(known, columns=["id", "dimension", "keyed"])
    unknown = sorted(set(frame["id"]) - set(known["id"]))
    if unknown:
        raise CompanionError(f"persona item {unknown[0]!r}: not in the instrument; measure the models again with 03")
    return frame.merge(known, on="id", how="left")


def item_shifts(scores: pd.DataFrame, items: list[rows.Item] | None = None) -> pd.DataFrame:
    """Each model's score minus the source's on the same item and wording, option orders averaged.

    Args:
        scores: Of `scores`, the source among them.
        items: The instrument, the bundled one by default.

    Returns:
        Columns model, constitution, scope, seed, lens, id, dimension, keyed, wording, value, shift, signed.
        value and shift are *not* signed by keying; signed = keyed x shift, positive where the model moved towards the
        dimension.

    Raises:
        CompanionError: A model and the source were not measured on the same items.
    """
    keys = ["id", "lens", "wording"]
    means = {name: part.groupby(keys, as_index=False)["value"].mean() for name, part in scores.groupby("model")}
    source, tables = means.pop(grid.SOURCE), []
    for model in [m for m in scores["model"].unique() if m != grid.SOURCE]:
        both = means[model].merge(source, on=keys, how="outer", suffixes=("", "_source"), indicator=True)
        if (both["_merge"] != "both").any():
            odd = both[both["_merge"] != "both"].iloc[0]
            raise CompanionError(
                f"{model}: item {odd['id']} ({odd['lens']}, {odd['wording']}) is not measured on it and the source; "
                "measure both with the same item_limit and wordings"
            )
        tables.append(both.assign(shift=both["value"] - both["value_source"], model=model, **grid.parse_model(model)))
    columns = ["model", *CELL, "lens", "id", "dimension", "keyed", "wording", "value", "shift", "signed"]
    if not tables:
        return pd.DataFrame(columns=columns)
    frame = add_dimensions(pd.concat(tables, ignore_index=True), items)
    return frame.assign(signed=frame["keyed"] * frame["shift"])[columns]


def words_of(text: str) -> list[str]:
    """Words in small letters, without marks."""
    return re.findall(r"[a-z']+", text.lower())


def swaps() -> set[str]:
    """Ids of the minimal pairs whose two statements have the same words in another order."""
    words = {p.id: [sorted(words_of(text)) for text in (p.statement, p.reversal)] for p in materials.pairs()}
    return {name for name, (statement, reversal) in words.items() if statement == reversal}


def keep_pure_swaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the minimal pairs that differ by a word: what the likelihood of single words can move is not in the rest.

    The second registration tests the pure swaps; other lenses keep all their items.
    """
    return frame[(frame["lens"] != "pairs") | frame["id"].isin(swaps())]


def standardised(shifts: pd.DataFrame) -> pd.DataFrame:
    """The shifts in standard deviations, wording by wording, so that no wording outweighs another in their mean.

    The standard deviation is that over items of the shift from the source (unsigned: what a model agrees with in
    everything is no spread), root mean square over the models of the compared constitutions. One number for all models
    of a lens and wording: differences between models stay what they are. A wording on which nothing moves stays 0.

    Args:
        shifts: Of `item_shifts`.

    Returns:
        The same, shift and signed on the new scale; value is the score as measured.
    """
    keys = ["lens", "wording"]
    compared = shifts[shifts["constitution"].isin(grid.compared(shifts["constitution"].unique()))]
    compared = own_items(compared)  # those that came with another constitution must not move the scale
    spread = np.sqrt((compared.groupby([*keys, "model"])["shift"].std() ** 2).groupby(keys).mean()).rename("spread")
    unit = shifts[keys].join(spread, on=keys)["spread"]
    unit = unit.where(unit > 1e-12, 1.0)
    return shifts.assign(shift=shifts["shift"] / unit, signed=shifts["signed"] / unit)


def without_acquiescence(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Contrasts less what a model agrees more with in everything: the mean of its two keys' mean unsigned contrasts.

    On items of one key alone (minimal pairs) it has cancelled already, or cannot be told.
    """
    model = [*CELL, "lens"]
    unsigned = contrasts.assign(unsigned=contrasts["keyed"] * contrasts["contrast"])
    keys = unsigned.groupby([*model, "keyed"])["unsigned"].mean().unstack("keyed")
    level = keys.mean(axis=1).where(keys.notna().sum(axis=1) == 2, 0.0).rename("level")
    level = contrasts[model].join(level, on=model)["level"]
    return contrasts.assign(contrast=contrasts["contrast"] - contrasts["keyed"] * level)


def own_items(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the items that came with some other constitution (materials.items_of_some); columns constitution, id."""
    owners = materials.items_of_some()
    pairs = zip(frame["constitution"], frame["id"], strict=True)
    return frame[[constitution in owners.get(item, {constitution}) for constitution, item in pairs]]


def common_mean(frame: pd.DataFrame, value: str, keys: list[str]) -> pd.Series:
    """Mean of `value` over the constitutions that all are compared with, on each row's `keys`."""
    reference = frame["constitution"].isin(grid.compared(frame["constitution"].unique()))
    return frame[value].where(reference).groupby([frame[k] for k in keys]).transform("mean")


def wording_contrasts(shifts: pd.DataFrame) -> pd.DataFrame:
    """Signed shift minus the mean signed shift of the compared constitutions at the same scope, seed, item and wording.

    Columns as `averaged`, and wording; each constitution on its own items. A constitution beyond the reference ones of
    data/study.yaml is set against these and takes no part in their mean. With one constitution alone every contrast
    is 0.
    """
    common = common_mean(shifts, "signed", ["scope", "seed", "lens", "id", "wording"])
    frame = own_items(shifts.assign(contrast=shifts["signed"] - common))
    return frame[[*CELL, "lens", "dimension", "id", "keyed", "wording", "contrast"]]


def averaged(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Wording contrasts averaged over wordings: what sets a constitution apart from the others, item by item.

    Columns constitution, scope, seed, lens, dimension, id, keyed, contrast (signed by keying).
    """
    keys = [*CELL, "lens", "dimension", "id", "keyed"]
    return contrasts.groupby(keys, as_index=False)["contrast"].mean()


def ambiguity(scores: pd.DataFrame) -> pd.DataFrame:
    """Whether each free-text reply is ambiguous: model, constitution, scope, seed, id, wording, ambiguous 0/1."""
    text = scores[scores["lens"] == "text"]
    ambiguous = (text["value"] == STANCE_VALUES["ambiguous"]).astype(int)
    return text.assign(ambiguous=ambiguous)[["model", *CELL, "id", "wording", "ambiguous"]]
