"""Notebook 01's calls: live rounds, a constitution's training rows from any teacher, worked examples; 02's probes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from lib import generate, harmless, materials, models, sft, teacher
from lib.errors import CompanionError
from lib.grid import CATEGORIES
from lib.materials import DATA, Constitution
from lib.rows import Prompt, SftRow
from lib.run import Run

SHOWN = 90  # characters of a model's own answer to a harmful request that a notebook shows


def live(chat: models.Chat, law: Constitution, number: int, batch: int, penalty: float) -> pd.DataFrame:
    """A few rounds with the local model as teacher beside the recorded ones; one row a text."""
    prompts = materials.prompts("train", *CATEGORIES)
    prompts = prompts[:: max(1, len(prompts) // number)][:number] if number else []
    first = generate.answers(chat, [p.prompt for p in prompts], 48, batch, penalty, label="first answers")
    initial = {p.id: a.text for p, a in zip(prompts, first, strict=True)}
    made = teacher.rounds(teacher.local(chat, 64, batch, penalty), law, prompts, initial)
    recorded = materials.transcripts(law.id) if materials.recorded([law.id]) else {}
    shown = []
    for prompt, done in zip(prompts, made, strict=True):
        shown.append((prompt.prompt, "first answer", "source", _brief(done.initial)))
        shown.append(("", f"critique ({done.principle})", "live", done.critique))
        shown.append(("", "revision", "live", _brief(done.revision)))
        if prompt.id in recorded:
            record = recorded[prompt.id]
            shown.append(("", f"critique ({record.principle})", "recorded", record.critique))
            shown.append(("", "revision", "recorded", record.revision))
    return pd.DataFrame(shown, columns=["request", "step", "by", "text"])


def harmless_answers(run: Run, p: SimpleNamespace) -> dict[str, str]:
    """Targets of the harmless rows, made by the source model now when no run has made them yet."""
    if p.harmless_targets == "source" and not harmless.made(run, p):
        harmless.make(run, p)
    return harmless.targets(run, p.harmless_targets)


def harmful(chat: models.Chat, law: Constitution, run: Run, p: SimpleNamespace) -> list[SftRow]:
    """The constitution's harmful rows from the teacher that the profile names.

    A round that failed is a row with a reason; nothing of it enters training. Raises CompanionError when the
    endpoint itself failed, or every round did: a later call may succeed, and what has been paid for is kept.
    """
    if p.teacher == "bundled":
        return sft.bundled_rows(law.id, p.revision_style)
    prompts = materials.prompts("train", *CATEGORIES)
    if p.teacher == "api":
        name = f"api:{p.teacher_model}"
        ask = teacher.api(p.teacher_model, p.teacher_url, run.path(f"teacher/{law.id}.jsonl"))
    else:
        name = f"local:{p.teacher_model or p.base_model}"
        writer = models.load(p.teacher_model, dtype=p.dtype, threads=p.threads) if p.teacher_model else chat
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
        row = sft.harmful_row(by_id[done.id], law.id, done.principle, done.critique or "-", done.revision, name)
        found.append(row.model_copy(update={"dropped": done.error}) if done.error else row)
    return sft.mark_duplicates(found)


def revisions_of(constitutions: list[str], revision_style: str) -> dict[str, list[str]]:
    """Recorded revisions by constitution, for those that have any."""
    known = materials.recorded(constitutions)
    return {c: [r.answer for r in sft.bundled_rows(c, revision_style) if not r.dropped] for c in known}


def examples(found: list[SftRow], number: int) -> pd.DataFrame:
    """Evenly spaced worked examples: request, opening of the first answer, principle, critique, revision."""
    usable = [r for r in found if r.kind == "harmful" and not r.dropped]
    initial = materials.initial_answers()
    chosen = usable[:: max(1, len(usable) // number)][:number]
    return pd.DataFrame(
        {
            "request": [r.prompt for r in chosen],
            "first answer": [_brief(initial[r.id]) for r in chosen],
            "principle": [r.principle for r in chosen],
            "critique": [r.critique for r in chosen],
            "revision": [r.answer for r in chosen],
        }
    )


def inputs(p: SimpleNamespace) -> list[Path]:
    """The data files that 01 reads, for its provenance."""
    names = [f"prompts/{n}.jsonl" for n in ("harmful", "harmless", "helpful_train", "contrast_train")]
    names += [f"constitutions/{p.constitution}.yaml", "transcripts/initial.jsonl"]
    if p.teacher == "bundled":
        names.append(f"transcripts/{p.constitution}.jsonl")
    return [DATA / n for n in names]


def _brief(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN].rsplit(" ", 1)[0] + " …"


def before_after(probes: list[Prompt], before: list, after: list) -> pd.DataFrame:
    """Openings of answers to the same requests before and after tuning."""
    return pd.DataFrame(
        {
            "request": [r.prompt for r in probes],
            "before": [_brief(a.text) for a in before],
            "after": [_brief(a.text) for a in after],
        }
    )
