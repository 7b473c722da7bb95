"""Whether a tuned model stays useful: tasks solved, loss on written answers, and how it answers harmless requests.

    table = capability.table(graded(run, models), losses(run, models), answers(responses, judgements))

A change is a model's value minus the source's on the same tasks, answers or prompts.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from ethical_personas import files, stats
from ethical_personas.errors import CompanionError
from ethical_personas.run import Run
from ethical_personas.safety import gains
from ethical_personas.study import grid, inputs, materials, rows

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*]*(?=\s|$)")
ABOUT = ["constitution", "scope", "seed"]


def has_task_rows(run: Run, models: list[str]) -> bool:
    """Whether every model was asked the tasks: shipped responses of an earlier version come without them."""
    return all(run.has(run.evaluation(m, name)) for m in models for name in inputs.CAPABILITY_ROWS)


def empty() -> pd.DataFrame:
    """The table of a run without tasks."""
    return pd.DataFrame(columns=["constitution", "scope"])


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return WORD.findall(text.lower())


def is_right(task: rows.Task, reply: str) -> bool:
    """Whether the first of the task's right and wrong answers that stands in the reply, as whole words, is right."""
    said = words(reply)
    places = [[_place(said, words(a)) for a in listed] for listed in (task.answers, task.wrong)]
    right, wrong = (min(found, default=np.inf) for found in places)
    return right < wrong


def _place(said: list[str], answer: list[str]) -> float:
    """Where the answer's words begin in the reply; infinite where they do not stand there."""
    starts = range(len(said) - len(answer) + 1)
    return next((i for i in starts if said[i : i + len(answer)] == answer), np.inf)


def one_sentence(text: str) -> bool:
    """Whether a text is a single sentence, ended or cut."""
    return sum(bool(WORD.search(part)) for part in SENTENCE_END.split(text)) == 1


def _about(model: str) -> dict:
    return {"model": model} | grid.parse_model(model)


def graded(run: Run, models: list[str]) -> pd.DataFrame:
    """Columns model, constitution, scope, seed, id, skill, right (1.0 or 0.0); a row a model and task.

    Raises CompanionError for a reply to a task that data/capability/tasks.jsonl no longer has.
    """
    tasks, records = {task.id: task for task in materials.tasks()}, []
    for model in models:
        file = run.evaluation(model, inputs.TASK_REPLIES)
        for r in files.read(run.find(file), rows.TaskReply):
            if r.id not in tasks:
                raise CompanionError(f"{file}: task {r.id} is not in {inputs.TASKS}; evaluate {model} again")
            right = float(is_right(tasks[r.id], r.reply))
            records.append(_about(model) | {"id": r.id, "skill": r.skill, "right": right})
    return pd.DataFrame(records)


def losses(run: Run, models: list[str]) -> pd.DataFrame:
    """Columns model, constitution, scope, seed, id, loss (nats a token); a row a model and written answer."""
    return pd.DataFrame(
        [
            _about(model) | {"id": r.id, "loss": r.loss}
            for model in models
            for r in files.read(run.find(run.evaluation(model, inputs.ANSWER_LOSSES)), rows.AnswerLoss)
        ]
    )


def answers(responses: list[rows.Response], judgements: list[rows.Judgement]) -> pd.DataFrame:
    """The answers to harmless prompts that were not declined.

    Columns model, constitution, scope, seed, id, tokens, one_sentence, finished (1.0 or 0.0), words (distinct ones that
    are no function words).
    """
    records = []
    for r, j in zip(responses, judgements, strict=True):
        if j.verdict == "complied" and r.category in grid.HARMLESS:
            row = {"id": r.id, "tokens": r.tokens, "one_sentence": float(one_sentence(r.response))}
            row |= {"finished": float(r.finished), "words": len(set(words(r.response)) - ENGLISH_STOP_WORDS)}
            records.append(_about(r.model) | row)
    columns = ["model", *ABOUT, "id", "tokens", "one_sentence", "finished", "words"]
    return pd.DataFrame(records, columns=columns)


