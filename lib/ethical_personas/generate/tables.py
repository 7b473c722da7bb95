"""Tables of notebook 01: the training rows, what sets constitutions apart, worked examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from ethical_personas.generate import training_rows
from ethical_personas.study.brief import brief
from ethical_personas.study.rows import SftRow


def examples(found: list[SftRow], initial: dict[str, str], number: int) -> pd.DataFrame:
    """Evenly spaced worked examples: request, opening of the first answer, principle, critique, revision."""
    usable = [r for r in found if r.kind == "harmful" and not r.dropped]
    chosen = usable[:: max(1, len(usable) // number)][:number]
    return pd.DataFrame(
        {
            "request": [r.prompt for r in chosen],
            "first answer": [brief(initial[r.id]) for r in chosen],
            "principle": [r.principle for r in chosen],
            "critique": [r.critique for r in chosen],
            "revision": [r.answer for r in chosen],
        }
    )


def by_category(found: list[SftRow]) -> pd.DataFrame:
    """One row per kind and category: rows written, dropped, usable, answer length in words (median, 5-95 %)."""
    frame = pd.DataFrame([r.model_dump() for r in found])
    frame["words"] = frame["answer"].str.split().str.len()
    usable = frame[frame["dropped"].isna()]
    table = frame.groupby(["kind", "category"], sort=False).agg(rows=("id", "size"), dropped=("dropped", "count"))
    table["usable"] = table["rows"] - table["dropped"]
    lengths = usable.groupby(["kind", "category"])["words"].quantile([0.05, 0.5, 0.95]).unstack()
    return table.join(lengths.set_axis(["words_p5", "words_median", "words_p95"], axis=1)).reset_index()


def by_reason(found: list[SftRow]) -> pd.DataFrame:
    """Dropped rows by reason; one row saying `none` when all are usable."""
    reasons = training_rows.drops(found) or {"none": 0}
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
