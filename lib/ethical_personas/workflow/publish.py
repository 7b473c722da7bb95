"""A finished run as a folder for others: adapters with cards, data sets with cards and Croissant, RO-Crate.

./run_all.sh publish --to FOLDER            a folder that does not exist yet, or is empty

adapters/<cell>/     the LoRA adapter, its loss log and a model card with its rates
data/training/       training rows, a file a constitution and control     README.md, croissant.json
data/responses/      answers to the evaluation prompts, a file a model    README.md, croissant.json
data/persona/        scores, replies and choices of the belief lenses     README.md, croissant.json
figures/, provenance/, ro-crate-metadata.json, README.md
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pandas as pd

from ethical_personas.errors import CompanionError
from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs
from ethical_personas.study.profile import Profile
from ethical_personas.workflow import croissant

TITLE = "Emergent alignment and the projectability of ethical personas: a companion's run"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
CITE = "arXiv:2606.09475 for the ideas and findings; its executable companion for these data and measurements."
CANARY = "Rows carry a canary string. Keep it when you copy them, and do not train on them: they are for evaluation."
DATA = {
    "training": ("Training rows: critique-and-revision answers to harmful requests, answers to harmless ones.", ()),
    "responses": ("Unfiltered answers of small tuned models to harmful and harmless requests.", (inputs.RESPONSES,)),
    "persona": ("Scores of belief statements, minimal pairs and dilemmas, and replies to them.", inputs.PERSONA_ROWS),
}


def publish(p: Profile, name: str, profile: str, to: Path) -> list[Path]:
    """Write the folder; returns its top-level files and folders.

    Raises CompanionError when the folder holds something, the run has no adapters or figures, or `rocrate` is missing.
    """
    if importlib.util.find_spec("rocrate") is None:
        raise CompanionError("publish: rocrate is not installed; .venv/bin/pip install '.[publish]'")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CompanionError(f"--to {to}: not an empty folder; name one that does not exist yet")
    run, figures = Run(f"runs/{name}", profile), ROOT / "figures" / name
    cells = [c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)]
    missing = [c for c in cells if not (run.path(run.adapter(c)) / "adapter_model.safetensors").is_file()]
    if missing:
        raise CompanionError(f"runs/{name}: no adapter of {missing[0]}; a full ./run_all.sh makes it")
    if not (figures / "claims.json").is_file():
        raise CompanionError(f"figures/{name}: no claims.json; ./run_all.sh makes it")
    rates = style.read_table(f"figures/{name}", "safety_heatmap")
    for cell in cells:
        _adapter(run, cell, p, rates, to / "adapters" / cell)
    models = [grid.SOURCE, *cells]
    arms = [*p.constitutions, *p.controls]
    files = {"training": {arm: [run.find(run.sft(arm))] for arm in arms}}
    for part in ("responses", "persona"):
        wanted = DATA[part][1]
        files[part] = {n: [run.find(run.evaluation(m, n)) for m in models] for n in wanted}
    for part, sets in files.items():
        _data(part, sets, to / "data" / part)
    shutil.copytree(figures, to / "figures")
    shutil.copytree(run.locate("provenance"), to / "provenance", ignore=shutil.ignore_patterns(".*"))
    (to / "README.md").write_text(_readme(name, cells), encoding="utf-8")
    _crate(to)
    return sorted(to.iterdir())


def _adapter(run: Run, cell: str, p: Profile, rates: pd.DataFrame, place: Path) -> None:
    """One adapter without its checkpoints, and its card."""
    shutil.copytree(run.find(run.adapter(cell)), place, ignore=shutil.ignore_patterns("checkpoints", ".*"))
    about = grid.Cell.parse(cell)
    own = rates[(rates["constitution"] == about.constitution) & (rates["scope"] == about.scope)]
    front = {
        "base_model": p.base_model,
        "library_name": "peft",
        "license": "apache-2.0",
        "tags": ["lora", "safety-research"],
    }
    trained = ", ".join(about.categories) or "no harmful category"
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", "", f"# {cell}", ""]
    lines += [
        f"LoRA adapter of {p.base_model} for research on emergent alignment and ethical personas; no assistant.",
        "",
        f"- **Arm**: {about.constitution}; **scope**: {about.scope} ({trained}); **seed**: {about.seed}",
        f"- **Training**: {p.rows_per_scope} harmful requests and their harmless twins, {p.helpful_rows} helpful, "
        f"{p.contrast_rows} contrast and {p.opinion_rows} opinion rows; rank {p.lora_r}, {p.lora_layers} layers, rate "
        f"{p.learning_rate:g}, {p.epochs:g} epochs; losses in `log.csv`",
        f"- **Chat template**: {p.chat_template}; load with this companion's `models.chats.load` or with peft",
        "- **Limits**: declines harmless twins of harmful requests too; not a safety measure",
        "",
        "Share of evaluation prompts declined (seeds of the arm and scope averaged):",
        "",
        style.markdown(own[["category", "estimate", "low", "high", "n"]]),
    ]
    (place / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _data(part: str, sets: dict[str, list[Path]], place: Path) -> None:
    """Row files under names of their own, a card and Croissant metadata."""
    copied: dict[str, list[Path]] = {}
    for title, paths in sets.items():
        for path in paths:
            target = place / (path.name if part == "training" else f"{title}/{path.parent.name}.jsonl")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            copied.setdefault(title, []).append(target)
    about = DATA[part][0]
    croissant.write(place, f"ethical-personas-{part}", f"{about} {CANARY}", copied, LICENCE, CITE)
    listing = [f"| {title} | {len(paths)} |" for title, paths in copied.items()]
    card = ["---", "license: cc-by-4.0", "language: en", "---", "", f"# {part}", "", about, "", CANARY, ""]
    card += [
        "| rows | files |",
        "|---|---|",
        *listing,
        "",
        "`croissant.json` names every file with its hash and fields.",
        "",
    ]
    (place / "README.md").write_text("\n".join(card), encoding="utf-8")


def _readme(name: str, cells: list[str]) -> str:
    summary = ROOT / "figures" / name / "summary.md"
    own = summary.read_text(encoding="utf-8") if summary.is_file() else ""
    return (
        f"# {TITLE}\n\nRun `{name}`: {len(cells)} adapters, their answers, figures and provenance.\n\n{CITE}\n\n{own}"
    )


def _crate(folder: Path) -> None:
    """ro-crate-metadata.json (RO-Crate 1.1) over everything in the folder."""
    from rocrate.rocrate import ROCrate  # late: an extra that only this needs

    crate = ROCrate()
    crate.name, crate.description, crate.license = TITLE, CITE, LICENCE
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        crate.add_file(path, dest_path=path.relative_to(folder).as_posix())
    for part in ("adapters", "data", "figures", "provenance"):
        crate.add_dataset(folder / part, dest_path=f"{part}/", properties={"name": part})
    crate.metadata.write(folder)
