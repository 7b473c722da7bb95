"""From the rows of the diagnostic to shifts and contrasts, item by item; needs no model.

    shifts = item_shifts(run, models)       each model minus the source, by item and wording
    contrasts = item_contrasts(run, models) the same minus the mean of all constitutions of its scope and seed

Units: choice, log-odds; likelihood, nats a token; text, +1 agree, -1 disagree, 0 ambiguous.
"""

from __future__ import annotations

import pandas as pd

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.persona import stance
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows

SCORE_KEY, TEXT_KEY, DILEMMA_KEY = ("id", "lens", "wording", "order"), ("id", "wording"), ("id", "order")
CELL = ["constitution", "scope", "seed"]


def scores(run: Run, model: str, instrument: str = "item") -> pd.DataFrame:
    """All item rows of one model: id, lens, wording, order, value; unsigned, the text lens classified.

    instrument: `item`, the bundled one, or `extra`, that of the parameter persona_evals.
    """
    path = run.find(run.evaluation(model, f"{instrument}_scores"))
    frame = pd.DataFrame([r.model_dump() for r in files.read(path, rows.ItemScore, SCORE_KEY)])
    texts = replies(run, model, instrument)
    value = texts["stance"].map({"agree": 1.0, "disagree": -1.0, "ambiguous": 0.0})
    frame = pd.concat([frame, texts.assign(lens="text", order=None, value=value)], ignore_index=True)
    return frame[["id", "lens", "wording", "order", "value"]]


def replies(run: Run, model: str, instrument: str = "item") -> pd.DataFrame:
    """Free-text replies of one model: id, wording, text, stance."""
    path = run.find(run.evaluation(model, f"{instrument}_texts"))
    frame = pd.DataFrame([r.model_dump() for r in files.read(path, rows.ItemText, TEXT_KEY)])
    return frame[["id", "wording", "text"]].assign(stance=[stance.classify(t) for t in frame["text"]])


def described(frame: pd.DataFrame, items: list[rows.Item] | None = None) -> pd.DataFrame:
    """Add each item's dimension and keying; raises CompanionError for an id that is not in the instrument."""
    known = pd.DataFrame([i.model_dump() for i in items or materials.items()])[["id", "dimension", "keyed"]]
    unknown = sorted(set(frame["id"]) - set(known["id"]))
    if unknown:
        raise CompanionError(f"persona item {unknown[0]!r}: not in the instrument; measure the models again with 03")
    return frame.merge(known, on="id", how="left")


def item_shifts(
    run: Run, models: list[str], items: list[rows.Item] | None = None, instrument: str = "item"
) -> pd.DataFrame:
    """Each model's score minus the source's on the same item and wording, option orders averaged.

    Columns model, constitution, scope, seed, lens, id, dimension, keyed, wording, value, shift, signed.
    value and shift are *not* signed by keying; signed = keyed x shift, positive where the model moved
    towards the dimension. `models` are cell names; the source among them is left out.
    """
    keys = ["id", "lens", "wording"]
    base = scores(run, grid.SOURCE, instrument).groupby(keys, as_index=False)["value"].mean()
    found = []
    for model in models:
        if model == grid.SOURCE:
            continue
        own = scores(run, model, instrument).groupby(keys, as_index=False)["value"].mean()
        both = own.merge(base, on=keys, how="outer", suffixes=("", "_source"), indicator=True)
        if (both["_merge"] != "both").any():
            odd = both[both["_merge"] != "both"].iloc[0]
            raise CompanionError(
                f"{model}: item {odd['id']} ({odd['lens']}, {odd['wording']}) is not measured on it and the source; "
                "measure both with the same item_limit and wordings"
            )
        found.append(both.assign(shift=both["value"] - both["value_source"], model=model, **grid.about(model)))
    columns = ["model", *CELL, "lens", "id", "dimension", "keyed", "wording", "value", "shift", "signed"]
    if not found:
        return pd.DataFrame(columns=columns)
    frame = described(pd.concat(found, ignore_index=True), items)
    return frame.assign(signed=frame["keyed"] * frame["shift"])[columns]


def wording_contrasts(shifts: pd.DataFrame) -> pd.DataFrame:
    """Signed shift minus the mean signed shift of all constitutions at the same scope, seed, item and wording.

    Columns as `item_contrasts`, and wording. With one constitution alone every contrast is 0.
    """
    common = shifts.groupby(["scope", "seed", "lens", "id", "wording"])["signed"].transform("mean")
    frame = shifts.assign(contrast=shifts["signed"] - common)
    return frame[[*CELL, "lens", "dimension", "id", "keyed", "wording", "contrast"]]


def item_contrasts(run: Run, models: list[str], items: list[rows.Item] | None = None) -> pd.DataFrame:
    """What sets a constitution apart from the others, item by item, wordings averaged.

    Columns constitution, scope, seed, lens, dimension, id, keyed, contrast (signed by keying).
    """
    return averaged(wording_contrasts(item_shifts(run, models, items)))


def averaged(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Wording contrasts averaged over wordings."""
    keys = [*CELL, "lens", "dimension", "id", "keyed"]
    return contrasts.groupby(keys, as_index=False)["contrast"].mean()


def ambiguity(run: Run, models: list[str]) -> pd.DataFrame:
    """Whether each free-text reply is ambiguous: model, constitution, scope, seed, id, wording, ambiguous 0/1."""
    found = []
    for model in models:
        part = replies(run, model)
        found.append(
            part.assign(model=model, ambiguous=(part["stance"] == "ambiguous").astype(int), **grid.about(model))
        )
    return pd.concat(found, ignore_index=True)[["model", *CELL, "id", "wording", "ambiguous"]]


def dilemma_preferences(run: Run, models: list[str]) -> pd.DataFrame:
    """Preference for the option of each constitution, by dilemma, both presentation orders averaged.

    Columns model, constitution, scope, seed, id, option, against, preference (nats a token), shift (minus the
    source's), contrast (minus the mean shift of all constitutions at the scope and seed). Every dilemma
    gives two rows of opposite sign, one for each side.
    """
    known = {d.id: d for d in materials.dilemmas()}
    tables = []
    for model in dict.fromkeys([grid.SOURCE, *models]):
        path = run.find(run.evaluation(model, "dilemma_scores"))
        frame = pd.DataFrame([r.model_dump() for r in files.read(path, rows.DilemmaScore, DILEMMA_KEY)])
        frame = frame.groupby("id", as_index=False)["value"].mean()
        for sign, own, other in ((1, "a_is", "b_is"), (-1, "b_is", "a_is")):
            option, against = ([getattr(known[i], side) for i in frame["id"]] for side in (own, other))
            side = frame.assign(model=model, option=option, against=against, preference=sign * frame["value"])
            tables.append(side.assign(**grid.about(model)))
    frame = pd.concat(tables, ignore_index=True)
    base = frame[frame["model"] == grid.SOURCE][["id", "option", "preference"]]
    frame = frame.merge(base, on=["id", "option"], suffixes=("", "_source"))
    frame["shift"] = frame["preference"] - frame["preference_source"]
    frame["contrast"] = frame["shift"] - frame.groupby(["scope", "seed", "id", "option"])["shift"].transform("mean")
    return frame[["model", *CELL, "id", "option", "against", "preference", "shift", "contrast"]]
