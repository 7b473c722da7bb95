"""How far a judge can be trusted: its verdicts against labels read by hand, on held-out prompts.

    report(calibration_rows("bundled"), ("kind",))         sensitivity, specificity and kappa, by kind of prompt
    corrected_rate(declined, accuracy_counts("bundled"))   -> (estimate, low, high)

The calibration rows answer evaluation prompts, none of which took part in fitting the bundled judge.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import proportion_confint

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import judging
from ethical_personas.paths import DATA
from ethical_personas.stats import prevalence
from ethical_personas.study import grid, rows

FOLDER = DATA / "judge"
READINGS = "readings.jsonl"
KEPT = FOLDER / "judgements"  # verdicts of the bundled judge and its encoder on these rows (judge.kept)
MEASURES = ("accuracy", "precision", "sensitivity", "specificity")
NUMBER = {"declined": 1.0, "complied": 0.0, "unclear": math.nan, None: math.nan}


def read_labels(name: str = "labels") -> list[rows.Label]:
    """Rows of data/judge/<name>.jsonl: labels, labels_second, styles, written or written_held_out."""
    return files.read(FOLDER / f"{name}.jsonl", rows.Label)


def as_responses(labels: list[rows.Label]) -> list[rows.Response]:
    """Labelled rows as a judge takes them."""
    fields = ("id", "model", "category", "twin", "prompt", "response")
    return [rows.Response(**{f: getattr(r, f) for f in fields}, tokens=0, finished=True) for r in labels]


@functools.cache
def _held_out() -> tuple[rows.Label, ...]:
    found = tuple(r for r in read_labels() if r.split == "held_out")
    if not found:
        raise CompanionError(
            f"{FOLDER / 'labels.jsonl'}: no row with split `held_out`; a judge needs some to be trusted"
        )
    return found


def calibration_rows(
    judge_name: str,
    *,
    model: str = "",
    url: str = "",
    cache: Path | None = None,
    labels: list[rows.Label] | None = None,
) -> pd.DataFrame:
    """Columns id, model, category, kind, style, prompt, response, label, verdict; a row a label.

    `label` and `verdict` are 1.0 declined, 0.0 complied, NaN unclear or without verdict. `labels` defaults to the
    held-out rows; `cache` keeps the verdicts of judges that cost something.
    """
    if labels is None:
        return _held_out_rows(judge_name, model, url, cache).copy()
    return _judged_labels(labels, judge_name, model, url, cache)


@functools.cache  # asked for by the report and by every kind's rates
def _held_out_rows(judge_name: str, model: str, url: str, cache: Path | None) -> pd.DataFrame:
    return _judged_labels(list(_held_out()), judge_name, model, url, cache)


def _judged_labels(labels: list[rows.Label], judge_name: str, model: str, url: str, cache: Path | None) -> pd.DataFrame:
    found = judging.judge(as_responses(labels), judge_name, model=model, url=url, cache=cache, read=(KEPT,))
    judging.check_complete(found)
    table = []
    for label, judgement in zip(labels, found, strict=True):
        table.append(
            {
                "id": label.id,
                "model": label.model,
                "category": label.category,
                "kind": label.category if label.style else grid.kind(label.category),
                "style": label.style,
                "prompt": label.prompt,
                "response": label.response,
                "label": NUMBER[label.verdict],
                "verdict": NUMBER[judgement.verdict],
            }
        )
    return pd.DataFrame(table)


def unseen_styles() -> list[rows.Label]:
    """Written rows in the styles that take no part in fitting."""
    return [r for r in read_labels("styles") if r.split == "held_out"]


def report(table: pd.DataFrame, by: tuple[str, ...], bootstrap: int = 2000, alpha: float = 0.05) -> pd.DataFrame:
    """Accuracy, precision, sensitivity and specificity of `declined` and kappa, each with an interval, by group.

    Args:
        table: Of `calibration_rows`.
        by: Columns whose values are the groups, rows without a value left out; all rows together come first.
        bootstrap: Resamples of prompts for the interval of kappa.
        alpha: One minus the level of the intervals.

    Returns:
        Columns by, group, n, prompts, declined, unclear (rows labelled so, left out), no_verdict (rows the judge failed
        on), each measure with _low and _high. Proportions have Wilson intervals widened for prompts answered by several
        models (design effect); kappa a percentile bootstrap over prompts.
    """
    groups = [("all", "all", table)]
    for column in by:
        groups += [(column, value, part) for value, part in table.groupby(column, sort=True)]
    return pd.DataFrame([{"by": by_, "group": g, **measures(part, bootstrap, alpha)} for by_, g, part in groups])


def measures(table: pd.DataFrame, bootstrap: int = 2000, alpha: float = 0.05) -> dict:
    """The numbers of one group of calibration rows; an undefined measure is NaN."""
    clear = table.dropna(subset=["label", "verdict"])
    y, v = clear["label"].to_numpy(), clear["verdict"].to_numpy()
    found = {
        "n": len(clear),
        "prompts": clear["prompt"].nunique(),
        "declined": int(y.sum()),
        "unclear": int(table["label"].isna().sum()),
        "no_verdict": int((table["verdict"].isna() & table["label"].notna()).sum()),
    }
    hits = {"accuracy": y >= 0, "precision": v == 1, "sensitivity": y == 1, "specificity": y == 0}
    for name, among in hits.items():
        p, low, high = proportion(y[among] == v[among], clear["prompt"].to_numpy()[among], alpha)
        found |= {name: p, f"{name}_low": low, f"{name}_high": high}
    kappa = [math.nan] * 3
    if len(clear) and len(set(y)) > 1:
        kappa = [kappa_of(y, v), *np.nanquantile(resampled_kappas(clear, bootstrap), [alpha / 2, 1 - alpha / 2])]
    return found | dict(zip(("kappa", "kappa_low", "kappa_high"), kappa, strict=True))


def format_measure(row, measure: str) -> str:
    """A measure of a row of `report`, with its interval: `0.95 [0.90, 0.98]`; a dash where it is undefined."""
    if math.isnan(row[measure]):
        return "–"
    return f"{row[measure]:.2f} [{row[f'{measure}_low']:.2f}, {row[f'{measure}_high']:.2f}]"


def compact(report: pd.DataFrame) -> pd.DataFrame:
    """`report` to be read: every measure in one column with its interval, two decimals."""
    names = (*MEASURES, "kappa")
    words = {name: [format_measure(row, name) for row in report.to_dict("records")] for name in names}
    return report.drop(columns=[f"{name}{end}" for name in names for end in ("_low", "_high")]).assign(**words)


def kappa_of(one, other) -> float:
    """Cohen's kappa of two codings of the same rows."""
    return float(cohen_kappa_score(one, other))


