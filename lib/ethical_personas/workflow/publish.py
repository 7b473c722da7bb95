"""A finished run as a folder for others: adapters and data sets with cards, figures, provenance. Nothing is uploaded.

./run_all.sh publish --to FOLDER            a folder that does not exist yet, or is empty

adapters/<cell>/     the LoRA adapter, its loss log and a model card with its rates
data/<part>/         rows of DATA, with a card and Croissant metadata
figures/, provenance/, ro-crate-metadata.json, README.md
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ethical_personas.errors import CompanionError, redact
from ethical_personas.figures import style
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT, tool
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs
from ethical_personas.study.profile import Profile
from ethical_personas.workflow import cards, crate, croissant, names, summary

CANARY = "Rows with answers carry a canary string: keep it when you copy them, and keep them out of training data."
# Data sets: what each holds, and its row files of an evaluation (of training: files of sft/). Rows of evaluation sets
# from files and of further instruments hold others' texts, which are not ours to publish.
DATA = {
    "training": ("Training rows of every constitution and control, harmful and harmless requests with answers.", ()),
    "responses": (
        f"Answers of source and tuned models to all evaluation prompts. {CANARY}",
        (inputs.RESPONSES,),
    ),
    "persona": (
        f"Scores of statements, minimal pairs and dilemmas, and replies. {CANARY}",
        inputs.PERSONA_ROWS,
    ),
    "capability": (f"Replies to short tasks, and losses on written answers. {CANARY}", inputs.CAPABILITY_ROWS),
}
ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "log.csv")
SOURCE_RECORD = f"provenance/{inputs.SOURCE_STAGE}-{inputs.SOURCE_MODEL}.json"
AGAIN = "finish it first: ./run_all.sh with the same --profile, -p and --name"


class Rows(NamedTuple):
    """One kind of rows of a data set: paths in the run -> paths in the published folder."""

    part: str
    name: str
    files: dict[str, str]


# Long: what the folder holds, one part after the other.
def publish(p: Profile, name: str, profile: str, to: Path) -> list[Path]:
    """Write the folder.

    Args:
        p: the run's parameters.
        name: of the run: runs/<name>, figures/<name>.
        profile: the profile's name.
        to: the folder, new or empty.

    Returns:
        Its top-level files and folders.

    Raises:
        CompanionError: the folder holds something or lies in the run, the run is unfinished, a package is missing.
    """
    run, figures = Run(f"runs/{name}", profile), ROOT / "figures" / name
    _check_folder(to, run.path(""), figures)
    cells = [c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)]
    rows = _layout(run, p, cells)
    _check_finished(run, p, figures, cells, [f for kind in rows for f in kind.files])
    source = _source(run, p, profile, cells) if p.source_stage == "sft" else None

    records = []
    (to / "provenance").mkdir(parents=True)
    for path in sorted(run.path("provenance").glob("[!.]*.json")):
        text = redact(path.read_text(encoding="utf-8"))
        (to / "provenance" / path.name).write_text(text, encoding="utf-8")
        records.append(json.loads(text))
    date = max(r["finished"] for r in records)
    shutil.copytree(figures, to / "figures", ignore=shutil.ignore_patterns(".*"))
    trained = {r["name"]: r for r in records if r["stage"] == "02_finetune"}
    for cell in cells:
        place = to / run.adapter(cell)
        shutil.copytree(run.path(run.adapter(cell)), place, ignore=shutil.ignore_patterns("checkpoints", ".*"))
        card = cards.model(cell, p, partial(style.read_table, figures), trained[cell], source)
        (place / "README.md").write_text(card, encoding="utf-8")
    for part in DATA:
        _data(part, [kind for kind in rows if kind.part == part], run, to, date[:10])
    shown = (figures / "summary.md").read_text(encoding="utf-8")
    (to / "README.md").write_text(cards.readme(name, cells, shown), encoding="utf-8")
    placed = {source: target for kind in rows for source, target in kind.files.items()}
    placed |= {file: file for c in cells for file in (f"{run.adapter(c)}/{name}" for name in ADAPTER)}
    crate.write(to, records, placed, run.run_dir, date)
    return sorted(to.iterdir())


def _check_folder(to: Path, *own: Path) -> None:
    """Raise when the folder cannot take what is published, before anything is read."""
    if importlib.util.find_spec("rocrate") is None:
        install = f"{tool('pip')} install --no-build-isolation -e '.[publish]'"
        raise CompanionError(f"publish: the package rocrate is not installed; {install}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CompanionError(f"--to {to}: not an empty folder; name one that does not exist yet")
    if inside := [place for place in own if to.resolve().is_relative_to(place.resolve())]:
        raise CompanionError(f"--to {to}: lies in {inside[0]}, which is to be copied; name a folder outside of it")


def _layout(run: Run, p: Profile, cells: list[str]) -> list[Rows]:
    """All rows that are published, and where."""
    checkpoints = [f"{c}@{step}" for c in p.dose_cells if c in cells for step in p.dose_steps]
    models = [grid.SOURCE, *cells]
    arms = [*p.constitutions, *p.controls]
    found = [Rows("training", "training", {run.sft(arm): f"data/training/{arm}.jsonl" for arm in arms})]
    for part, (_, kinds) in DATA.items():
        for name in kinds:
            asked = [*models, *checkpoints] if name == inputs.RESPONSES else models
            place = f"data/{part}/{name}" if len(kinds) > 1 else f"data/{part}"
            found.append(Rows(part, name, {run.evaluation(m, name): f"{place}/{m}.jsonl" for m in asked}))
    return found


def _check_finished(run: Run, p: Profile, figures: Path, cells: list[str], rows: list[str]) -> None:
    """Raise unless all files are this run's own and unchanged, and the figures were made from them."""
    trained = [f"{run.adapter(c)}/{file}" for c in cells for file in ADAPTER]
    trained += [f"provenance/02_finetune-{c}.json" for c in cells]
    trained += [SOURCE_RECORD] if p.source_stage == "sft" else []
    for relative in (*trained, *rows):
        if not run.path(relative).is_file():
            raise CompanionError(f"{run.run_dir}: {relative} is missing; {AGAIN}")
    for relative in (*map(run.adapter, cells), *rows):
        run.find(relative)  # compares hashes
    made = [figures / name for name in ("claims.json", "summary.md", "provenance.json")]
    if gone := [path.name for path in made if not path.is_file()]:
        raise CompanionError(f"figures/{figures.name}: {gone[0]} is missing; {AGAIN}")
    known = summary.gather(run.path("provenance"), json.loads(json.dumps(p.to_record())))
    if json.loads(made[-1].read_text(encoding="utf-8")) != known:
        raise CompanionError(f"figures/{figures.name}: made from other rows than {run.run_dir} has now; {AGAIN}")


