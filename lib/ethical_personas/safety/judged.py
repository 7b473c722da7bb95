"""From a run's responses to one table of verdicts: who declined what.

frame = safety(run, ["source", "virtue-harassment-s0"], Judge("bundled"))
frame = safety(run, ["source", *checkpoints(run, cells, steps)], Judge("bundled"))   the same along training
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pandas as pd

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import ablation, calibration, judging, swap
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import gains
from ethical_personas.stats import prevalence
from ethical_personas.study import grid, inputs, materials, rows

COLUMNS = ["model", "constitution", "scope", "seed", "id", "category", "kind", "twin", "manner", "form", "seen"]
COLUMNS += ["declined"]
TUNED = "tuned"  # all models of a run but its source
DECLINED = {"declined": 1.0, "complied": 0.0, None: float("nan")}


def verdict_table(responses: list[rows.Response], judgements: list[rows.Judgement]) -> pd.DataFrame:
    """By model and kind: rows, share declined, empty answers, answers cut at the token limit, median tokens."""
    frame = pd.DataFrame([r.model_dump() for r in responses])
    frame["kind"] = frame["category"].map(grid.kind)
    frame["declined"] = [DECLINED[j.verdict] for j in judgements]
    frame["empty"] = frame["response"].str.strip() == ""
    frame["cut"] = ~frame["finished"]
    columns = {"declined": "mean", "empty": "sum", "cut": "sum", "tokens": "median"}
    groups = frame.groupby(["model", "kind"], sort=False)
    return groups.agg(rows=("id", "size"), **{k: (k, how) for k, how in columns.items()}).reset_index()


def safety(run: Run, models: list[str], judge: Judge) -> pd.DataFrame:
    """Judged responses, one row per model and prompt.

    Args:
        run: Where the responses are found and the verdicts are kept.
        models: `source`, cells or checkpoints `<cell>@<step>`.
        judge: Who gives the verdicts.

    Returns:
        Columns model, constitution, scope, seed (source: `source`, `source`, 0), id, category, kind (harmful, or one
        of the harmless kinds), twin, manner, form, seen (whether some training prompt has this manner; true where the
        row tells none), declined (1.0, 0.0, NaN where the judge gave no verdict).

    Raises:
        CompanionError: As `judged`.
    """
    records, trained = [], {None, *(p.manner for p in materials.prompts("train"))}
    for r, judgement in zip(*judged(run, models, judge), strict=True):
        about = (r.model, *grid.parse_model(r.model).values(), r.id, r.category, grid.kind(r.category), r.twin)
        records.append((*about, r.manner, r.form, r.manner in trained, DECLINED[judgement.verdict]))
    return pd.DataFrame(records, columns=COLUMNS)


def judged(
    run: Run, models: list[str], judge: Judge, name: str = inputs.RESPONSES, kind: type[rows.Response] = rows.Response
) -> tuple[list, list[rows.Judgement]]:
    """All responses of these models and one judgement each, in the same order.

    name, kind: the row file of the evaluation, and its rows' type.
    Raises CompanionError for a missing file, and when an endpoint failed on some responses: the verdicts paid for are
    kept, and the next call asks for the missing ones only.
    """
    responses = []
    for model in models:
        part = files.read(run.find(run.evaluation(model, name)), kind)
        odd = next((r.model for r in part if r.model != model), None)
        if odd:
            raise CompanionError(f"{run.evaluation(model, name)}: field model is {odd!r}; evaluate {model} again")
        responses += part
    cache = run.path(f"judgements/{judge.name}")
    read = tuple(place / "judgements" / judge.name for place in run.places[1:])
    judgements = judging.judge(responses, judge.name, model=judge.model, url=judge.url, cache=cache, read=read)
    judging.check_complete(judgements)
    return responses, judgements


def judge_all(run: Run, models: list[str], judge: Judge) -> None:
    """Have every verdict that 04 needs, so that a judge that fails does so before the first figure is replaced."""
    judged(run, models, judge)
    if cache := _calibration(run, judge):
        calibration.calibration_rows(judge.name, model=judge.model, url=judge.url, cache=cache)


def _calibration(run: Run, judge: Judge) -> Path | None:
    """Where the verdicts on the labelled rows are kept, for the judges that cost something."""
    return run.path(f"judgements/{judge.name}/calibration.jsonl") if judge.name in judging.COSTLY else None


def swapped(run: Run, models: list[str], judge: Judge) -> swap.Swap:
    """The run's judge beside the bundled and the keyword judge, on the same responses: rates, order, disagreements."""
    # The run's judge comes first, and stays itself where it is one of the two.
    judges = {j.name: j for j in (judge, Judge("bundled"), Judge("keyword"), judge)}
    judgements = {}
    for name, each in judges.items():
        responses, judgements[name] = judged(run, models, each)
    return swap.swap_table(responses, judgements)


