"""Training rows: a constitution's revisions to harmful prompts, and the same harmless rows for all.

    rows = bundled_rows("virtue", "plain") + harmless_rows(answers, "source")    01 writes them, dropped rows included
    chosen = select(rows, "harassment", 96, 96, 48, 32)                          02 trains on these

Order, prompts and harmless rows do not depend on the constitution: the revision is the only
difference between two constitutions' sets.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict

from ethical_personas.errors import CompanionError
from ethical_personas.study import materials
from ethical_personas.study.grid import CATEGORIES, HARMLESS, PAIRED, SCOPES, STUDY, TRAINED
from ethical_personas.study.rows import Prompt, SftRow

MIN_WORDS = 5


def bundled_rows(constitution: str, revision_style: str) -> list[SftRow]:
    """The recorded revisions of one constitution as harmful training rows."""
    recorded = materials.transcripts(constitution)
    found = []
    for prompt in materials.prompts("train"):
        if prompt.category in CATEGORIES:
            record = recorded[prompt.id]
            answer = (record.revision_rich if revision_style == "rich" else None) or record.revision
            found.append(harmful_row(prompt, constitution, record.principle, record.critique, answer, "bundled"))
    return mark_duplicates(found)


def prompts_needed(scopes: list[str], rows_per_scope: int, least: float) -> list[Prompt]:
    """The harmful training prompts that a live teacher is asked about: those that the scopes train on, and spare ones.

    least: share of the revisions that must be usable; so many more are asked that this share is enough.
    """
    needed: dict[str, float] = defaultdict(float)
    for scope in scopes:
        for category in SCOPES[scope]:
            needed[category] = max(needed[category], harmful_rows(scope, rows_per_scope) / len(SCOPES[scope]))
    chosen = []
    for category in CATEGORIES:
        asked = math.ceil(round(needed[category] / least, 6)) if least else None
        chosen += materials.prompts("train", category)[:asked] if needed[category] else []
    return chosen


def harmless_needed(p) -> list[Prompt]:
    """Harmless training prompts that the source model answers: those trained on, some to spare for its refusals."""
    # The source declines up to a third of a category's twins; of the other kinds hardly any prompt.
    harmful = prompts_needed(p.scopes, p.rows_per_scope, 0.6)
    wanted = {twin_of(prompt.id) for prompt in harmful}
    found = [prompt for prompt in materials.prompts("train", PAIRED) if prompt.id in wanted]
    for kind in TRAINED:
        # A control without harmful rows has as many more of the first kind.
        rows = getattr(p, f"{kind}_rows") + (p.rows_per_scope if kind == TRAINED[0] else 0)
        found += materials.prompts("train", kind)[: math.ceil(1.25 * rows)]
    return found


def harmful_row(prompt: Prompt, constitution: str, principle: str, critique: str, answer: str, teacher: str) -> SftRow:
    """One revision as a training row; `dropped` says why it must not be trained on."""
    return SftRow(
        id=prompt.id,
        kind="harmful",
        category=prompt.category,
        prompt=prompt.prompt,
        answer=answer,
        constitution=constitution,
        principle=principle,
        critique=critique,
        teacher=teacher,
        dropped=find_fault(answer),
    )


def harmless_rows(answers: dict[str, tuple[str, bool]], teacher: str) -> list[SftRow]:
    """Harmless training rows of every kind, with the answers given by prompt id and whether each is complete."""
    found = []
    for prompt in materials.prompts("train", *HARMLESS):
        if prompt.id in answers:
            answer, complete = answers[prompt.id]
            found.append(
                SftRow(
                    id=prompt.id,
                    kind=prompt.category,
                    category=(prompt.twin if prompt.category == PAIRED else None) or prompt.category,
                    prompt=prompt.prompt,
                    answer=answer,
                    complete=complete,
                    teacher=teacher,
                    dropped=find_fault(answer),
                )
            )
    return found


def find_fault(answer: str) -> str | None:
    """Why an answer must not enter training: empty, short, or carrying template marks; else None."""
    if not answer.strip():
        return "empty"
    if len(answer.split()) < MIN_WORDS:
        return "short"
    if "<|" in answer or "\\n" in answer:
        return "template marks"
    return None


def mark_duplicates(found: list[SftRow]) -> list[SftRow]:
    """Mark rows whose answer repeats an earlier row's: a teacher that wrote the same twice."""
    seen: set[str] = set()
    marked = []
    for row in found:
        repeated = row.dropped is None and row.answer in seen
        seen.add(row.answer)
        marked.append(row.model_copy(update={"dropped": "duplicate"}) if repeated else row)
    return marked


