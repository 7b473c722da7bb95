"""Arms without a constitution: training rows that share prompts and harmless rows with the constitutions' sets.

    found = rows_of("shuffled", {"virtue": [...], "deontology": [...]})    one function of this module an arm

What the constitutions' models do beyond these arms' is the work of reasons, or of one constitution's reasons; what
the arms do too is the work of fine-tuning on refusals, or of fine-tuning.
"""

from __future__ import annotations

import hashlib

from pydantic import Field, RootModel

from ethical_personas.errors import CompanionError
from ethical_personas.files import validated
from ethical_personas.paths import DATA
from ethical_personas.study import grid
from ethical_personas.study.inputs import PLAIN
from ethical_personas.study.rows import SftRow

Sets = dict[str, list[SftRow]]  # the rows of each constitution's training set, by its name


class Refusals(RootModel):
    """Texts that refuse and give no reason."""

    root: list[str] = Field(min_length=10)


def rows_of(control: str, sets: Sets) -> list[SftRow]:
    """The rows that an arm is trained on, made from the constitutions'; raises CompanionError for an unknown arm."""
    if control not in grid.CONTROLS or control not in globals():
        where = f"{DATA / 'study.yaml'}: field controls.{control}"
        raise CompanionError(f"{where}: generate/controls.py has no function of this name; write it")
    return globals()[control](sets)


def plain(sets: Sets) -> list[SftRow]:
    """Every revision replaced by a refusal without reasons; the texts of data/controls/plain.yaml take turns."""
    texts = validated(Refusals, DATA / "controls" / PLAIN.rpartition("/")[2]).root
    own = _first(sets)
    told = {r.id: texts[k % len(texts)] for k, r in enumerate(r for r in own if r.kind == "harmful")}
    return [_row(r, told[r.id], "plain") if r.kind == "harmful" else r for r in own]


def shuffled(sets: Sets) -> list[SftRow]:
    """Every revision that of a constitution drawn at random for its prompt (by a hash of the prompt's id)."""
    by_id = {name: {r.id: r for r in rows} for name, rows in sorted(sets.items())}
    names = [name for name in by_id if name in grid.REFERENCE] or list(by_id)
    made = []
    for row in _first(sets):
        if row.kind == "harmful":
            drawn = names[int(hashlib.sha256(row.id.encode()).hexdigest(), 16) % len(names)]
            row = by_id[drawn].get(row.id, row)
        made.append(row)
    return made


def harmless(sets: Sets) -> list[SftRow]:
    """No harmful row: select() fills their places with further helpful ones."""
    return [r for r in _first(sets) if r.kind != "harmful"]


def _first(sets: Sets) -> list[SftRow]:
    return next(iter(sets.values()))


def _row(row: SftRow, answer: str, teacher: str) -> SftRow:
    gone = dict.fromkeys(("constitution", "principle", "critique", "dropped"))
    return row.model_copy(update=gone | {"answer": answer, "teacher": teacher})
