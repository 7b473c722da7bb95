"""What a run will take, before anything is spent: jobs, tokens, hours, tokens of a paid endpoint.

    print(text(parameters, "paper", "paper"))

Sizes are counted from the data; a token is taken to be four characters. A run that has been made, or one that differs
from its profile's, is timed by the seconds that those jobs took; any other by the rates of the measured model that is
nearest in size: one of the paper's on a card (data/rates.csv), or one of the ladder's on a processor.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import NamedTuple

import pandas as pd

from ethical_personas.evaluate import set_files
from ethical_personas.finetune import instructions
from ethical_personas.generate import training_rows
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, inputs, materials, parameters
from ethical_personas.study import profile as profiles
from ethical_personas.study.profile import Profile
from ethical_personas.workflow import disk, memory, names

RATES, RATES_PROCESSOR = ROOT / inputs.RATES, ROOT / inputs.RATES_PROCESSOR
CHARACTERS = 4  # a token, of English text
REVISION = {"plain": 45, "rich": 80}  # tokens of a revision
CRITIQUE = 40
WITHIN = {"tokens": 1e6, "statements": 1e3, "dilemmas": 1e3}


class Load(NamedTuple):
    """One kind of work: how many jobs do it, how much of it in all, and the kind of rate that times it."""

    what: str
    jobs: int
    amount: float
    rate: str


def _tokens(texts) -> int:
    return sum(len(t) for t in texts) // CHARACTERS


class Size(NamedTuple):
    """How much a profile asks for: tuned models, checkpoints along training, prompts of each kind that 03 asks."""

    cells: int
    checkpoints: int
    prompts: int  # the bundled ones
    more: int  # of evaluation sets whose files are there, which checkpoints are not asked


def _first(categories, number: int) -> int:
    """How many rows are the first `number` of each category (0: all), as notebook 03 takes them."""
    return sum(min(n, number) if number else n for n in Counter(categories).values())


def size(p: Profile) -> Size:
    """Counted from the grid, the prompts and the files of evaluation sets."""
    cells = grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)
    steps = sum(c.name in p.dose_cells for c in cells) * len(p.dose_steps)
    asked = _first((q.category for q in materials.prompts("eval")), p.eval_per_category)
    sets = set_files.read_present(p.eval_sets)
    more = sum(_first((q.category for q in found.prompts), p.eval_per_category) for found in sets)
    return Size(len(cells), steps, asked, more)


def _criticised(p: Profile) -> list:
    """Harmful prompts whose first answers a live teacher criticises, for each of its constitutions."""
    return training_rows.prompts_needed(p.scopes, p.rows_per_scope, p.teacher_min_share) if p.live else []


def _writing(p: Profile) -> list[Load]:
    """Work of the source before any cell: learning to answer, and its answers that others train on or criticise."""
    own = len(training_rows.harmless_needed(p)) * p.answer_tokens if p.harmless_targets == "source" else 0
    found = [Load("source answers", bool(own), own, "answers")]
    if p.source_stage == "sft" and not p.source_data.startswith("hf:"):
        texts = [row.prompt + row.answer for row in instructions.read(p.source_data)]
        found.insert(0, Load("helpful-only source", 1, p.epochs * _tokens(texts), "training"))
    if p.live:  # each constitution's job asks the source itself
        criticised = len(p.live) * len(_criticised(p))
        found.append(Load("first answers, criticised later", len(p.live), criticised * p.answer_tokens, "answers"))
    # At the source's own rate, also where the teacher is another model.
    if local := sum(kind == "local" for kind in p.live.values()):
        written = local * len(_criticised(p)) * (CRITIQUE + REVISION[p.revision_style])
        found.append(Load("the local teacher's rounds", local, written, "answers"))
    return found


def loads(p: Profile) -> list[Load]:
    """Work of a profile's local models: training, answering, scoring."""
    of = size(p)
    models = 1 + of.cells
    prompts = materials.prompts("train")
    mean = _tokens(q.prompt for q in prompts) / len(prompts)
    refusals = p.rows_per_scope * (mean + REVISION[p.revision_style])
    others = (p.rows_per_scope + p.helpful_rows + p.contrast_rows + p.opinion_rows) * (mean + p.answer_tokens)
    items = p.item_limit * len(materials.instrument()) or len(materials.items())
    answers = (of.prompts + of.more) * p.max_new_tokens + items * p.item_text_wordings * p.item_text_tokens
    along = of.checkpoints * of.prompts * p.max_new_tokens
    statements = models * (items + len(materials.pairs()))
    return [
        *_writing(p),
        Load("training", of.cells, of.cells * p.epochs * (refusals + others), "training"),
        Load("answers to prompts and items", models, models * answers, "answers"),
        *([Load("answers of checkpoints", of.checkpoints, along, "answers")] if along else []),
        Load("statements scored", models, statements, "statements, choice and likelihood"),
        Load("dilemmas scored", models, models * len(materials.dilemmas()), "dilemmas"),
    ]


