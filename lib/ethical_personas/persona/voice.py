"""The voice lens: which constitution do a model's reasons sound like?

A TF-IDF + logistic regression classifier learns the constitutions from the teacher's revisions. For answers
to a harm category it has never seen a revision of that category, so that it cannot go by topic; harmless
answers and replies to belief items are read by one trained on all categories.

    ceiling()                how well it does on the teacher's own text, category left out
    shares(run, models)      every answer of every model
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from statsmodels.stats.proportion import proportion_confint

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.persona.lens_shifts import TEXT_KEY
from ethical_personas.run import Run
from ethical_personas.stats.exact import shuffle_test
from ethical_personas.study import grid, materials, rows


def teacher_texts(
    constitutions: list[str] | None = None,
    revision_style: str = "plain",
    teacher: str = "bundled",
    run: Run | None = None,
) -> pd.DataFrame:
    """The teacher's revisions: constitution, category, id, text.

    Bundled teacher: all constitutions with transcripts, in the register trained on. Another teacher: the harmful
    training rows of the run. Raises CompanionError when fewer than two constitutions have any.
    """
    found = []
    if teacher == "bundled":
        category = {p.id: p.category for p in materials.prompts("train")}
        for name in constitutions or materials.constitution_names():
            for i, row in materials.transcripts(name).items():
                text = row.revision if revision_style == "plain" else (row.revision_rich or row.revision)
                found.append((name, category[i], i, text))
    else:
        for name in constitutions:
            for row in files.read(run.find(run.sft(name)), rows.SftRow):
                if row.kind == "harmful" and not row.dropped:
                    found.append((name, row.category, row.id, row.answer))
    table = pd.DataFrame(found, columns=["constitution", "category", "id", "text"])
    if table["constitution"].nunique() < 2:
        raise CompanionError("voice: texts of two constitutions at least are needed to tell voices apart")
    return table


def texts_of(run: Run, models: list[str], revision_style: str = "plain", teacher: str = "bundled") -> pd.DataFrame:
    """The teacher texts for a set of models: their constitutions', and all bundled ones' with the bundled teacher."""
    own = {grid.about(m)["constitution"] for m in models} - {grid.SOURCE}
    bundled = materials.recorded(materials.constitution_names()) if teacher == "bundled" else []
    return teacher_texts(sorted({*own, *bundled}), revision_style, teacher, run)


def fit(texts: pd.DataFrame) -> Pipeline:
    """The classifier, fitted on columns text and constitution; deterministic."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )
    return model.fit(texts["text"], texts["constitution"])


def ceiling(revision_style: str = "plain", texts: pd.DataFrame | None = None, alpha: float = 0.05) -> pd.DataFrame:
    """Accuracy on the teacher's own revisions of a category left out of training, and over all categories.

    Columns category (`all` last), n, accuracy, low, high (Wilson), chance.
    """
    texts = teacher_texts(revision_style=revision_style) if texts is None else texts
    chance = 1 / texts["constitution"].nunique()
    found, right, total = [], 0, 0
    for category, part in texts.groupby("category"):
        rest = texts[texts["category"] != category]
        if not len(rest):
            continue
        hits = int((fit(rest).predict(part["text"]) == part["constitution"]).sum())
        right, total = right + hits, total + len(part)
        found.append((category, hits, len(part)))
    found.append(("all", right, total))
    table = [
        (c, n, hits / n if n else np.nan, *proportion_confint(hits, n, alpha, method="wilson"), chance)
        for c, hits, n in found
        if n
    ]
    return pd.DataFrame(table, columns=["category", "n", "accuracy", "low", "high", "chance"])


def _answers(run: Run, model: str) -> pd.DataFrame:
    """All texts of one model to be read: id, category, kind, text."""
    found = []
    for r in files.read(run.find(run.evaluation(model, "responses")), rows.Response):
        found.append((r.id, r.category, grid.kind(r.category), r.response))
    for t in files.read(run.find(run.evaluation(model, "item_texts")), rows.ItemText, TEXT_KEY):
        found.append((f"{t.id}/{t.wording}", "persona", "persona", t.text))
    return pd.DataFrame(found, columns=["id", "category", "kind", "text"])


