"""Notebook 03's calls: which prompts and items a model is asked, and first looks at what it did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from ethical_personas.models import lower_states
from ethical_personas.models.chats import Chat
from ethical_personas.models.decode import Generated
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import materials, rows
from ethical_personas.study.grid import SOURCE, Cell
from ethical_personas.study.inputs import EVALUATE

LOWER_STATES = "eval/lower_states.safetensors"  # of a run: what its models share with their source
SHOWN = 90  # characters of an answer to a harmful request that a notebook shows


def adapter(run: Run, model: str) -> Path | None:
    """The adapter folder of a model (a cell or `<cell>@<step>`); None for the source."""
    if model == SOURCE:
        return None
    Cell.parse(model.partition("@")[0])
    return run.find(run.adapter(model))


def reuse_lower_states(run: Run, chat: Chat) -> None:
    """Let a model take from the source's evaluation what its lower half would compute again; see `lower_states`."""
    there = run.locate(LOWER_STATES) if run.has(LOWER_STATES) else run.path(LOWER_STATES)
    chat.lower = lower_states.open_states(chat.model, there, source=chat.name == SOURCE)


def save_lower_states(run: Run, chat: Chat) -> str:
    """Leave the source's states for the models tuned from it; returns one line for the reader."""
    lower_states.save_states(chat.model, chat.lower, run.path(LOWER_STATES))
    return lower_states.described(chat.lower)


def prompts(per_category: int) -> list[rows.Prompt]:
    """Evaluation prompts, the first `per_category` of each category (0: all)."""
    return first_of(materials.prompts("eval"), "category", per_category)


def items(model: str, per_dimension: int) -> list[rows.Item]:
    """Belief items, the first `per_dimension` of each dimension (0: all); none for a checkpoint."""
    return [] if "@" in model else first_of(materials.items(), "dimension", per_dimension)


def pairs(model: str, per_dimension: int) -> list[rows.Pair]:
    """Minimal pairs, the first `per_dimension` of each dimension (0: all); none for a checkpoint."""
    return [] if "@" in model else first_of(materials.pairs(), "dimension", per_dimension)


def dilemmas(model: str, per_pair: int) -> list[rows.Dilemma]:
    """Dilemmas, the first `per_pair` of each ordered pair of constitutions (0: all); none for a checkpoint."""
    return [] if "@" in model else first_of(materials.dilemmas(), "sides", per_pair)


def tasks(model: str, per_skill: int) -> list[rows.Task]:
    """Short tasks, the first `per_skill` of each skill (0: all); none for a checkpoint."""
    return [] if "@" in model else first_of(materials.tasks(), "skill", per_skill)


def answered(model: str, asked: list[rows.Prompt]) -> list[tuple[rows.Prompt, str]]:
    """Those of the prompts that have a written answer to score, with it; none for a checkpoint."""
    answers = {} if "@" in model else materials.held_out_answers()
    return [(p, answers[p.id]) for p in asked if p.id in answers]


def first_of(found: list, field: str, number: int) -> list:
    """The first `number` rows of each value of a field, in order (0: all)."""
    seen: dict[Hashable, int] = defaultdict(int)
    kept = []
    for row in found:
        seen[getattr(row, field)] += 1
        if not number or seen[getattr(row, field)] <= number:
            kept.append(row)
    return kept


def responses(model: str, asked: list[rows.Prompt], answers: list[Generated]) -> list[rows.Response]:
    """Response rows, in the order of the prompts."""
    return [
        rows.Response(
            id=p.id,
            model=model,
            category=p.category,
            twin=p.twin,
            manner=p.manner,
            form=p.form,
            prompt=p.prompt,
            response=a.text,
            tokens=a.tokens,
            finished=a.finished,
        )
        for p, a in zip(asked, answers, strict=True)
    ]


def set_responses(model: str, asked: list[rows.SetPrompt], answers: list[Generated]) -> list[rows.SetResponse]:
    """Response rows to an evaluation set, in the order of the prompts."""
    return [
        rows.SetResponse(**p.model_dump(), model=model, response=a.text, tokens=a.tokens, finished=a.finished)
        for p, a in zip(asked, answers, strict=True)
    ]


def keep_only(folder: Path, written: list[Path]) -> None:
    """Remove rows of an earlier evaluation of this model that this one did not make again."""
    for path in set(folder.glob("*.jsonl")) - set(written):
        path.unlink()


def sample(found: list[rows.Response]) -> pd.DataFrame:
    """One answer per category, its opening only."""
    first = {r.category: r for r in reversed(found)}
    shown = [(c, r.prompt, r.response[:SHOWN] + (" …" if len(r.response) > SHOWN else "")) for c, r in first.items()]
    return pd.DataFrame(shown, columns=["category", "request", "opening of the answer"])


def task_sample(tasks: list[rows.Task], replies: list[rows.TaskReply]) -> pd.DataFrame:
    """One task per skill: its prompt, the answers that count as right, and the reply."""
    first = {
        t.skill: (t.skill, t.prompt, " / ".join(t.answers), r.reply)
        for t, r in reversed([*zip(tasks, replies, strict=True)])
    }
    return pd.DataFrame([*reversed(first.values())], columns=["skill", "task", "right", "reply"])


def persona_sample(items: list[rows.Item], scores: list[rows.ItemScore], texts: list[rows.ItemText]) -> pd.DataFrame:
    """One item per dimension: statement, mean log-odds of agreeing, and a free-text answer's opening."""
    first = {i.dimension: i for i in reversed(items)}
    choice = pd.DataFrame([(s.id, s.value) for s in scores if s.lens == "choice"], columns=["id", "value"])
    mean = choice.groupby("id")["value"].mean()
    said = {t.id: t.text[:SHOWN] for t in reversed(texts)}
    shown = [(d, i.statement, mean[i.id], said[i.id]) for d, i in reversed(first.items())]
    return pd.DataFrame(shown, columns=["dimension", "statement", "log-odds of agreeing", "said"])


def inputs(folder: Path | None) -> list[Path]:
    """The files that 03 reads, for its provenance."""
    return [ROOT / f for f in EVALUATE] + ([folder / "adapter_model.safetensors"] if folder else [])