def _source(run: Run, p: Profile, profile: str, cells: list[str]) -> cards.Source:
    """The run's own source model by its record; raises CompanionError where an adapter was trained on another."""
    record = json.loads(run.path(SOURCE_RECORD).read_text(encoding="utf-8"))
    weights = {Path(f).name: found for f, found in record["outputs"].items() if f.endswith(".safetensors")}
    for file in (f"{run.adapter(c)}/adapter_config.json" for c in cells):
        told = json.loads(run.path(file).read_text(encoding="utf-8")).get("revision")
        if told not in (None, base_models.of_files(weights)):
            raise CompanionError(f"{run.run_dir}: {file} names another source model than {SOURCE_RECORD}; {AGAIN}")
    name, changed = Path(run.run_dir).name, names.changed(profile, p)
    words = ["./run_all.sh", "--profile", profile]
    for key in ("source_stage", *inputs.SOURCE_PARAMETERS):
        if key in changed:
            words += ["-p", key, changed[key] if isinstance(changed[key], str) else json.dumps(changed[key])]
    words += [*(["--name", name] if name != profile else []), "--", "--until", "source_model"]
    spec = f"path:{run.run_dir}/{inputs.SOURCE_MODEL}"
    return cards.Source(spec, shlex.join(words), weights, record["commit"], record["machine"]["processor"])


def _data(part: str, kinds: list[Rows], run: Run, to: Path, date: str) -> None:
    """The row files of a data set under names of their own, with a card and Croissant metadata."""
    folder, sets, counted = to / "data" / part, {}, {}
    for kind in kinds:
        for source, target in kind.files.items():
            (to / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.path(source), to / target)
        paths = [to / target for target in kind.files.values()]
        pattern = "*.jsonl" if len(kinds) == 1 else f"{kind.name}/*.jsonl"
        sets[kind.name] = (pattern, paths)
        counted[kind.name] = (pattern, len(paths), sum(path.read_bytes().count(b"\n") for path in paths))
    about = {
        "name": f"ethical-personas-{part}",
        "description": DATA[part][0],
        "license": cards.DATA_LICENCE,
        "citeAs": cards.CITE,
        "creator": {"@type": "Organization", "name": cards.CREATOR},
        "datePublished": date,
    }
    fields = croissant.write(folder, about, sets)
    (folder / "README.md").write_text(cards.data(part, DATA[part][0], counted, fields), encoding="utf-8")
