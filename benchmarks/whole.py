"""The whole run against plain notebooks: the smoke profile from nothing both ways, and whether both end alike.

    python benchmarks/whole.py

companion: the command line behind ./run_all.sh, its jobs side by side on CORES cores.
plain notebooks: the six notebooks and the jobs between them one after the other, each by papermill's or Python's own
command, with `plain/sitecustomize.py` at their start: every layer in every pass, answers eight at a time in file
order, weights frozen. Its scores share prefixes, and its loss is on the answer's tokens, as the companion's.

Each side works in a copy of this tree with an empty runs/, into which the model is linked. Imports, kernels and
figures count. One pair takes some twenty minutes, so that only `./run_all.sh bench -- whole` runs it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from ethical_personas.generate import controls, source_answers
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, parameters
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import outputs, settings
from measure import Clock, Done, alternate, record

HERE = Path(__file__).parent
PROFILE = "smoke"
P = profiles.load(PROFILE, {})
RUN, FIGURES = f"runs/{PROFILE}", f"figures/{PROFILE}"
CORES = 2
TOLERANCE = 0.15  # of a cell's mean loss: in bfloat16 other batches give some harmless targets other words
PARTS = ("lib", "data", "profiles", "notebooks")


def copied(folder: Path) -> Path:
    """A copy of the code and data, as it is in the working tree, with the model and nothing else in its runs/."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / RUN / "notebooks").mkdir(parents=True)
    (folder / "runs/models").symlink_to(base_models.MODELS)
    return folder


def surroundings(tree: Path, plain: bool) -> dict[str, str]:
    """The environment of a side's processes: this tree's library, caches of its own, a thread each."""
    known = {k: v for k, v in os.environ.items() if k not in settings.ELSEWHERE}
    library = [str(HERE / "plain")] * plain + [str(tree / "lib")]
    places = {variable: str(tree / "runs" / place) for variable, place in settings.PLACES.items()}
    fixed = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "TOKENIZERS_PARALLELISM": "false"}
    return known | places | fixed | {"PYTHONPATH": os.pathsep.join(library)}


def companion() -> list[list[str]]:
    """One command, which starts all jobs."""
    return [[*python("ethical_personas.workflow.cli"), "--profile", PROFILE, "--", "--cores", str(CORES)]]


def python(module: str) -> list[str]:
    """This interpreter on a module."""
    return [sys.executable, "-m", module]


def notebook(name: str, suffix: str = "", **job) -> list[str]:
    """papermill on a notebook, with the parameters that the graph gives it."""
    given = parameters.for_notebook(P, name) | job | {"profile": PROFILE, "run_dir": RUN}
    paths = [f"notebooks/{name}.ipynb", f"{RUN}/notebooks/{name}{suffix}.ipynb"]
    return [
        *python("papermill"),
        *paths,
        "--kernel",
        "python3",
        "--no-progress-bar",
        "--parameters_yaml",
        json.dumps(given),
    ]


def between(job: str, *words: str) -> list[str]:
    """A job of the graph that is no notebook."""
    return [*python(f"ethical_personas.workflow.{job}"), RUN, PROFILE, *words]


def plain_notebooks() -> Iterator[list[str]]:
    """Every job of the graph, in an order in which each finds what it needs."""
    yield between("source_answers", json.dumps({k: getattr(P, k) for k in source_answers.PARAMETERS}))
    for name in P.constitutions:
        yield notebook("01_generate", f"-{name}", constitution=name, teacher=P.live.get(name, "bundled"))
    for name in P.controls:
        yield between("control_rows", name, json.dumps({k: getattr(P, k) for k in controls.PARAMETERS}))
    cells = grid.cells(P.constitutions, P.scopes, P.seeds, P.controls)
    for cell in cells:
        yield notebook("02_finetune", f"-{cell.name}", **vars(cell), beside=[], dose_steps=[])
    for model in (grid.SOURCE, *(cell.name for cell in cells)):
        yield notebook("03_evaluate", f"-{model}", model=model)
    for name in profiles.NOTEBOOKS[3:]:
        yield notebook(name, figures_dir=FIGURES)
    for name in P.constitutions:
        yield between("words", FIGURES, name, P.revision_style)
    yield between("summary", FIGURES, json.dumps(P.to_record()))


