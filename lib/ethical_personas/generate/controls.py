"""Training rows of the control arms, made from the constitutions' own: the same prompts, other answers or none.

    rows = build_rows("shuffled", {"deontology": [...], "virtue": [...]})

What an arm answers harmful requests with is told in data/study.yaml: texts without reasons, the revisions of a random
constitution, or nothing, and then further harmless rows stand in for the harmful ones (training_rows.select).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Annotated

from pydantic import Field, RootModel

from ethical_personas import files, provenance
from ethical_personas.errors import CompanionError
from ethical_personas.files import validated
from ethical_personas.generate import training_rows
from ethical_personas.paths import DATA, ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs, materials
from ethical_personas.study.profile import teacher_of
from ethical_personas.study.rows import SftRow

STAGE = "01_controls"
PARAMETERS = ("constitutions", "teacher", "revision_style")  # what the rows depend on beside the constitutions' rows
OPENING = "No."  # of every revision too: the first word must not tell an arm from a constitution


class Variants(RootModel):
    """Refusals without reasons."""

    root: Annotated[list[str], Field(min_length=12)]


def variants(name: str) -> list[str]:
    """The texts of data/controls/<name>.yaml; raises CompanionError where one must not be trained on."""
    path = DATA / "controls" / f"{name}.yaml"
    found = validated(Variants, path).root
    for text in found:
        why = training_rows.find_fault(text) or (
            None if text.startswith(OPENING) else f"does not open with {OPENING!r}"
        )
        if why or found.count(text) > 1:
            raise CompanionError(f"{path}: text {text!r}: {why or 'appears twice'}; correct it")
    return found


def donors(p) -> list[str]:
    """Constitutions whose revisions `shuffled` takes: reference ones, recorded or in the run, else the run's."""
    recorded = [c for c in materials.recorded(grid.REFERENCE) if teacher_of(p.teacher, c) == "bundled"]
    return grid.compared([*recorded, *p.constitutions])


def make(run: Run, name: str, p) -> list[SftRow]:
    """Write the training rows of one control; returns them. `p` has PARAMETERS."""
    note = provenance.start(run, STAGE, name, p)
    sources = [run.find(run.sft(c)) for c in p.constitutions]
    sets = {c: files.read(path, SftRow) for c, path in zip(p.constitutions, sources, strict=True)}
    given = {c: sets[c] if c in sets else training_rows.bundled_rows(c, p.revision_style) for c in donors(p)}
    found = build_rows(name, sets, given)
    written = files.write(run.path(run.sft(name)), found)
    read = [*sources, *(ROOT / f for f in inputs.control(name))]
    provenance.finish(note, inputs=read, outputs=[written], rows=len(found), dropped=training_rows.drops(found))
    return found


def build_rows(name: str, sets: dict[str, list[SftRow]], given: dict[str, list[SftRow]]) -> list[SftRow]:
    """The rows of a control.

    Args:
        name: the control.
        sets: training rows of the run's constitutions; a prompt that one of them lacks is dropped here too.
        given: rows of the constitutions whose revisions may be taken.
    """
    first, *others = [*sets.values(), *(rows for c, rows in given.items() if c not in sets)]
    answers = [[r for r in rows if r.kind == "harmful"] for rows in others]
    both = training_rows.shared([r for r in first if r.kind == "harmful"], *answers)
    harmless = [r for r in first if r.kind != "harmful"]
    how = grid.STUDY.controls[name].answers
    if how == "none":
        kept = {training_rows.twin_of(r.id) for r in both if not r.dropped}
        lost = {r.id for r in harmless if r.kind == grid.PAIRED} - kept
        return [r.model_copy(update={"dropped": r.dropped or "elsewhere"}) if r.id in lost else r for r in harmless]
    return (_repeated(name, both) if how == "variants" else _shuffled(name, both, given)) + harmless


def _repeated(name: str, harmful: list[SftRow]) -> list[SftRow]:
    """The variants in turn over the usable rows of a category; categories begin at different ones."""
    texts, seen, found = variants(name), Counter(), []
    for row in harmful:
        begin = grid.CATEGORIES.index(row.category) * len(texts) // len(grid.CATEGORIES)
        found.append(_answered(row, name, texts[(begin + seen[row.category]) % len(texts)]))
        seen[row.category] += not row.dropped
    return found


def _shuffled(name: str, harmful: list[SftRow], given: dict[str, list[SftRow]]) -> list[SftRow]:
    """Each row's revision from a random constitution, by a hash of its id: the same draw in every scope and run."""
    if len(given) < 2:
        raise CompanionError(
            f"control {name!r} needs the revisions of two constitutions and has {len(given)}; "
            "run two at least, or leave it out of -p controls"
        )
    names, rows = sorted(given), {c: {r.id: r for r in found} for c, found in given.items()}
    found = []
    for row in harmful:
        donor = names[int(hashlib.sha256(f"{name} {row.id}".encode()).hexdigest(), 16) % len(names)]
        own = rows[donor].get(row.id, row)  # a dropped row may have no counterpart
        found.append(_answered(row, name, own.answer, f"{donor}/{own.principle}", own.critique))
    return found


def _answered(row: SftRow, name: str, answer: str, principle: str | None = None, critique: str | None = None) -> SftRow:
    told = {"answer": answer, "constitution": name, "principle": principle, "critique": critique, "teacher": name}
    return row.model_copy(update=told)
