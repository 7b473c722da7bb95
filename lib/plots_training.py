"""Tables and figures of notebooks 01 and 02: the training rows, what sets constitutions apart, the loss."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import CountVectorizer

from lib import figures, sft
from lib.rows import SftRow


def by_category(found: list[SftRow]) -> pd.DataFrame:
    """One row per category: rows written, dropped, usable, answer length in words (median, 5-95 %)."""
    frame = pd.DataFrame([r.model_dump() for r in found])
    frame["words"] = frame["answer"].str.split().str.len()
    usable = frame[frame["dropped"].isna()]
    table = frame.groupby("category", sort=False).agg(rows=("id", "size"), dropped=("dropped", "count"))
    table["usable"] = table["rows"] - table["dropped"]
    lengths = usable.groupby("category")["words"].quantile([0.05, 0.5, 0.95]).unstack()
    return table.join(lengths.set_axis(["words_p5", "words_median", "words_p95"], axis=1)).reset_index()


def by_reason(found: list[SftRow]) -> pd.DataFrame:
    """Dropped rows by reason; one row saying `none` when all are usable."""
    reasons = sft.drops(found) or {"none": 0}
    return pd.DataFrame({"reason": reasons.keys(), "rows": reasons.values()})


def principles_used(found: list[SftRow]) -> pd.DataFrame:
    """How many harmful rows each principle was applied to, and the share."""
    counts = pd.Series([r.principle for r in found if r.principle]).value_counts()
    return pd.DataFrame({"principle": counts.index, "rows": counts.values, "share": counts.values / counts.sum()})


def distinctive_words(texts: dict[str, list[str]], constitution: str, top: int = 12, prior: float = 500.0):
    """Words that set one constitution's revisions apart from the others': weighted log-odds and its z score.

    Log-odds with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008, eq. 16-22); columns word,
    log_odds, low, high (95 %), z, count, sorted by z. `prior` is the prior's total count.
    """
    names = list(texts)
    counter = CountVectorizer(lowercase=True, token_pattern=r"[a-z][a-z']+", stop_words="english")
    matrix = counter.fit_transform([" ".join(texts[n]) for n in names]).toarray().astype(float)
    common = matrix.sum(0) >= 5
    words, matrix, here = counter.get_feature_names_out()[common], matrix[:, common], names.index(constitution)
    own, rest = matrix[here], matrix.sum(0) - matrix[here]
    a = prior * matrix.sum(0) / matrix.sum()
    odds = np.log((own + a) / (own.sum() + prior - own - a)) - np.log((rest + a) / (rest.sum() + prior - rest - a))
    error = np.sqrt(1 / (own + a) + 1 / (rest + a))
    table = pd.DataFrame({"word": words, "log_odds": odds, "low": odds - 1.96 * error, "high": odds + 1.96 * error})
    table = table.assign(z=odds / error, count=own.astype(int))
    return table.sort_values("z", ascending=False).head(top).reset_index(drop=True)


def plot_words(table: pd.DataFrame, constitution: str, revisions: int) -> Figure:
    """The distinctive words as points with 95 % intervals, most distinctive on top."""
    fig, axis = plt.subplots(figsize=(figures.COLUMN, 2.9))
    place = np.arange(len(table))[::-1]
    spread = [table["log_odds"] - table["low"], table["high"] - table["log_odds"]]
    axis.errorbar(table["log_odds"], place, xerr=spread, fmt="o", color=figures.colour(constitution), ms=4, lw=1)
    axis.set_yticks(place, [f"{w}  ({n})" for w, n in zip(table["word"], table["count"], strict=True)])
    axis.axvline(0, color="#999999", lw=0.8)
    axis.set_xlabel("log-odds against the other constitutions, 95 % interval")
    axis.set_title(f"Words of {constitution} (count)\n{revisions} revisions", loc="left")
    return fig


def plot_loss(log: pd.DataFrame, constitution: str, title: str) -> Figure:
    """Answer loss by step, with its running mean over one eighth of training."""
    fig, axis = plt.subplots(figsize=(figures.COLUMN, 2.2))
    shade = figures.colour(constitution)
    axis.plot(log["step"], log["loss"], color=shade, alpha=0.35, lw=1, label="each step")
    smooth = log["loss"].rolling(max(2, len(log) // 8), min_periods=1).mean()
    axis.plot(log["step"], smooth, color=shade, lw=1.8, label="running mean")
    axis.set(xlabel="step", ylabel="loss on answer tokens (nats)", ylim=(0, None))
    axis.set_title(title, loc="left")
    axis.legend()
    return fig
