"""The voice lens: which constitution do a model's reasons sound like?

A TF-IDF + logistic regression classifier learns the constitutions from the teacher's revisions. Answers to a harm
category are read by a classifier that has never seen a revision of that category, so that it cannot go by topic;
harmless answers and replies to belief items are read by one trained on all categories.

The compared constitutions (grid.compared) share a reader, "", that knows their voices alone. A constitution added to
the study has a reader of its own, who knows its voice too: nothing that is said of the others depends on it.

    fitted = classifiers(texts_of(run, models))   by reader, one for each category and one for all
    ceiling(texts, fitted)                        how well they do on the teacher's own text, category left out
    classify_answers(run, models, fitted)         the voice of every answer of every model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from ethical_personas import files, stats
from ethical_personas.errors import CompanionError
from ethical_personas.run import Run
from ethical_personas.stats.exact import shuffle_test
from ethical_personas.study import grid, inputs, materials, rows
from ethical_personas.study.profile import teacher_of


def teacher_texts(
    constitutions: list[str] | None = None,
    revision_style: str = "plain",
    teacher: str | Mapping[str, str] = "bundled",
    run: Run | None = None,
    critiques: bool = False,
) -> pd.DataFrame:
    """The teacher's revisions, or its critiques, which no model is trained on: constitution, category, id, text.

    Bundled teacher: the recorded rounds, in the register trained on. Another teacher: the harmful training rows of the
    run. Of the reference constitutions by default. Raises CompanionError when fewer than two have any.
    """
    records, category = [], {p.id: p.category for p in materials.prompts("train")}
    for name in constitutions or grid.REFERENCE:
        if teacher_of(teacher, name) == "bundled":
            for i, row in materials.transcripts(name).items():
                text = row.revision if revision_style == "plain" else (row.revision_rich or row.revision)
                records.append((name, category[i], i, row.critique if critiques else text))
            continue
        assert run
        for made in files.read(run.find(run.sft(name)), rows.SftRow):
            if made.kind == "harmful" and not made.dropped:
                text = (made.critique or "") if critiques else made.answer
                records.append((name, made.category, made.id, text))
    table = pd.DataFrame(records, columns=["constitution", "category", "id", "text"])
    if table["constitution"].nunique() < 2:
        raise CompanionError("voice: texts of two constitutions at least are needed to tell voices apart")
    return table


def texts_of(
    run: Run,
    models: list[str],
    revision_style: str = "plain",
    teacher: str | Mapping[str, str] = "bundled",
    critiques: bool = False,
) -> pd.DataFrame:
    """The teacher texts for a set of models: their constitutions', and the reference ones' with the bundled teacher."""
    own = {grid.parse_model(m)["constitution"] for m in models} - {grid.SOURCE}
    bundled = [c for c in materials.recorded(grid.REFERENCE) if teacher_of(teacher, c) == "bundled"]
    return teacher_texts(sorted({*own, *bundled}), revision_style, teacher, run, critiques)


def fit(texts: pd.DataFrame, struck: Sequence[str] = ()) -> Pipeline:
    """The classifier, fitted on columns text and constitution; deterministic. `struck`: words it never sees."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, stop_words=sorted(struck) or None),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )
    return model.fit(texts["text"], texts["constitution"])


def classifiers(texts: pd.DataFrame, struck: Sequence[str] = ()) -> dict[str, dict[str, Pipeline]]:
    """Readers, each with a classifier for every harm category and, under "", one for all of them.

    The reader "" knows the compared constitutions; each other constitution has a reader under its name, who knows it
    beside these.
    """
    shared = grid.compared(sorted(texts["constitution"].unique()))
    added = [name for name in texts["constitution"].unique() if name not in shared]
    known = {"": shared} | {name: [*shared, name] for name in added}
    return {reader: _by_category(texts[texts["constitution"].isin(names)], struck) for reader, names in known.items()}