def count_paid_calls(p: Profile) -> list[tuple[str, int, float, float]]:
    """Calls of paid endpoints: who, calls, tokens sent, tokens received."""
    found: list[tuple[str, int, float, float]] = []
    if asked := [c for c, kind in p.live.items() if kind == "api"]:
        needed = _criticised(p)
        rounds = len(needed) * len(asked)
        sent = _tokens(q.prompt for q in needed) / len(needed) + p.answer_tokens + 250  # the example and the principle
        found.append(("teacher", 2 * rounds, 2 * rounds * sent, rounds * (CRITIQUE + REVISION[p.revision_style])))
    if p.judge == "api":
        of = size(p)
        calls = (1 + of.cells) * (of.prompts + of.more) + of.checkpoints * of.prompts
        found.append(("judge", calls, calls * (p.max_new_tokens + 350), calls * 20))
    return found


def read_last_run(name: str) -> dict:
    """The record of a profile's last full run in this clone or shipped with it; empty where there is none."""
    place = ROOT / "figures" / name / "provenance.json"
    return json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}


def _like_run(p: Profile, known: str, own: bool) -> list[str]:
    """Jobs at the seconds that those of a run took, and their sum; nothing where it had another base model.

    Args:
        p: the parameters now.
        known: the run.
        own: whether it is the one that would be made again, and no other that is like it.
    """
    record, now = read_last_run(known), p.to_record()
    then = record.get("parameters", {})
    # What an older record does not tell was not there: as good as empty.
    changed = {k for k in {*now, *then} if (now.get(k) or None) != (then.get(k) or None)}
    if not record or "base_model" in changed:
        return []
    of = size(p)
    jobs = {inputs.SOURCE_STAGE: 1, "01_harmless": 1, "01_generate": len(p.constitutions)}
    jobs |= {"01_controls": len(p.controls), "02_finetune": of.cells, "03_evaluate": 1 + of.cells + of.checkpoints}
    lines, hours = [], 0.0
    for stage, took in record["stages"].items():
        seconds = took["wall_seconds"] / took["jobs"]
        hours += jobs[stage] * seconds / 3600
        there = f"as in the last full run of {known} ({took['jobs']} jobs)"
        lines.append(f"  {stage}: {jobs[stage]} jobs of {seconds:.0f} s, {there}")
    first = {k for book in profiles.NOTEBOOKS[:3] for k in parameters.declared(book)} | {"source_stage", "source_data"}
    other = ", ".join(sorted(changed & first - names.GRID))
    told = "an older recipe" if own else "not as in that run"
    differs = f"; {told}: {other}" if other else ""
    return [*lines, f"  about {hours:.1f} hours, one job after the other, at those seconds{differs}"]


def _at_rates(p: Profile, found: list[Load]) -> str:
    """Hours at the rates of the measured model that is nearest in size, which the line names with its machine."""
    number = base_models.parameters(p.base_model) or disk.by_name(p.base_model)
    if not number:
        return f"  hours: not counted, the size of {p.base_model} is not known here"
    card = pd.read_csv(RATES).drop_duplicates("what", keep="last")
    small = [table for _, table in pd.read_csv(RATES_PROCESSOR).groupby("parameters")]
    nearest = min([card, *small], key=lambda table: abs(math.log(table["parameters"].iloc[0] / number)))
    of, rates = nearest.iloc[-1], nearest.set_index("what")["rate"]
    hours = sum(load.amount / rates[load.rate] for load in found if load.rate in rates) / 3600
    left = ", ".join(["start-up of jobs", *(load.what for load in found if load.rate not in rates)])
    if nearest is card:
        peak = f"such a job peaked at {card['peak_mib'].max() / 1024:.0f} GiB there"
        told = "one card", "a model", f"an {of['card']} ({inputs.RATES}); {peak}"
    elif memory.card():
        return "  hours: not counted, on a card no model near this size was timed alone (docs/scale.md, One card)"
    else:
        told = "one core", of["model"], f"{of['machine']} ({inputs.RATES_PROCESSOR})"
    unit, model, machine = told
    return (
        f"  about {hours:.1f} hours on {unit}, one job after the other, at the rates of {model} of "
        f"{of['parameters'] / 1e9:.2g} billion weights on {machine}; not counted: {left}"
    )


def text(p: Profile, name: str, profile: str) -> str:
    """The estimate as lines to print, of the run `name` with these parameters of a profile."""
    lines, found = [], loads(p)
    for load in found:
        unit = {"training": "tokens", "answers": "tokens"}.get(load.rate, load.rate.partition(",")[0])
        lines.append(
            f"  {load.what:31} {load.jobs:4} jobs  {load.amount / WITHIN[unit]:8.2f} "
            f"{'million' if WITHIN[unit] == 1e6 else 'thousand'} {unit}"
        )
    if p.source_stage == "sft" and p.source_data.startswith("hf:"):
        lines.append(f"  not counted: training the helpful-only source on {p.source_data}, a hub's data set")
    for spec in set_files.absent(p.eval_sets):
        lines.append(f"  not counted: answers to {spec}, and their judging: there is no such file yet")
    lines += _like_run(p, name, own=True) or _like_run(p, profile, own=False) or [_at_rates(p, found)]
    for who, calls, sent, received in count_paid_calls(p):
        lines.append(
            f"  {who}: {calls} calls, {sent / 1e6:.1f} million tokens sent, {received / 1e6:.1f} million received; "
            "times your endpoint's prices"
        )
    return "\n".join(lines)
