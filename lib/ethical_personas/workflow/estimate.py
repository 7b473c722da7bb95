"""What a run will take, before anything is spent: jobs, tokens, hours on one card, tokens of a paid endpoint.

    print(text(profile, "paper"))

Sizes are counted from the data; a token is taken to be four characters. Hours are the tokens at the rates that
`benchmarks/large.py` measured with a model of the paper's size (data/rates.csv), or, for a profile that has been
run, the seconds its own jobs took.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pandas as pd

from ethical_personas.evaluate import set_files
from ethical_personas.finetune import instructions
from ethical_personas.generate import training_rows
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, inputs, materials
from ethical_personas.study.profile import Profile

RATES = ROOT / inputs.RATES
CHARACTERS = 4  # a token, of English text
REVISION = {"plain": 45, "rich": 80}  # tokens of a revision
WITHIN = {"tokens": 1e6, "statements": 1e3, "dilemmas": 1e3}


class Load(NamedTuple):
    """One kind of work: how many jobs do it, how much of it in all, and the row of RATES that times it."""

    what: str
    jobs: int
    amount: float
    rate: str


def _tokens(texts) -> int:
    return sum(len(t) for t in texts) // CHARACTERS


def loads(p: Profile) -> list[Load]:
    """Work of a profile's local model: training, answering, scoring."""
    cells = grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)
    models = 1 + len(cells)
    prompts = materials.prompts("train")
    mean = _tokens(q.prompt for q in prompts) / len(prompts)
    refusals = p.rows_per_scope * (mean + REVISION[p.revision_style])
    others = (p.rows_per_scope + p.helpful_rows + p.contrast_rows + p.opinion_rows) * (mean + p.answer_tokens)
    asked = materials.prompts("eval")
    if p.eval_per_category:
        kinds = {q.category for q in asked}
        asked = asked[: p.eval_per_category * len(kinds)]
    more = sum(len(found.prompts) for found in set_files.read_all(p.eval_sets))
    items = p.item_limit * len(materials.instrument()) or len(materials.items())
    answers = (len(asked) + more) * p.max_new_tokens + items * p.item_text_wordings * p.item_text_tokens
    own = len(training_rows.harmless_needed(p)) * p.answer_tokens if p.harmless_targets == "source" else 0
    taught = []
    if p.source_stage == "sft" and not p.source_data.startswith("hf:"):
        texts = [row.prompt + row.answer for row in instructions.read(p.source_data)]
        taught = [Load("helpful-only source", 1, p.epochs * _tokens(texts), "training")]
    return [
        *taught,
        Load("source answers", bool(own), own, "answers"),
        Load("training", len(cells), len(cells) * p.epochs * (refusals + others), "training"),
        Load("answers to prompts and items", models, models * answers, "answers"),
        Load(
            "statements scored", models, models * (items + len(materials.pairs())), "statements, choice and likelihood"
        ),
        Load("dilemmas scored", models, models * len(materials.dilemmas()), "dilemmas"),
    ]


def paid(p: Profile) -> list[tuple[str, int, float, float]]:
    """Calls of paid endpoints: who, calls, tokens sent, tokens received."""
    found: list[tuple[str, int, float, float]] = []
    models = 1 + len(grid.cells(p.constitutions, p.scopes, p.seeds, p.controls))
    if asked := [c for c, kind in p.live.items() if kind == "api"]:
        needed = training_rows.prompts_needed(p.scopes, p.rows_per_scope, p.teacher_min_share)
        rounds = len(needed) * len(asked)
        sent = _tokens(q.prompt for q in needed) / len(needed) + p.max_new_tokens + 250  # the example and the principle
        found.append(("teacher", 2 * rounds, 2 * rounds * sent, rounds * (40 + REVISION[p.revision_style])))
    if p.judge == "api":
        calls = models * len(materials.prompts("eval"))
        found.append(("judge", calls, calls * (p.max_new_tokens + 350), calls * 20))
    return found


def measured(name: str) -> dict[str, dict]:
    """Stages of a profile's last full run in this clone or shipped with it; empty where there is none."""
    place = ROOT / "figures" / name / "provenance.json"
    return json.loads(place.read_text(encoding="utf-8"))["stages"] if place.is_file() else {}


def text(p: Profile, name: str) -> str:
    """The estimate as lines to print."""
    lines, found, hours = [], loads(p), 0.0
    rates = pd.read_csv(RATES).drop_duplicates("what", keep="last").set_index("what")
    for load in found:
        rate = rates.loc[load.rate]
        unit = rate["unit"].partition("/")[0]
        hours += load.amount / rate["rate"] / 3600
        lines.append(
            f"  {load.what:30} {load.jobs:4} jobs  {load.amount / WITHIN[unit]:8.2f} "
            f"{'million' if WITHIN[unit] == 1e6 else 'thousand'} {unit}"
        )
    if p.source_stage == "sft" and p.source_data.startswith("hf:"):
        lines.append(f"  not counted: training the helpful-only source on {p.source_data}, a hub's data set")
    if stages := measured(name):
        for stage, of in stages.items():
            lines.append(
                f"  {stage}: {of['wall_seconds'] / of['jobs']:.0f} s a job in the last full run ({of['jobs']} jobs)"
            )
    elif not p.base_model.startswith("wheel:"):  # the embedded model is fifty times smaller than the one timed
        card, size = rates["card"].iloc[-1], rates["parameters"].iloc[-1] / 1e9
        peak = rates["peak_mib"].max() / 1024
        lines.append(
            f"  about {hours:.1f} hours on one card, one job after the other, at the rates of a model of {size:.1f} "
            f"billion weights on an {card} (data/rates.csv); such a job peaked at {peak:.0f} GiB there, and "
            "start-up of jobs is not counted"
        )
    for who, calls, sent, received in paid(p):
        lines.append(
            f"  {who}: {calls} calls, {sent / 1e6:.1f} million tokens sent, {received / 1e6:.1f} million received; "
            "times your endpoint's prices"
        )
    return "\n".join(lines)
