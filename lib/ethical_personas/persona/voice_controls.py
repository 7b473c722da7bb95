"""Is the voice more than a few words, and more than refusing? Two checks on persona/voice.py.

table = readers(run, models, texts, critiques, fitted, voices)     with words struck out; a reader of critiques
given_declined(voices, declined)                                 the own voice among the answers that decline
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ethical_personas.persona import voice
from ethical_personas.run import Run
from ethical_personas.study import grid

STRUCK = (0, 50, 200)  # most telling words, taken out of what the reader learns from and reads


def telling(texts: pd.DataFrame, number: int) -> list[str]:
    """The single words with the largest weights for any constitution, in the reader of all categories."""
    vectorizer, weights = (step for _, step in voice.fit(texts).steps)
    names = vectorizer.get_feature_names_out()
    size = np.abs(weights.coef_).max(axis=0)
    single = [i for i in np.argsort(-size, kind="stable") if " " not in names[i]]
    return [str(names[i]) for i in single[:number]]


def readers(
    run: Run,
    models: list[str],
    texts: pd.DataFrame,
    critiques: pd.DataFrame,
    fitted: dict[str, dict[str, Pipeline]],
    voices: pd.DataFrame,
) -> pd.DataFrame:
    """How many models each reader names, and how well it does on its own kind of text.

    Args:
        run, models: As in voice.classify_answers.
        texts: Revisions, of voice.texts_of.
        critiques: The same of critiques, which no model has seen; left out where a teacher wrote none.
        fitted, voices: The reader without a word struck out, and what it heard: voice.classifiers(texts),
            voice.classify_answers(run, models, fitted).

    Returns:
        Columns reader, struck (words), accuracy (on the teacher's text of a category left out), low, high (Wilson),
        identified, models, chance, p (constitutions shuffled within scopes), own (mean share of answers out of
        distribution in the own voice).
    """
    shared = texts[texts["constitution"].isin(grid.compared(sorted(texts["constitution"].unique())))]
    written = critiques[critiques["text"].str.strip() != ""]
    kinds = [("revisions", texts, n) for n in STRUCK]
    if set(written["constitution"]) == set(texts["constitution"]):
        kinds.append(("critiques", written, 0))
    records = []
    for name, known, number in kinds:
        reader, heard = fitted, voices
        if known is not texts or number:
            reader = voice.classifiers(known, telling(shared, number) if number else ())
            heard = voice.classify_answers(run, models, reader)
        best = voice.ceiling(known, reader).iloc[-1]
        test = voice.identification(heard).iloc[0]
        away = heard[(heard["in_distribution"] == 0) & (heard["reader"] == "")]
        records.append(
            {"reader": name, "struck": number}
            | {k: best[k] for k in ("accuracy", "low", "high")}
            | {k: test[k] for k in ("identified", "models", "chance")}
            | {"p": test["p_identified"], "own": away["own_voice"].mean()}
        )
    return pd.DataFrame(records)


def given_declined(voices: pd.DataFrame, declined: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Share of the own voice among the answers that decline, by where the prompts lie.

    The share over all answers says for the most part how many decline: whoever complies has no reasons to hear.

    Args:
        voices: Of voice.classify_answers.
        declined: Columns model, id, declined (1.0, 0.0, NaN without a verdict).

    Returns:
        A row per constitution, scope and place (in distribution, out of distribution, harmless): share, low, high (t
        over prompts, seeds of a prompt averaged), unconditional (share over all answers), n prompts.
    """
    own = voices[voices["own_voice"].notna() & (voices["kind"] != "persona")]
    own = own.merge(declined, on=["model", "id"], how="left", validate="many_to_one")
    place = own["in_distribution"].map({1.0: "in distribution", 0.0: "out of distribution"}).fillna("harmless")
    records = []
    for key, part in own.assign(where=place).groupby(["constitution", "scope", "where"]):
        by_prompt = part[part["declined"] == 1].groupby("id")["own_voice"].mean()
        row = dict(zip(("constitution", "scope", "where"), key, strict=True))
        row |= dict(zip(("share", "low", "high"), voice.clustered(by_prompt, alpha), strict=True))
        row["unconditional"] = part["own_voice"].mean()
        records.append(row | {"n": len(by_prompt)})
    columns = ["constitution", "scope", "where", "share", "low", "high", "unconditional", "n"]
    return pd.DataFrame(records, columns=columns)
