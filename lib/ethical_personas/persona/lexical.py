"""Is it belief, or the words of the training text? The same tests with the frequency of single words taken out.

    odds = log_odds(texts)                 texts: of persona.voice.texts_of
    table = control(contrasts, texts)      contrasts: of persona.lens_shifts.averaged

A model tuned on a constitution's text finds statements in that text's words more probable, whatever they say. Each
statement therefore has a lexical score for each constitution: the mean, over its words, of the log-odds of the word in
the constitution's teacher text against the compared others' (Monroe, Colaresi and Quinn 2008, prior of 500 words; as in
notebook 01, here with every word). A minimal pair's score is the statement's minus its reversal's, and 0 where both
have the same words.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.persona import lens_shifts, matching
from ethical_personas.stats import bootstrap
from ethical_personas.study import grid, materials

COLUMNS = ["constitution", "scope", "lens", "r", "low", "high", "cosine", "cosine_without"]
COLUMNS += ["alignment", "alignment_without", "without_low", "without_high", "without_p", "n_items", "reason"]


def log_odds(texts: pd.DataFrame, prior: float = 500.0) -> pd.DataFrame:
    """Log-odds of each word in each constitution's texts against the compared others': rows words, a column each."""
    names = list(texts["constitution"].unique())
    words = texts.assign(word=texts["text"].map(lens_shifts.words_of)).explode("word").dropna(subset="word")
    counts = pd.crosstab(words["word"], words["constitution"]).reindex(columns=names, fill_value=0).astype(float)
    compared = grid.compared(names)
    found = {}
    for name in names:
        own, rest = counts[name], counts[[c for c in compared if c != name]].sum(axis=1)
        share = prior * (own + rest) / (own + rest).sum()
        ends = [(n + share) / (n.sum() + prior - n - share) for n in (own, rest)]
        found[name] = (np.log(ends[0]) - np.log(ends[1])).where(own + rest > 0, 0.0)
    return pd.DataFrame(found)


def scores(texts: pd.DataFrame) -> pd.DataFrame:
    """Lexical score of every statement and minimal pair (rows ids) for each constitution (columns)."""
    odds = log_odds(texts)

    def score(text: str) -> np.ndarray:
        words = lens_shifts.words_of(text)
        return odds.reindex(words, fill_value=0.0).to_numpy().mean(0)

    found = {i.id: score(i.statement) for i in materials.items()}
    found |= {p.id: score(p.statement) - score(p.reversal) for p in materials.pairs()}
    return pd.DataFrame(found, index=odds.columns).T


def control(
    contrasts: pd.DataFrame, texts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Columns COLUMNS, a row for each constitution, scope and lens; seeds averaged.

    r, low, high: correlation of a model's unsigned item contrasts with the lexical score (bootstrap over items).
    cosine, alignment: as in matching.signature_match; cosine_without, alignment_without and its interval and p: the
    same of the residuals of the contrasts' regression on the lexical score. reason: why there is nothing to take out.
    """
    signatures, lexical, records = materials.signatures(), scores(texts), []
    rivals = grid.compared(contrasts["constitution"].unique())
    keys = ["dimension", "keyed", "id"]
    for (constitution, scope, lens), part in contrasts.groupby(["constitution", "scope", "lens"], sort=False):
        if constitution not in signatures or constitution not in lexical:
            continue
        items = part.groupby(keys, as_index=False)["contrast"].mean()
        words = lexical[constitution].reindex(items["id"]).to_numpy(float)
        row = {"constitution": constitution, "scope": scope, "lens": lens, "n_items": len(items), "reason": ""}
        rest = items
        if np.ptp(words) > 1e-9:
            rest = _partialled(items, words)
            resampler = stats.Resampler(matching.strata(items["dimension"], items["keyed"]), draws, seed)
            unsigned = (items["keyed"] * items["contrast"]).to_numpy()
            weights = np.vstack([np.ones(len(items)), resampler.weights])
            drawn = bootstrap.correlation(unsigned, words, weights)
            row |= {"r": drawn[0]} | dict(zip(("low", "high"), stats.interval(drawn[1:], alpha), strict=True))
        else:
            row["reason"] = "the two statements of every pair have the same words"
        dimensions = sorted(items["dimension"].unique())
        names, signs = matching.expected(signatures, [*rivals, constitution], dimensions)
        for name, table in (("", items), ("_without", rest)):
            profile = table.groupby("dimension")["contrast"].mean()[dimensions].to_numpy()
            row[f"cosine{name}"] = float(matching.cosine(profile, signs[names.index(constitution)]))
            fit = matching.alignment(table.assign(seed=0), signatures[constitution], alpha)
            row[f"alignment{name}"] = fit["alignment"]
        row |= {f"without_{end}": fit[f"alignment_{end}"] for end in ("low", "high", "p")}
        records.append(row)
    return pd.DataFrame(records, columns=COLUMNS)


def _partialled(items: pd.DataFrame, words: np.ndarray) -> pd.DataFrame:
    """Items with the part of their unsigned contrasts that is linear in the lexical score taken out."""
    centred, unsigned = words - words.mean(), items["keyed"] * items["contrast"]
    slope = float(centred @ (unsigned - unsigned.mean()) / (centred @ centred))
    return items.assign(contrast=items["keyed"] * (unsigned - slope * centred))