def drops(found: list[SftRow]) -> dict[str, int]:
    """How many rows were dropped, by reason."""
    return dict(Counter(r.dropped for r in found if r.dropped))


def harmful_rows(scope: str, rows_per_scope: int) -> int:
    """Number of harmful rows in a scope's training set: its own in data/study.yaml, else the profile's."""
    return STUDY.scopes[scope].rows or rows_per_scope


def select(found: list[SftRow], scope: str, rows_per_scope: int, *harmless: int, harmful: bool = True) -> list[SftRow]:
    """The training set of one cell: the scope's harmful rows, evenly over its categories, their twins, other harmless.

    A harmful row whose twin is not usable is left out. Raises CompanionError when a category or kind has too few
    usable rows.

    Args:
        harmless: number of rows of each kind in grid.TRAINED.
        harmful: False puts as many further rows of the first of these kinds in the place of the harmful ones.
    """
    categories, number = SCOPES[scope], harmful_rows(scope, rows_per_scope)
    if number % len(categories):
        raise CompanionError(
            f"field rows_per_scope: {number} does not divide by the {len(categories)} categories of {scope!r}"
        )
    wanted = {("harmful" if harmful else PAIRED, c): number // len(categories) for c in categories}
    wanted |= {(kind, kind): count for kind, count in zip(TRAINED, harmless, strict=True)}
    wanted[TRAINED[0], TRAINED[0]] += 0 if harmful else number
    twins = {r.id: r for r in found if r.kind == PAIRED and not r.dropped}
    of_pairs, others = [], []
    for (kind, category), count in wanted.items():
        own = [r for r in found if (r.kind, r.category) == (kind, category) and not r.dropped]
        usable = [r for r in own if twin_of(r.id) in twins] if kind == "harmful" else own
        if len(usable) < count:
            lower = f"{kind}_rows" if kind in TRAINED else "rows_per_scope"
            otherwise = "try another teacher"
            if kind != "harmful" or len(own) >= count:
                otherwise = "take a source that answers harmless requests (source_stage: sft makes one)"
            raise CompanionError(
                f"scope {scope!r} needs {count} {category} rows and {len(usable)} are usable; lower {lower} or "
                + (otherwise if harmful else "try without this control: -p controls")
            )
        (others if kind in TRAINED else of_pairs).extend(usable[:count])
    if harmful:
        return of_pairs + [twins[twin_of(r.id)] for r in of_pairs] + others
    instead = others[harmless[0] : harmless[0] + number]
    return instead + of_pairs + others[: harmless[0]] + others[harmless[0] + number :]


def twin_of(harmful: str) -> str:
    """Id of the harmless twin of a harmful prompt."""
    return f"{harmful}-twin"


def shared(own: list[SftRow], *others: list[SftRow]) -> list[SftRow]:
    """`own` rows, those marked dropped that any other constitution lacks: all are then trained on the same prompts."""
    usable = [{r.id for r in rows if not r.dropped} for rows in others]
    lacking = {r.id for r in own if not all(r.id in ids for ids in usable)}
    return [r.model_copy(update={"dropped": "elsewhere"}) if r.id in lacking and not r.dropped else r for r in own]


def skeleton(chosen: list[SftRow]) -> str:
    """Hash of all that must not differ between constitutions: ids, prompts, order, harmless answers."""
    parts = [(r.id, r.kind, r.category, r.prompt, r.answer if r.kind != "harmful" else "") for r in chosen]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def revisions_of(constitutions: list[str], revision_style: str) -> dict[str, list[str]]:
    """Recorded revisions by constitution, for those that have any."""
    known = materials.recorded(constitutions)
    return {c: [r.answer for r in bundled_rows(c, revision_style) if not r.dropped] for c in known}