def read_by_hand(responses: list[rows.Response]) -> list[rows.Reading | None]:
    """What data/judge/readings.jsonl has of each response (this text by this model); None where nobody read it."""
    known = {
        (r.model, r.id, r.response): r for r in files.read(calibration.FOLDER / calibration.READINGS, rows.Reading)
    }
    return [known.get((r.model, r.id, r.response)) for r in responses]


def labelled(run: Run, models: list[str], judge: Judge) -> pd.DataFrame:
    """The run's responses that were read by hand: a random sample of it, by model and kind of prompt.

    A tuned model's answer that only happens to be one of an earlier run's is left out, since nobody drew it; the
    source is the same model in every run.

    Returns:
        Columns id, model, group (source or tuned), arm (constitutions or the control) and scope of a tuned model (None
        for the source), category, kind, prompt, response, label, verdict; no row for another run, whose texts nobody
        has read.
    """
    responses, judgements = judged(run, models, judge)
    readings = read_by_hand(responses)
    runs = Counter(r.run for r in readings if r and r.model != grid.SOURCE)
    drawn = runs.most_common(1)[0][0] if runs else ""
    records = []
    for r, judgement, reading in zip(responses, judgements, readings, strict=True):
        if reading and (r.model == grid.SOURCE or reading.run == drawn):
            source = r.model == grid.SOURCE
            of = (
                (grid.SOURCE, None, None)
                if source
                else (TUNED, gains.arm_of(r.model), grid.parse_model(r.model)["scope"])
            )
            about = (r.id, r.model, *of, r.category, grid.kind(r.category), r.prompt, r.response)
            records.append((*about, calibration.NUMBER[reading.verdict], DECLINED[judgement.verdict]))
    columns = ["id", "model", "group", "arm", "scope", "category", "kind", "prompt", "response", "label", "verdict"]
    return pd.DataFrame(records, columns=columns)


def judge_report(run: Run, read: pd.DataFrame, judge: Judge, alpha: float = 0.05) -> pd.DataFrame:
    """How far the judge can be trusted: sensitivity, specificity and kappa, with intervals.

    Args:
        run: Where verdicts on labelled rows are kept.
        read: Of `labelled`; may be empty.
        judge: The run's judge.
        alpha: One minus the level of the intervals.

    Returns:
        Columns of `calibration.report` after `sample`: "this run" by group, arm and scope of the models and by kind of
        request; "earlier runs" by kind; "unseen styles", for the judges that cost nothing, by kind and style. Where the
        bundled judge is the run's, its parts alone and the keyword list (`by` is "judge") follow the first row of "this
        run" and of "unseen styles".
    """
    earlier = calibration.calibration_rows(judge.name, model=judge.model, url=judge.url, cache=_calibration(run, judge))
    samples = [("this run", read, ("group", "arm", "scope", "kind")), ("earlier runs", earlier, ("kind",))]
    if _calibration(run, judge) is None:
        styles = calibration.calibration_rows(judge.name, labels=calibration.unseen_styles())
        samples.append(("unseen styles", styles, ("kind", "style")))
    found = []
    for sample, table, by in samples:
        if len(table):
            report = calibration.report(table, by, alpha=alpha)
            parts = [report[:1], report[1:]]
            if judge.name == "bundled" and sample != "earlier runs":
                parts.insert(1, ablation.report(table, alpha))
            found.append(pd.concat(parts).assign(sample=sample))
    return pd.concat(found, ignore_index=True)[["sample", *report.columns]]


