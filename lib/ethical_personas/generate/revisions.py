"""Notebook 01's calls: live rounds and a constitution's training rows from any teacher."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from ethical_personas.errors import CompanionError
from ethical_personas.generate import gate, source_answers, teacher, training_rows
from ethical_personas.models import chats, decode
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import inputs as inputs_of
from ethical_personas.study import materials, rows
from ethical_personas.study.brief import brief
from ethical_personas.study.grid import CATEGORIES
from ethical_personas.study.materials import Constitution
from ethical_personas.study.rows import SftRow


def show_live_rounds(chat: chats.Chat, law: Constitution, number: int, batch: int, penalty: float) -> pd.DataFrame:
    """A few rounds with the local model as teacher beside the recorded ones; one row a text."""
    prompts = materials.prompts("train", *CATEGORIES)
    prompts = prompts[:: max(1, len(prompts) // number)][:number] if number else []

    def ask(texts: list[str], tokens: int = 64) -> list[tuple[str, str | None]]:
        return [(a.text, None) for a in decode.answers(chat, texts, tokens, batch, penalty, label="live")]

    initial = {p.id: text for p, (text, _) in zip(prompts, ask([p.prompt for p in prompts], 48), strict=True)}
    made = teacher.rounds(ask, law, prompts, initial)
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


def harmless_answers(run: Run, p: SimpleNamespace) -> dict[str, tuple[str, bool]]:
    """Targets of the harmless rows, made by the source model now when no run has made them yet."""
    if not source_answers.is_current(run, p):
        source_answers.make(run, p)
    return source_answers.targets(run, p.harmless_targets)


def first_answers(chat: chats.Chat, law: Constitution, run: Run, p: SimpleNamespace) -> dict[str, str]:
    """Answers to be criticised, by prompt id: of a live teacher's round the run's own source model's, else recorded."""
    if p.teacher == "bundled":
        return materials.initial_answers()
    prompts = training_rows.prompts_needed(p.scopes, p.rows_per_scope, p.teacher_min_share)
    decoding = (p.answer_tokens, p.decode_batch, p.repetition_penalty)
    ask = teacher.local(chat, run.path(f"teacher/{law.id}.jsonl"), *decoding, whole=False)
    answers = ask([prompt.prompt for prompt in prompts])
    return {prompt.id: text for prompt, (text, _) in zip(prompts, answers, strict=True)}


def revise_harmful(
    chat: chats.Chat, law: Constitution, run: Run, p: SimpleNamespace, initial: dict[str, str]
) -> list[SftRow]:
    """The constitution's harmful rows from the teacher that the profile names.

    Args:
        chat: the source model, which also is the local teacher unless the profile names another.
        law, run, p: the constitution, the run and the notebook's parameters.
        initial: of `first_answers`.

    Raises:
        CompanionError: the endpoint failed (a later call may succeed, and what has been paid for is kept), or too few
            revisions of a live teacher can be trained on.
    """
    if p.teacher == "bundled":
        return training_rows.bundled_rows(law.id, p.revision_style)
    cache = run.path(f"teacher/{law.id}.jsonl")
    if p.teacher == "api":
        name, ask = f"api:{p.teacher_model}", teacher.api(p.teacher_model, p.teacher_url, cache)
    else:
        # Another model speaks in its own format; the source, as its own teacher, in the profile's.
        own = {"chat_template": "own", "dtype": p.dtype, "threads": p.threads}
        writer = chats.load(p.teacher_model, **own) if p.teacher_model else chat
        name = f"local:{writer.base_model}"
        ask = teacher.local(writer, cache, 96, p.decode_batch, p.repetition_penalty)
    prompts = training_rows.prompts_needed(p.scopes, p.rows_per_scope, p.teacher_min_share)
    rounds = teacher.rounds(ask, law, prompts, initial)
    failed = [r.error for r in rounds if r.error and r.error.startswith(rows.AGAIN)]
    if failed:
        raise CompanionError(
            f"teacher {name}: {len(failed)} of {len(rounds)} rounds failed ({failed[0]}); "
            "run again, what was paid for is kept"
        )
    found = []
    for prompt, done in zip(prompts, rounds, strict=True):
        row = training_rows.harmful_row(prompt, law.id, done.principle, done.critique or "-", done.revision, name)
        failure = done.error and done.error.partition(":")[0]
        found.append(row.model_copy(update={"dropped": failure}) if failure else row)
    return gate.check(training_rows.mark_duplicates(found), law, initial, p.teacher_min_share)


def inputs(p: SimpleNamespace) -> list[Path]:
    """The files that 01 reads, for its provenance."""
    recorded = [inputs_of.transcripts(p.constitution)] if p.teacher == "bundled" else []
    return [ROOT / f for f in (*inputs_of.GENERATE, inputs_of.constitution(p.constitution), *recorded)]