def _by_category(texts: pd.DataFrame, struck: Sequence[str]) -> dict[str, Pipeline]:
    """A classifier for each harm category, fitted on the texts of all others; under "" the one fitted on all.

    A category without which some constitution has no text has none of its own.
    """
    voices = texts["constitution"].nunique()
    others = {c: texts[texts["category"] != c] for c in texts["category"].unique()}
    fitted = {c: fit(rest, struck) for c, rest in others.items() if rest["constitution"].nunique() == voices}
    return fitted | {"": fit(texts, struck)}


def ceiling(texts: pd.DataFrame, fitted: dict[str, dict[str, Pipeline]], alpha: float = 0.05) -> pd.DataFrame:
    """Accuracy on the teacher's own revisions of a category left out of training, and over all categories.

    That of the reader of the compared constitutions, on their texts.

    Args:
        texts: Of `texts_of`.
        fitted: Of `classifiers(texts)`.

    Returns:
        Columns category (`all` last), n, accuracy, low, high (Wilson), chance.
    """
    reader = fitted[""]
    texts = texts[texts["constitution"].isin(reader[""].classes_)]
    chance = 1 / texts["constitution"].nunique()
    records, hits, total = [], 0, 0
    for category, part in texts.groupby("category"):
        if category in reader:
            right = int((reader[category].predict(part["text"]) == part["constitution"]).sum())
            records.append((category, len(part), *stats.share(right, len(part), alpha), chance))
            hits, total = hits + right, total + len(part)
    overall = stats.share(hits, total, alpha) if total else (np.nan, np.nan, np.nan)
    records.append(("all", total, *overall, chance))
    return pd.DataFrame(records, columns=["category", "n", "accuracy", "low", "high", "chance"])


def _answers(run: Run, model: str) -> pd.DataFrame:
    """All texts of one model to be read: id, category, kind, text; replies to items of others left out."""
    owners, own = materials.items_of_some(), grid.parse_model(model)["constitution"]
    records = []
    for r in files.read(run.find(run.evaluation(model, inputs.RESPONSES)), rows.Response):
        records.append((r.id, r.category, grid.kind(r.category), r.response))
    for t in files.read(run.find(run.evaluation(model, inputs.ITEM_TEXTS)), rows.ItemText):
        if own in owners.get(t.id, {own}):
            records.append((f"{t.id}/{t.wording}", "persona", "persona", t.text))
    return pd.DataFrame(records, columns=["id", "category", "kind", "text"])


def answers_of(run: Run, models: list[str]) -> pd.DataFrame:
    """Every answer of the source and of `models`: id, category, kind, text, model, constitution, scope, seed."""
    models = list(dict.fromkeys([grid.SOURCE, *models]))
    return pd.concat([_answers(run, m).assign(model=m, **grid.parse_model(m)) for m in models], ignore_index=True)


def classify_answers(run: Run, models: list[str], fitted: dict[str, dict[str, Pipeline]]) -> pd.DataFrame:
    """The table of `classify` for every answer of the source and of `models`."""
    return classify(answers_of(run, models), fitted)


def classify(answers: pd.DataFrame, fitted: dict[str, dict[str, Pipeline]]) -> pd.DataFrame:
    """The voice of answers; the source's once for each reader.

    Args:
        answers: Of `answers_of`.
        fitted: Of `classifiers`.

    Returns:
        Columns model, constitution, scope, seed, id, category, kind (harmful, a kind of harmless prompts, or persona),
        in_distribution (1.0 / 0.0 for harm categories in / absent from the model's training rows, NaN for the rest
        and for the source), best (constitution with the highest probability; None for an empty answer), own_voice
        (1.0 / 0.0; NaN for the source), reader, and p_<constitution> for each voice known.
    """
    reader = answers["constitution"].where(answers["constitution"].isin(list(fitted)), "")
    parts = [
        _read(answers[(reader == name) | (answers["model"] == grid.SOURCE)], name, fitted[name])
        for name in fitted
        if name == "" or (reader == name).any()
    ]
    return pd.concat(parts, ignore_index=True)