def resampled_kappas(clear: pd.DataFrame, bootstrap: int) -> np.ndarray:
    """Kappa of each of `bootstrap` resamples of the prompts, the same ones for other verdicts on the same rows.

    From the 2x2 counts, so that 2000 resamples take milliseconds.
    """
    cell = pd.crosstab(clear["prompt"], clear["label"] * 2 + clear["verdict"]).reindex(columns=range(4), fill_value=0)
    counts = cell.to_numpy()
    draws = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=bootstrap)
    a, b, c, d = (draws @ counts).T.astype(float)  # label, verdict: 00, 01, 10, 11
    n = a + b + c + d
    chance = ((a + b) * (a + c) + (c + d) * (b + d)) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, ((a + d) / n - chance) / (1 - chance), np.nan)


def proportion(hits, clusters, alpha: float = 0.05) -> tuple[float, float, float]:
    """(share, low, high): Wilson interval at the effective sample size; NaN without rows."""
    hits = np.asarray(hits, dtype=float)
    if not len(hits):
        return math.nan, math.nan, math.nan
    n = prevalence.effective_size(hits, clusters)
    low, high = proportion_confint(hits.mean() * n, n, alpha=alpha, method="wilson")
    return float(hits.mean()), float(low), float(high)


def accuracy_counts(
    judge_name: str, kind: str | None = None, *, model: str = "", url: str = "", cache: Path | None = None
) -> tuple[float, float, float, float]:
    """(sensitivity, its effective n, specificity, its effective n) on held-out rows of one prompt kind, or of all.

    NaN where the judge gave no verdict on any row of a label; raises CompanionError where no row has the label.
    """
    table = of_kind(calibration_rows(judge_name, model=model, url=url, cache=cache).dropna(subset=["label"]), kind)
    for value, word in ((1.0, "declined"), (0.0, "complied")):
        if not (table["label"] == value).any():
            raise CompanionError(
                f"{FOLDER / 'labels.jsonl'}: field verdict: no held-out {kind or ''} row labelled "
                f"{word}; label some, or correct without `kind`"
            )
    return accuracy_of(table)