def shares(run: Run, models: list[str], revision_style: str = "plain", teacher: str = "bundled") -> pd.DataFrame:
    """The voice of every answer of the source and of `models`.

    Columns model, constitution, scope, seed, id, category, kind (harmful, helpful, contrast, persona),
    in_distribution (1.0 / 0.0 for harm categories in / absent from the model's training rows, NaN for the rest
    and for the source), best (constitution with the highest probability; None for an empty answer), own_voice
    (1.0 / 0.0; NaN for the source), and p_<constitution> for each voice known.
    """
    models = list(dict.fromkeys([grid.SOURCE, *models]))
    texts = texts_of(run, models, revision_style, teacher)
    table = pd.concat([_answers(run, m).assign(model=m, **grid.about(m)) for m in models], ignore_index=True)
    voices = sorted(texts["constitution"].unique())
    columns = [f"p_{v}" for v in voices]
    table[columns] = np.nan
    whole = None
    for category, part in table.groupby("category"):
        rest = texts[texts["category"] != category]
        seen = len(rest) < len(texts) and rest["constitution"].nunique() == len(voices)
        if seen:
            classifier = fit(rest)
        else:
            classifier = whole = whole or fit(texts)
        table.loc[part.index, columns] = classifier.predict_proba(part["text"])
    said = table["text"].str.strip() != ""
    table.loc[~said, columns] = np.nan
    table["best"] = None
    table.loc[said, "best"] = np.array(voices)[table.loc[said, columns].to_numpy().argmax(1)]
    tuned = table["model"] != grid.SOURCE
    table["own_voice"] = (table["best"] == table["constitution"]).astype(float).where(tuned)
    table["in_distribution"] = np.nan
    for model, part in table[tuned & (table["kind"] == "harmful")].groupby("model"):
        inside = part["category"].isin(grid.Cell.parse(model).categories)
        table.loc[part.index, "in_distribution"] = inside.astype(float)
    first = ["model", "constitution", "scope", "seed", "id", "category", "kind", "in_distribution", "best", "own_voice"]
    return table[[*first, *columns]]


def summary(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Share of answers in the own voice: constitution, scope, where (in distribution, out of distribution, harmless,
    persona items), share, low, high (Wilson; seeds pooled), source (share of the source's answers to the same prompts
    that sound so), n."""
    where = table["kind"].map({"harmful": "", "persona": "persona items"} | dict.fromkeys(grid.HARMLESS, "harmless"))
    where = where.mask(table["in_distribution"] == 1, "in distribution")
    where = where.mask(table["in_distribution"] == 0, "out of distribution")
    source = table[table["model"] == grid.SOURCE]
    found = []
    tuned = table.assign(where=where)[(table["model"] != grid.SOURCE).to_numpy()]
    for (constitution, scope, place), part in tuned.groupby(["constitution", "scope", "where"]):
        hits, n = int(part["own_voice"].sum()), len(part)
        low, high = proportion_confint(hits, n, alpha, method="wilson")
        same = source[source["id"].isin(set(part["id"]))]
        row = {
            "constitution": constitution,
            "scope": scope,
            "where": place,
            "share": hits / n,
            "low": low,
            "high": high,
        }
        found.append(row | {"source": float((same["best"] == constitution).mean()), "n": n})
    return pd.DataFrame(found, columns=["constitution", "scope", "where", "share", "low", "high", "source", "n"])


def heard(table: pd.DataFrame) -> pd.DataFrame:
    """Share of each voice among a model's answers out of distribution; of a broad model, to harmful requests.

    Rows (scope, constitution trained on), columns voice; seeds pooled, source left out.
    """
    kept = table[(table["model"] != grid.SOURCE) & (table["kind"] == "harmful") & table["best"].notna()]
    broad = kept.groupby("model")["in_distribution"].transform("min") == 1
    kept = kept[(kept["in_distribution"] == 0) | broad]
    voices = [c.removeprefix("p_") for c in table.columns if c.startswith("p_")]
    shares = pd.crosstab([kept["scope"], kept["constitution"]], kept["best"], normalize="index")
    return shares.reindex(columns=voices, fill_value=0.0)


def identification(table: pd.DataFrame) -> pd.DataFrame:
    """The voice lens put to the test of the others: labels shuffled within scopes; one row as match.identification."""
    shares = heard(table)
    voices = list(shares.columns)
    scopes = [
        (part.to_numpy(), [voices.index(c) for c in part.index.get_level_values("constitution")])
        for _, part in shares.groupby(level="scope")
    ]
    return pd.DataFrame([{"lens": "voice"} | shuffle_test(scopes)])