def corrected(run: Run, frame: pd.DataFrame, read: pd.DataFrame, judge: Judge, alpha: float = 0.05) -> pd.DataFrame:
    """S and O of every model, and of all tuned ones together, raw and freed of the judge's errors.

    Sensitivity and specificity are those on the run's own labels, of the source or of the tuned models, where it has
    some that decline, that comply; else those on earlier runs' held-out prompts. Tuned models are taken to share them.
    A mean error hangs on the rate, too, and is subtracted only from what the labels were drawn from: the source, and
    all tuned models together.

    Args:
        run: Where the verdicts on the labelled rows are kept.
        frame: Of `safety`.
        read: Of `labelled`; may be empty.
        judge: The judge of the frame.
        alpha: One minus the level of the intervals.

    Returns:
        Columns constitution, scope (tuned, all: all tuned models), measure, raw, corrected, low, high (Rogan and
        Gladen's rate, Lang and Reiczigel's interval: prompts and calibration), powered, powered_low, powered_high
        (prediction-powered), n, labels (of the run), sensitivity_from, specificity_from (this run, earlier runs);
        seeds pooled, prompts as clusters, kinds of prompt by their share. NaN where the judge is no better than
        chance.
    """
    frame = frame.dropna(subset=["declined"])
    kinds = frame["kind"].where(frame["kind"] == "harmful", "harmless")
    tuned = frame["constitution"] != grid.SOURCE
    parts = [(name, part) for name, part in frame.groupby(["constitution", "scope", kinds], sort=False)]
    parts += [((TUNED, "all", kind), part) for kind, part in frame[tuned].groupby(kinds[tuned], sort=False)]
    records = []
    for (constitution, scope, kind), part in parts:
        group = grid.SOURCE if constitution == grid.SOURCE else TUNED
        own = calibration.of_kind(read[read["group"] == group], kind).dropna(subset=["label", "verdict"])
        accuracy, where = _accuracy(run, own, part["kind"].value_counts(normalize=True), judge, kind)
        prompts = part["id"].to_numpy() if part["id"].duplicated().any() else None
        rate = calibration.corrected_rate(part["declined"], accuracy, prompts, alpha)
        powered = (math.nan,) * 3
        if constitution in (grid.SOURCE, TUNED):
            powered = prevalence.prediction_powered(_strata(part, own), alpha)
        row = {"constitution": constitution, "scope": scope, "measure": "S" if kind == "harmful" else "O"}
        row |= {"raw": part["declined"].mean()} | dict(zip(("corrected", "low", "high"), rate, strict=True))
        row |= dict(zip(("powered", "powered_low", "powered_high"), powered, strict=True))
        row |= {"n": len(part), "labels": len(own)}
        records.append(row | dict(zip(("sensitivity_from", "specificity_from"), where, strict=True)))
    return pd.DataFrame(records)


def _accuracy(run: Run, own: pd.DataFrame, shares: pd.Series, judge: Judge, kind: str):
    """Of `calibration.accuracy_of`, each side from the run's own labels where there are any; and where each is from."""
    ours = calibration.accuracy_of(own, shares)
    where = ["this run" if n else "earlier runs" for n in ours[1::2]]
    if "earlier runs" in where:
        cache = _calibration(run, judge)
        earlier = calibration.accuracy_counts(judge.name, kind, model=judge.model, url=judge.url, cache=cache)
        sensitivity = ours[:2] if where[0] == "this run" else earlier[:2]
        ours = (*sensitivity, *(ours[2:] if where[1] == "this run" else earlier[2:]))
    return ours, where


def _strata(part: pd.DataFrame, own: pd.DataFrame) -> list[prevalence.Stratum]:
    """Verdicts and labels of each kind of prompt."""
    found = []
    for kind, some in part.groupby("kind"):
        verdicts, marks = some["declined"].to_numpy(), own[own["kind"] == kind]
        n = prevalence.effective_size(verdicts, some["id"].to_numpy())
        found.append(prevalence.Stratum(verdicts, n, marks["label"].to_numpy(), marks["verdict"].to_numpy()))
    return found


def checkpoints(run: Run, cells: list[str], steps: list[int]) -> list[str]:
    """Names `<cell>@<step>` of these cells' evaluated checkpoints, by cell and step; empty when none was made."""
    names = [f"{cell}@{step}" for cell in cells for step in sorted(steps)]
    return [name for name in names if run.has(run.evaluation(name, inputs.RESPONSES))]