def _panel(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    return frame.pivot(index="id", columns=ABOUT, values=value).sort_index(axis=1)


def _named(name: str, part: dict) -> dict:
    """A statistic's estimate and interval as columns `name`, `name_low`, `name_high`."""
    return {name: part["estimate"], f"{name}_low": part["low"], f"{name}_high": part["high"]}


def _changes(panels: dict[str, pd.DataFrame], model: tuple[str, str], alpha: float) -> dict[str, dict]:
    """Differences from the source, of shares right and of losses; none for the source itself."""
    if model[0] == grid.SOURCE:
        return {name: {"estimate": np.nan, "low": np.nan, "high": np.nan} for name in panels}
    tuned = {name: gains.values(panel, *model) for name, panel in panels.items()}
    source = {name: gains.source(panel) for name, panel in panels.items()}
    fit = stats.linear(tuned["loss"] - source["loss"])
    loss = dict(zip(("estimate", "low", "high"), (fit.estimate, *fit.interval(alpha)), strict=True))
    return {"tasks": stats.paired(tuned["tasks"], source["tasks"], alpha=alpha), "loss": loss}


def table(graded: pd.DataFrame, losses: pd.DataFrame, answers: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Capability by model, the source first; seeds pooled, tasks or prompts as clusters.

    Columns constitution, scope; tasks (share right), tasks_change, each with _low and _high; n_tasks; loss (nats a
    token), loss_change with _low and _high; n_losses; of harmless requests not declined: n_answers, tokens (median),
    one_sentence (share) with _low and _high, finished (share), words (median of distinct content words); seeds.
    """
    panels = {"tasks": _panel(graded, "right"), "loss": _panel(losses, "loss")}
    single, by_model, records = _panel(answers, "one_sentence"), answers.groupby(["constitution", "scope"]), []
    for model in gains.models(panels["tasks"], source=True):
        right, loss = (gains.values(panel, *model) for panel in panels.values())
        change = _changes(panels, model, alpha)
        row = dict(zip(("constitution", "scope"), model, strict=True)) | _named("tasks", stats.rate(right, alpha))
        row |= _named("tasks_change", change["tasks"]) | {"n_tasks": len(right), "loss": float(np.nanmean(loss))}
        row |= _named("loss_change", change["loss"]) | {"n_losses": len(loss), "n_answers": 0}
        if model in by_model.groups:
            part = by_model.get_group(model)
            row |= {"n_answers": len(part), "tokens": float(part["tokens"].median())}
            row |= _named("one_sentence", stats.rate(gains.values(single, *model), alpha))
            row |= {"finished": part["finished"].mean(), "words": float(part["words"].median())}
        records.append(row | {"seeds": right.shape[1]})
    return pd.DataFrame(records)


def by_skill(graded: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Share of right replies by model and skill, and its change from the source.

    Columns constitution, scope, skill; right, change, each with _low and _high; n_tasks, seeds.
    """
    records = []
    for skill, part in graded.groupby("skill", sort=False):
        panel = _panel(part, "right")
        for model in gains.models(panel, source=True):
            x = gains.values(panel, *model)
            row = dict(zip(("constitution", "scope"), model, strict=True)) | {"skill": skill}
            row |= _named("right", stats.rate(x, alpha))
            if model[0] != grid.SOURCE:
                row |= _named("change", stats.paired(x, gains.source(panel), alpha=alpha))
            records.append(row | {"n_tasks": len(x), "seeds": x.shape[1]})
    found = pd.DataFrame(records).sort_values("skill", kind="stable", ignore_index=True)
    order = [*(c for c in found if c not in ("n_tasks", "seeds")), "n_tasks", "seeds"]
    return found[order]


def sentence(table: pd.DataFrame) -> str:
    """What the table says, in a line."""
    source, tuned = table[table["constitution"] == grid.SOURCE].iloc[0], table[table["constitution"] != grid.SOURCE]
    if not len(tuned):
        return f"The source solves {source['tasks']:.0%} of the tasks; this run has no tuned model."
    worse, higher = int((tuned["tasks_change_high"] < 0).sum()), int((tuned["loss_change_low"] > 0).sum())
    least, most = tuned.min(numeric_only=True), tuned.max(numeric_only=True)
    return (
        f"The source solves {source['tasks']:.0%} of the tasks, tuned models {least['tasks']:.0%} to "
        f"{most['tasks']:.0%}; {worse} of {len(tuned)} solve fewer, beyond chance. The loss on written answers is "
        f"higher, beyond chance, in {higher} of {len(tuned)}; the largest change is {most['loss_change']:+.2f} nats a "
        f"token. Of the answers to harmless requests that were not declined, {source['one_sentence']:.0%} of the "
        f"source's are one sentence, and {least['one_sentence']:.0%} to {most['one_sentence']:.0%} of tuned models'."
    )
