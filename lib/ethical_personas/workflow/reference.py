"""Ship a finished run's rows: what `./run_all.sh figures` and notebooks by hand fall back on.

python -m ethical_personas.workflow.reference cpu            runs/cpu -> data/reference/cpu
python -m ethical_personas.workflow.reference cpu seed1      adds what runs/seed1 has of seeds that are not there yet
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from ethical_personas.errors import CompanionError
from ethical_personas.generate import source_answers
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs

OF_JOB = {"model", "run_dir", "constitution", "scope", "seed", "beside", "dose_steps"}  # parameters that are no recipe
# The default judge's verdicts spare `figures` minutes; each is taken only where judge, prompt and answer are the same.
SHIPPED = ("sft/*.jsonl", "eval/*/*.jsonl", "judgements/bundled/*.jsonl", "provenance/*.json")


def ship(profile: str) -> list[Path]:
    """Copy training rows, responses, persona rows and provenance of a run; returns the files written.

    Raises CompanionError when the run has no evaluations. Adapters stay: they are large and quickly made again.
    """
    run, target = ROOT / "runs" / profile, ROOT / "data" / "reference" / profile
    found = _shipped(run, SHIPPED)
    if not any(p.name == f"{inputs.RESPONSES}.jsonl" for p in found):
        raise CompanionError(f"runs/{profile}: no evaluations to ship; ./run_all.sh --profile {profile} makes them")
    shutil.rmtree(target, ignore_errors=True)
    return _copy(found, run, target)


def add(profile: str, name: str) -> list[Path]:
    """Copy what runs/<name> has of further seeds of shipped models beside them; returns the files written.

    Source, training rows and models that are shipped already stay as they are: a run of another machine, whose source
    gives other words in bfloat16, is measured against the shipped source. Its source's answers to harmless prompts, in
    which alone its training rows can differ, are kept in `sft_further`. Raises CompanionError for a run of another
    recipe than the shipped one and for one without further seeds.
    """
    run, target = ROOT / "runs" / name, ROOT / "data" / "reference" / profile
    shipped = {p.name for p in (target / "eval").glob("*-s*")}
    arms = {model.rpartition("-s")[0] for model in shipped}
    made = {p.parent.name for p in run.glob(f"eval/*-s*/{inputs.RESPONSES}.jsonl")}
    new = {m for m in made - shipped if m.rpartition("-s")[0] in arms and "@" not in m}
    if not new:
        raise CompanionError(
            f"runs/{name}: no further seed of a model of data/reference/{profile}; -p seeds makes some"
        )
    found = [p for p in _shipped(run, SHIPPED[1:]) if _model(p) in new]
    for record in (p for p in found if p.suffix == ".json"):
        known = _parameters(min((target / "provenance").glob(f"{record.stem.partition('-')[0]}-*-s*[0-9].json")))
        own = _parameters(record)
        if other := [k for k in known.keys() - OF_JOB if own.get(k) != known[k]]:
            raise CompanionError(f"{record.name} of runs/{name}: {min(other)} is not that of data/reference/{profile}")
    answers = run / source_answers.FILE
    if answers.is_file():
        place = target / "sft_further" / answers.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(answers, place)
    return _copy(found, run, target)


def _shipped(run: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files of a run by these patterns; rows of evaluation sets hold prompts that are not ours to ship."""
    foreign = inputs.set_rows("*.jsonl")
    return [p for pattern in patterns for p in sorted(run.glob(pattern)) if not p.match(foreign)]


def _model(path: Path) -> str:
    """The model of a file: eval/<model>/<rows>, judgements/<judge>/<model>, provenance/<stage>-<model>."""
    if path.suffix == ".json":
        return path.stem.partition("-")[2]
    return path.parent.name if path.parents[1].name == "eval" else path.stem


def _parameters(record: Path) -> dict:
    return json.loads(record.read_text(encoding="utf-8"))["parameters"]


def _copy(found: list[Path], run: Path, target: Path) -> list[Path]:
    for path in found:
        place = target / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return [target / p.relative_to(run) for p in found]


if __name__ == "__main__":
    try:
        print(f"{len((add if sys.argv[2:] else ship)(*sys.argv[1:]))} files shipped")
    except CompanionError as error:
        sys.exit(f"error: {error}")
