"""Notebook 01's calls: live rounds and a constitution's training rows from any teacher."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from ethical_personas.errors import CompanionError
from ethical_personas.generate import source_answers, teacher, training_rows
from ethical_personas.models import chats, decode
from ethical_personas.paths import DATA
from ethical_personas.run import Run
from ethical_personas.study import materials
from ethical_personas.study.brief import brief
from ethical_personas.study.grid import CATEGORIES, TRAINED
from ethical_personas.study.materials import Constitution
from ethical_personas.study.rows import SftRow


def live(chat: chats.Chat, law: Constitution, number: int, batch: int, penalty: float) -> pd.DataFrame:
    """A few rounds with the local model as teacher beside the recorded ones; one row a text."""
    prompts = materials.prompts("train", *CATEGORIES)
    prompts = prompts[:: max(1, len(prompts) // number)][:number] if number else []
    first = decode.answers(chat, [p.prompt for p in prompts], 48, batch, penalty, label="first answers")
    initial = {p.id: a.text for p, a in zip(prompts, first, strict=True)}
    made = teacher.rounds(teacher.local(chat, 64, batch, penalty), law, prompts, initial)
    recorded = materials.transcripts(law.id) if materials.recorded([law.id]) else {}
    shown = []
    for prompt, done in zip(prompts, made, strict=True):
        shown.append((prompt.prompt, "first answer", "source", brief(done.initial)))
        shown.append(("", f"critique ({done.principle})", "live", done.critique))
        shown.append(("", "revision", "live", brief(done.revision)))
        if prompt.id in recorded:
            record = recorded[prompt.id]
            shown.append(("", f"critique ({record.principle})", "recorded", record.critique))
            shown.append(("", "revision", "recorded", record.revision))
    return pd.DataFrame(shown, columns=["request", "step", "by", "text"])


def harmless_answers(run: Run, p: SimpleNamespace) -> dict[str, str]:
    """Targets of the harmless rows, made by the source model now when no run has made them yet."""
    if p.harmless_targets == "source" and not source_answers.made(run, p):
        source_answers.make(run, p)
    return source_answers.targets(run, p.harmless_targets)


def harmful(chat: chats.Chat, law: Constitution, run: Run, p: SimpleNamespace) -> list[SftRow]:
    """The constitution's harmful rows from the teacher that the profile names.

    A round that failed is a row with a reason; nothing of it enters training. Raises CompanionError when the
    endpoint itself failed, or every round did: a later call may succeed, and what has been paid for is kept.
    """
    if p.teacher == "bundled":
        return training_rows.bundled_rows(law.id, p.revision_style)
    prompts = materials.prompts("train", *CATEGORIES)
    if p.teacher == "api":
        name = f"api:{p.teacher_model}"
        ask = teacher.api(p.teacher_model, p.teacher_url, run.path(f"teacher/{law.id}.jsonl"))
    else:
        name = f"local:{p.teacher_model or p.base_model}"
        # Another model speaks in its own format; the source, as its own teacher, in the profile's.
        own = {"chat_template": "own", "dtype": p.dtype, "threads": p.threads}
        writer = chats.load(p.teacher_model, **own) if p.teacher_model else chat
        ask = teacher.local(writer, 96, p.decode_batch, p.repetition_penalty)
    found = []
    by_id = {prompt.id: prompt for prompt in prompts}
    rounds = list(teacher.rounds(ask, law, prompts, materials.initial_answers()))
    failed = [r.error for r in rounds if r.error and r.error.startswith((*teacher.PASSING, teacher.NOT_TRIED))]
    failed = failed or [r.error for r in rounds if all(x.error for x in rounds)]
    if failed:
        raise CompanionError(
            f"teacher {name}: {len(failed)} of {len(rounds)} rounds failed ({failed[0]}); "
            "run again, what was paid for is kept"
        )
    for done in rounds:
        row = training_rows.harmful_row(
            by_id[done.id], law.id, done.principle, done.critique or "-", done.revision, name
        )
        found.append(row.model_copy(update={"dropped": done.error}) if done.error else row)
    return training_rows.mark_duplicates(found)


def revisions_of(constitutions: list[str], revision_style: str) -> dict[str, list[str]]:
    """Recorded revisions by constitution, for those that have any."""
    known = materials.recorded(constitutions)
    return {c: [r.answer for r in training_rows.bundled_rows(c, revision_style) if not r.dropped] for c in known}


def inputs(p: SimpleNamespace) -> list[Path]:
    """The data files that 01 reads, for its provenance."""
    names = [f"prompts/{n}.jsonl" for n in ("harmful", "harmless", *(f"{kind}_train" for kind in TRAINED))]
    names += [f"constitutions/{p.constitution}.yaml", "transcripts/initial.jsonl", "judge/keyword.yaml"]
    if p.teacher == "bundled":
        names.append(f"transcripts/{p.constitution}.jsonl")
    return [DATA / n for n in names]
