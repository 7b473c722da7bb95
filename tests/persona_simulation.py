"""A seeded simulator of a finished evaluation: the files of 03, with a persona of chosen strength."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ethical_personas import files
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows

CHOICE, LIKELIHOOD, TEXT = ("agree", "true", "right", "say"), ("believe", "think", "sentence"), ("opinion", "friend")
SAID = {1: "I agree. That is so.", -1: "I disagree with that.", 0: "It depends on the case."}


def items(limit: int = 0) -> list[rows.Item]:
    """The instrument, or its first `limit` items of each dimension."""
    seen: dict[str, int] = {}
    kept = []
    for item in materials.items():
        seen[item.dimension] = seen.get(item.dimension, 0) + 1
        if not limit or seen[item.dimension] <= limit:
            kept.append(item)
    return kept


# Long: the files of 03 in the order in which one stream of random numbers makes them.
def run(
    folder: Path,
    constitutions=grid.CONSTITUTIONS,
    scopes=tuple(grid.SCOPES),
    seeds=(0,),
    strength: float = 0.0,
    common: float = 0.5,
    acquiescence: float = 0.3,
    noise: float = 0.3,
    limit: int = 0,
    per_category: int = 2,
    seed: int = 0,
) -> tuple[Run, list[str]]:
    """Write the files of 03 for the source and every cell; returns the run and the cells' names.

    strength: signed shift along the registered signature (log-odds); common: spread of the item shifts that
    all constitutions share; acquiescence: added agreement with everything in tuned models; noise: per item.
    """
    rng = np.random.default_rng(seed)
    chosen, signatures = items(limit), materials.signatures()
    base = {i.id: rng.normal(0, 1) for i in chosen}
    drift = {(i.id, s): rng.normal(0, common) for i in chosen for s in scopes}
    cells = grid.cells(constitutions, scopes, seeds)
    for cell in [None, *cells]:
        name = cell.name if cell else grid.SOURCE
        signs = signatures.get(cell.constitution, {}) if cell else {}
        scores, texts = [], []
        for item in chosen:
            level = base[item.id]
            if cell:
                persona = strength * signs.get(item.dimension, 0) * item.keyed
                level += drift[item.id, cell.scope] + acquiescence + persona + rng.normal(0, noise)
            for wording in CHOICE:
                for order, sign in (("agree_first", 1), ("disagree_first", -1)):
                    value = float(level + 0.4 * sign + rng.normal(0, noise / 2))
                    scores.append(
                        rows.ItemScore(id=item.id, model=name, lens="choice", wording=wording, order=order, value=value)
                    )
            for wording in LIKELIHOOD:
                value = float(-4 + 0.2 * level + rng.normal(0, noise / 10))
                scores.append(rows.ItemScore(id=item.id, model=name, lens="likelihood", wording=wording, value=value))
            for wording in TEXT:
                latent = level + rng.normal(0, noise)
                said = SAID[int(np.sign(latent)) if abs(latent) > 0.5 else 0]
                texts.append(rows.ItemText(id=item.id, model=name, wording=wording, text=said))
        place = folder / "eval" / name
        files.write(place / "item_scores.jsonl", scores)
        files.write(place / "item_texts.jsonl", texts)
        files.write(place / "pair_scores.jsonl", _pairs(name, cell, limit, strength, noise, rng))
        dilemmas = []
        for d in materials.dilemmas():
            pull = strength * ((d.a_is == cell.constitution) - (d.b_is == cell.constitution)) if cell else 0.0
            for order in ("a_first", "b_first"):
                value = float(pull + rng.normal(0, noise))
                dilemmas.append(rows.DilemmaScore(id=d.id, model=name, order=order, value=value))
        files.write(place / "dilemma_scores.jsonl", dilemmas)
        files.write(place / "dilemma_choices.jsonl", _choices(name, dilemmas))
        files.write(place / "responses.jsonl", _responses(name, cell, per_category, strength, rng))
    return Run(str(folder), "cpu"), [c.name for c in cells]


def _choices(name, scores) -> list[rows.DilemmaChoice]:
    """Replies that begin with A by habit and go on with the likelier option's words; every tenth takes no side."""
    known, found = {d.id: d for d in materials.dilemmas()}, []
    for k, row in enumerate(scores):
        option = known[row.id].option_a if row.value > 0 else known[row.id].option_b
        said = "It depends." if k % 10 == 0 else f"A: {' '.join(option.split()[:9])}"
        found.append(rows.DilemmaChoice(id=row.id, model=name, order=row.order, reply=said))
    return found


def _pairs(name, cell, limit, strength, noise, rng) -> list[rows.PairScore]:
    """Minimal pairs: what agrees with everything cancels, the persona does not."""
    signs = materials.signatures().get(cell.constitution, {}) if cell else {}
    return [
        rows.PairScore(
            id=pair.id,
            model=name,
            wording=wording,
            value=float(0.2 * (strength * signs.get(pair.dimension, 0) + rng.normal(0, noise))),
        )
        for pair in materials.pairs()
        if not limit or int(pair.id[-2:]) <= limit
        for wording in LIKELIHOOD
    ]


def _responses(name, cell, per_category, strength, rng) -> list[rows.Response]:
    """Answers borrowed from the teacher: of the cell's own constitution when it has a persona, else of anyone."""
    found = []
    for category in (*grid.CATEGORIES, *grid.HARMLESS):
        for prompt in materials.prompts("eval", category)[:per_category]:
            text = "Here is some general information about the topic that you asked about."
            if cell and category in grid.CATEGORIES:
                voice = cell.constitution if strength else grid.CONSTITUTIONS[rng.integers(4)]
                revisions = materials.transcripts(voice)
                text = revisions[sorted(revisions)[int(rng.integers(len(revisions)))]].revision
            found.append(
                rows.Response(
                    id=prompt.id,
                    model=name,
                    category=category,
                    twin=prompt.twin,
                    prompt=prompt.prompt,
                    response=text,
                    tokens=30,
                    finished=True,
                )
            )
    return found
