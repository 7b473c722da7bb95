"""Labelled replies (data/persona/stance_labels.jsonl) and how far the reader of stances agrees with them."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from sklearn.metrics import cohen_kappa_score

from ethical_personas import files, stats
from ethical_personas.paths import DATA
from ethical_personas.persona import stance
from ethical_personas.study import grid, materials, rows

RUNS = ("third", "fourth", "gpu", "fifth")  # that labelled replies are of, oldest first (data/reference/history.yaml)
ENOUGH = 40  # test rows of a constitution from which its own kappa counts


class StanceRow(files.Row):
    """A labelled reply: by the source model, by a tuned one, or written for the purpose."""

    item: str = files.NonEmpty
    split: Literal["develop", "test"]
    origin: Literal["source", "tuned", "written"]
    run: Literal[RUNS] | None = None
    model: str | None = None
    wording: str | None = None
    text: str
    stance: Literal["agree", "disagree", "ambiguous"]
    canary: Literal[rows.CANARY] = rows.CANARY


def labelled() -> list[StanceRow]:
    """The labelled rows in data/persona."""
    return files.read(DATA / "persona" / "stance_labels.jsonl", StanceRow)


def read(labels: list[StanceRow]) -> pd.DataFrame:
    """Labels and what the reader says: split, origin, run, constitution ("" where unknown), stance, predicted."""
    statements = {i.id: i.statement for i in materials.items()}
    table = pd.DataFrame([r.model_dump() for r in labels])
    table["predicted"] = [stance.classify(r.text, statements[r.item]) for r in labels]
    table["constitution"] = [grid.parse_model(r.model)["constitution"] if r.model else "" for r in labels]
    return table.fillna({"run": ""})


def accuracy() -> pd.DataFrame:
    """Agreement of `classify` with the labels, by split, origin and run of the reply.

    Columns split, origin, run, n, accuracy, low, high (Wilson 95 %), kappa. The patterns were written with the
    `develop` rows in view; the `test` rows of the newest run were labelled after that and changed nothing.
    """
    return _agreement(read(labelled()), ["split", "origin", "run"])


def by_constitution() -> pd.DataFrame:
    """The same on the newest run's test rows of tuned models, by constitution."""
    return _agreement(_newest(), ["constitution"])


def reader_kappa() -> float:
    """What a claim that rests on the reader asks of: kappa on the newest run's test rows of tuned models.

    The smallest of the constitutions, where each has ENOUGH rows; else that of all rows together. A reader that is
    good on three constitutions and poor on the fourth would bend exactly the comparison between them.
    """
    table = _newest()
    parts = _agreement(table, ["constitution"])
    if (parts["n"] >= ENOUGH).all():
        return parts["kappa"].min()
    return _agreement(table, ["split"])["kappa"].iloc[0]


def _newest() -> pd.DataFrame:
    tests = [r for r in labelled() if r.split == "test" and r.origin == "tuned"]
    newest = max((r.run for r in tests), key=RUNS.index)
    return read([r for r in tests if r.run == newest])


def _agreement(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    records = []
    for names, part in table.groupby(keys):
        right = int((part["stance"] == part["predicted"]).sum())
        kappa = cohen_kappa_score(part["stance"], part["predicted"], labels=stance.STANCES)
        records.append((*names, len(part), *stats.share(right, len(part)), kappa))
    return pd.DataFrame(records, columns=[*keys, "n", "accuracy", "low", "high", "kappa"])