def _read(answers: pd.DataFrame, reader: str, fitted: dict[str, Pipeline]) -> pd.DataFrame:
    """The voices that one reader hears in answers; columns of `classify_answers`."""
    table = answers.reset_index(drop=True)
    voices = fitted[""].classes_
    columns = [f"p_{v}" for v in voices]
    table[columns] = np.nan
    for category, part in table.groupby("category"):
        table.loc[part.index, columns] = fitted.get(category, fitted[""]).predict_proba(part["text"])
    empty = table["text"].str.strip() == ""
    table.loc[empty, columns] = np.nan
    table["best"] = None
    table.loc[~empty, "best"] = voices[table.loc[~empty, columns].to_numpy().argmax(1)]
    tuned = table["model"] != grid.SOURCE
    table["own_voice"] = (table["best"] == table["constitution"]).astype(float).where(tuned)
    trained = [c in grid.SCOPES.get(s, ()) for c, s in zip(table["category"], table["scope"], strict=True)]
    table["in_distribution"] = np.where(tuned & (table["kind"] == "harmful"), np.array(trained, float), np.nan)
    first = ["model", "constitution", "scope", "seed", "id", "category", "kind", "in_distribution", "best", "own_voice"]
    return table.assign(reader=reader)[[*first, "reader", *columns]]


def summary(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Share of answers in the own voice, by where the answers come from.

    Args:
        table: Of `classify_answers`.
        alpha: One minus the level of the intervals.

    Returns:
        Columns constitution, scope, where (in distribution, out of distribution, harmless, persona items), share, low,
        high (of `clustered`: a prompt's seeds, an item's wordings and seeds are one), source (share of the source's
        answers to the same prompts that sound so), n prompts or items.
    """
    place = table["kind"].map({"harmful": "", "persona": "persona items"} | dict.fromkeys(grid.HARMLESS, "harmless"))
    place = place.mask(table["in_distribution"] == 1, "in distribution")
    place = place.mask(table["in_distribution"] == 0, "out of distribution")
    source = table[table["model"] == grid.SOURCE]
    tuned = table.assign(where=place)[table["model"] != grid.SOURCE]
    records = []
    for key, part in tuned.groupby(["constitution", "scope", "where"]):
        same_prompts = source[source["id"].isin(part["id"]) & (source["reader"] == part["reader"].iloc[0])]
        untuned = float((same_prompts["best"] == key[0]).mean())
        by_prompt = part.groupby(part["id"].str.partition("/")[0])["own_voice"].mean()
        records.append((*key, *clustered(by_prompt, alpha), untuned, len(by_prompt)))
    columns = ["constitution", "scope", "where", "share", "low", "high", "source", "n"]
    return pd.DataFrame(records, columns=columns)


def clustered(by_prompt: pd.Series, alpha: float) -> tuple[float, float, float]:
    """Mean share over prompts and its interval (t over prompts, two made-up ones keep it from certainty), in 0 to 1."""
    if by_prompt.empty:
        return np.nan, np.nan, np.nan
    fit = stats.linear(by_prompt, pseudo=(0.0, 1.0))
    low, high = fit.interval(alpha)
    return fit.estimate, max(0.0, low), min(1.0, high)


def voice_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of each voice among a model's answers out of distribution; of a broad model, to harmful requests.

    Rows (scope, constitution trained on), columns voice; seeds pooled, source left out.
    """
    harmful = table[(table["model"] != grid.SOURCE) & (table["kind"] == "harmful") & table["best"].notna()]
    harmful = harmful[(harmful["in_distribution"] == 0) | (harmful["scope"] == grid.BROAD)]
    voices = [c.removeprefix("p_") for c in table.columns if c.startswith("p_")]
    shares = pd.crosstab([harmful["scope"], harmful["constitution"]], harmful["best"], normalize="index")
    return shares.reindex(columns=voices, fill_value=0.0)


def identification(table: pd.DataFrame) -> pd.DataFrame:
    """The test of matching.identification for the voice lens: labels shuffled within scopes; one row."""
    shares = voice_shares(table[table["reader"] == ""])
    voices = list(shares.columns)
    scopes = [
        (part.to_numpy(), [voices.index(c) for c in part.index.get_level_values("constitution")])
        for _, part in shares.groupby(level="scope")
    ]
    return pd.DataFrame([{"lens": "voice"} | shuffle_test(scopes)])