def side(plain: bool) -> Done:
    """Run one side from nothing. Its seconds are those of all its processes, its peak that of the largest of them."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        with Clock() as clock:
            for command in plain_notebooks() if plain else companion():
                done = subprocess.run(
                    command, cwd=tree, env=surroundings(tree, plain), capture_output=True, text=True, errors="replace"
                )
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)[:200]}: {(done.stdout + done.stderr)[-3000:]}")
        left = ends(tree)
    made = clock.done(left["tokens"], left)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of this process's children and theirs, none before these
    made.seconds = used.ru_utime + used.ru_stime
    made.peak = used.ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
    return made


def ends(tree: Path) -> dict:
    """What a run has left: ids of all rows, loss logs, figures and tables, verdicts, tokens trained on and answered."""
    run, figures = tree / RUN, tree / FIGURES
    kept = [f for part in ("sft", "eval") for f in sorted((run / part).rglob("*.jsonl"))]
    logs = {f.parent.name: pd.read_csv(f) for f in sorted(run.glob("adapters/*/log.csv"))}
    records = [json.loads(f.read_text(encoding="utf-8")) for f in run.glob("provenance/[!.]*.json")]
    claims = json.loads((figures / outputs.CLAIMS).read_text(encoding="utf-8"))["claims"]
    return {
        "rows": {str(f.relative_to(run)): [json.loads(row)["id"] for row in f.open(encoding="utf-8")] for f in kept},
        "steps": {cell: len(log) for cell, log in logs.items()},
        "losses": {cell: float(log["loss"].mean()) for cell, log in logs.items()},
        "files": sorted(str(f.relative_to(figures)) for f in figures.rglob("*") if f.is_file()),
        "tables": {f.stem: sum(1 for _ in f.open(encoding="utf-8")) for f in figures.glob("tables/*.csv")},
        "verdicts": {c["claim"]: c["verdict"] for c in claims},
        "tokens": int(sum(r.get("tokens", 0) for r in records)),
    }


def agreement(first: dict, second: dict) -> str:
    """What two runs have in common; SystemExit where rows, steps or files differ, or a loss by more than TOLERANCE."""
    for what in ("rows", "steps", "files"):
        if first[what] != second[what] or not first[what]:
            raise SystemExit(f"whole: the two sides have other {what}: {first[what]} and {second[what]}"[:2000])
    losses = second["losses"]
    apart = max(abs(loss - losses[cell]) / losses[cell] for cell, loss in first["losses"].items())
    if apart > TOLERANCE:
        raise SystemExit(f"whole: mean losses of a cell are {apart:.1%} apart, over {TOLERANCE:.0%}")
    rows, steps = sum(map(len, first["rows"].values())), sum(first["steps"].values())
    equal = {
        what: f"{sum(first[what][name] == value for name, value in second[what].items())} of {len(second[what])}"
        for what in ("tables", "verdicts")
    }
    return (
        f"the same {rows} rows, {steps} steps and {len(first['files'])} files; mean losses at most {apart:.1%} apart; "
        f"{equal['tables']} tables with as many rows, {equal['verdicts']} verdicts alike"
    )


if __name__ == "__main__":
    base_models.folder(P.base_model)  # fetched before anything is timed
    found = alternate({"companion": partial(side, False), "plain notebooks": partial(side, True)}, times=1)
    same = agreement(*(done[0].result for done in found.values()))
    for of, what in (("wall", f"wall clock, {CORES} cores"), ("seconds", "processor time")):
        record(f"whole run, {PROFILE} profile, {what}", found, same, of)