def of_kind(table: pd.DataFrame, kind: str | None) -> pd.DataFrame:
    """Rows of a kind of prompt; `harmless` is every kind that is not harmful, None all."""
    if kind == "harmless":
        return table[table["kind"] != "harmful"]
    return table if kind is None else table[table["kind"] == kind]


def accuracy_of(table: pd.DataFrame, shares: pd.Series | None = None) -> tuple[float, float, float, float]:
    """(sensitivity, its effective n, specificity, its effective n) of labelled rows with verdicts; NaN without rows.

    shares: of each kind of prompt among the responses: rows of a kind that was read more often than asked count less.
    """
    kinds = table["kind"].value_counts(normalize=True)
    each = kinds * 0 + 1 if shares is None else shares.reindex(kinds.index, fill_value=0.0) / kinds
    found: list[float] = []
    for value in (1.0, 0.0):
        part = table[table["label"] == value].dropna(subset=["verdict"])
        hits, weight = (part["verdict"] == value).to_numpy(), part["kind"].map(each).to_numpy(float)
        if not weight.sum():
            found += [math.nan, 0.0]
            continue
        kish = weight.sum() ** 2 / (len(weight) * (weight**2).sum())  # what unequal weights leave of the rows
        n = kish * prevalence.effective_size(hits, part["prompt"].to_numpy())
        found += [float(np.average(hits, weights=weight)), n]
    return found[0], found[1], found[2], found[3]


def corrected_rate(
    declined, accuracy: tuple[float, float, float, float], prompts=None, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Share of responses that truly decline, freed of the judge's errors: (estimate, low, high) in [0, 1].

    Rogan & Gladen 1978: theta = (p + q0 - 1) / (q0 + q1 - 1), with q1 the sensitivity and q0 the specificity. The
    interval is Lang & Reiczigel's (2014), which carries the uncertainty of p and of both calibration samples.

    Args:
        declined: Verdicts, 1.0 or 0.0; NaN (no verdict) is left out.
        accuracy: Of `accuracy_counts` or `accuracy_of`, on labels of the same kind of prompt.
        prompts: Cluster of each value: widens the interval for prompts answered by several models.
        alpha: One minus the level of the interval.

    Returns:
        Three NaN without values, where q0 + q1 <= 1 (a judge no better than chance), and where the judge gave no
        verdict on the labelled rows of one side.
    """
    values = np.asarray(declined, dtype=float)
    keep = ~np.isnan(values)
    sensitivity, n1, specificity, n0 = accuracy
    if not keep.any() or math.isnan(sensitivity + specificity):
        return math.nan, math.nan, math.nan
    n = prevalence.effective_size(values[keep], None if prompts is None else np.asarray(prompts)[keep])
    return prevalence.rogan_gladen(float(values[keep].mean()), n, sensitivity, n1, specificity, n0, alpha)


def agreement(bootstrap: int = 2000, alpha: float = 0.05) -> pd.DataFrame:
    """Agreement and kappa of two readings of the same rows, for the verdict (declined or not) and coherence.

    Returns:
        Columns sample (labels: labels.jsonl and its second pass; written: of styles.jsonl; else the full run that the
        rows of readings.jsonl were drawn from), mark, n, agreement, kappa, each with _low and _high.
    """
    first = {(r.id, r.model): r for r in read_labels()}
    again = [(first[r.id, r.model], r) for r in read_labels("labels_second")]
    pairs = [("labels", a.prompt, (a.verdict, b.verdict), (a.coherence, b.coherence)) for a, b in again]
    for r in files.read(FOLDER / READINGS, rows.Reading):
        marks = (r.first, r.second), (r.first_coherence, r.second_coherence)
        pairs.append((r.run or "written", r.prompt, *marks))
    table = pd.DataFrame(pairs, columns=["sample", "prompt", "verdict", "coherence"])
    found = []
    for sample, part in table.groupby("sample", sort=False):
        for mark, positive in (("verdict", "declined"), ("coherence", "sensible")):
            both = np.array([[float(one == positive) for one in marks] for marks in part[mark]])
            said = pd.DataFrame({"prompt": part["prompt"].array, "label": both[:, 0], "verdict": both[:, 1]})
            m = measures(said, bootstrap, alpha)
            keys = ("n", "accuracy", "accuracy_low", "accuracy_high", "kappa", "kappa_low", "kappa_high")
            numbers = {k.replace("accuracy", "agreement"): m[k] for k in keys}
            found.append({"sample": sample, "mark": mark} | numbers)
    return pd.DataFrame(found)
