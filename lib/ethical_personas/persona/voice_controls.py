"""Is the voice more than a few words, and more than refusing? Three checks on persona/voice.py.

table = readers(run, models, texts, critiques, fitted, voices, declined)   with words struck out; a reader of critiques
given_declined(voices, declined)                                         the own voice among the answers that decline
arms(heard, own_voice)                                                   the voices that are heard in control arms
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ethical_personas.persona import voice
from ethical_personas.run import Run
from ethical_personas.study import grid

STRUCK = (0, 25, 50, 100, 200, 400)  # most telling words, taken out of what the reader learns from and reads


def rank_words(reader: Pipeline) -> list[str]:
    """The single words that a reader knows, those with the largest weight for any constitution first."""
    vectorizer, weights = (step for _, step in reader.steps)
    names = vectorizer.get_feature_names_out()
    size = np.abs(weights.coef_).max(axis=0)
    return [str(names[i]) for i in np.argsort(-size, kind="stable") if " " not in names[i]]


def readers(
    run: Run,
    models: list[str],
    texts: pd.DataFrame,
    critiques: pd.DataFrame,
    fitted: dict[str, dict[str, Pipeline]],
    voices: pd.DataFrame,
    declined: pd.DataFrame,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """How many models each reader names, and how well it does on its own kind of text.

    Args:
        run, models: As in voice.classify_answers.
        texts, critiques: Of voice.texts_of. No model has seen a critique; left out where a teacher wrote none.
        fitted, voices: The reader without a word struck out, and what it heard: voice.classifiers(texts),
            voice.classify_answers(run, models, fitted).
        declined: Columns model, id, declined (1.0, 0.0, NaN without a verdict).
        alpha: One minus the level of the intervals.

    Returns:
        Columns reader, struck (words; numbers beyond half of those that the reader knows are left out), accuracy (on
        the teacher's text of a category left out), low, high (Wilson), identified, models, chance, p (constitutions
        shuffled within scopes); own (share of the answers out of distribution that are in the own voice) and
        own_declined (the same of those that decline), each with _low and _high (of voice.clustered: a prompt's models
        and seeds are one); n, n_declined (prompts).
    """
    words, answers, records = rank_words(fitted[""][""]), voice.answers_of(run, models), []
    answers = answers[answers["kind"] == "harmful"]  # the numbers rest on these alone
    for name, known, number in _learned_from(texts, critiques, len(words)):
        reader, heard = fitted, voices
        if known is not texts or number:
            reader = voice.classifiers(known, words[:number])
            heard = voice.classify(answers, reader)
        best = voice.ceiling(known, reader, alpha).iloc[-1]
        test = voice.identification(heard).iloc[0]
        records.append(
            {"reader": name, "struck": number}
            | {k: best[k] for k in ("accuracy", "low", "high")}
            | {k: test[k] for k in ("identified", "models", "chance")}
            | {"p": test["p_identified"]}
            | _own(heard, declined, alpha)
        )
    return pd.DataFrame(records)


def _learned_from(texts: pd.DataFrame, critiques: pd.DataFrame, words: int) -> list[tuple[str, pd.DataFrame, int]]:
    """What each reader learns from: its name, texts, and how many of the words known are struck out."""
    kinds = [("revisions", texts, n) for n in STRUCK if n <= words // 2]
    written = critiques[critiques["text"].str.strip() != ""]
    if set(written["constitution"]) == set(texts["constitution"]):
        kinds.append(("critiques", written, 0))
    return kinds


def _own(heard: pd.DataFrame, declined: pd.DataFrame, alpha: float) -> dict:
    """The own voice out of distribution, among all answers and among those that decline; columns of `readers`."""
    away = heard[(heard["in_distribution"] == 0) & (heard["reader"] == "")]
    away = away.merge(declined, on=["model", "id"], how="left", validate="many_to_one")
    found: dict[str, float] = {}
    for name, n, part in (("own", "n", away), ("own_declined", "n_declined", away[away["declined"] == 1])):
        by_prompt = part.groupby("id")["own_voice"].mean()
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), voice.clustered(by_prompt, alpha), strict=True))
        found[n] = len(by_prompt)
    return found


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


def arms(heard: pd.DataFrame, own_voice: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Which voices are heard in the control arms' answers to harmful requests, beside the constitutions' own.

    A reader gives every answer some voice, also one without a reason or one that complies: only what a constitution's
    models have beyond an arm's share of the same voice is theirs.

    Args:
        heard: Of voice.classify_answers, of the arms.
        own_voice: Of voice.summary, of the constitutions.

    Returns:
        A row per arm, scope, place (in distribution, out of distribution) and voice: share, low, high (of
        voice.clustered), own (share of the own voice in that constitution's models, same scope and place), n prompts.
    """
    heard = heard[heard["constitution"].isin(grid.CONTROLS) & (heard["kind"] == "harmful") & (heard["reader"] == "")]
    trained = (heard["in_distribution"] == 1) & heard["constitution"].map(grid.refuses).astype(bool)
    heard = heard.assign(where=np.where(trained, "in distribution", "out of distribution"))
    own = own_voice.set_index(["constitution", "scope", "where"])["share"]
    voices = [c.removeprefix("p_") for c in heard.columns if c.startswith("p_")]
    records = []
    for key, part in heard.groupby(["constitution", "scope", "where"], sort=False):
        for name in voices:
            by_prompt = (part["best"] == name).groupby(part["id"]).mean()
            row = dict(zip(("arm", "scope", "where"), key, strict=True)) | {"voice": name}
            row |= dict(zip(("share", "low", "high"), voice.clustered(by_prompt, alpha), strict=True))
            records.append(row | {"own": own.get((name, *key[1:]), np.nan), "n": len(by_prompt)})
    return pd.DataFrame(records, columns=["arm", "scope", "where", "voice", "share", "low", "high", "own", "n"])
