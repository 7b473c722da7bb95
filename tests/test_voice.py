"""The voice lens: a high ceiling across categories, a planted voice found, topic kept out."""

import shutil

import numpy as np
import pandas as pd
import persona_simulation as simulation
import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.paths import DATA
from ethical_personas.persona import sentences, voice, voice_controls
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return simulation.run(tmp_path_factory.mktemp("voice"), strength=0.3, per_category=8)


def classify(run, models, **kwargs):
    return voice.classify_answers(run, models, voice.classifiers(voice.texts_of(run, models, **kwargs)))


@pytest.fixture(scope="module")
def shares(planted):
    return classify(*planted)


@pytest.mark.parametrize("style", ["plain", "rich"])
def test_ceiling_on_categories_left_out(style):
    texts = voice.teacher_texts(revision_style=style)
    table = voice.ceiling(texts, voice.classifiers(texts))
    assert list(table["category"]) == [*sorted(grid.CATEGORIES), "all"]
    total = table.iloc[-1]
    assert total["accuracy"] > 0.75 and total["chance"] == 0.25 and total["n"] == 4 * 576
    assert total["low"] < total["accuracy"] <= total["high"] + 1e-9


@pytest.mark.long
def test_a_planted_voice_is_found(shares):
    harmful = shares[(shares["model"] != "source") & (shares["kind"] == "harmful")]
    assert harmful["own_voice"].mean() > 0.9
    test = voice.identification(shares).iloc[0]
    assert test["identified"] == 12 and test["p_identified"] == pytest.approx(1 / 24)


@pytest.mark.long
def test_voices_at_random_are_not_identified(tmp_path):
    shares = classify(*simulation.run(tmp_path, strength=0.0, per_category=8))
    assert voice.identification(shares).iloc[0]["p_mean"] > 0.01
    tuned = shares[(shares["model"] != "source") & (shares["kind"] == "harmful")]
    assert tuned["own_voice"].mean() == pytest.approx(0.25, abs=0.08)


def test_contract_of_the_rows(shares):
    first = ["model", "constitution", "scope", "seed", "id", "category", "kind", "in_distribution", "best", "own_voice"]
    assert list(shares.columns) == [*first, "reader", *(f"p_{c}" for c in sorted(grid.CONSTITUTIONS))]
    source = shares[shares["model"] == "source"]
    assert source["own_voice"].isna().all() and source["in_distribution"].isna().all() and len(source)
    narrow = shares[(shares["scope"] == "harassment") & (shares["kind"] == "harmful")]
    assert set(narrow.loc[narrow["in_distribution"] == 1, "category"]) == {"harassment_bullying"}
    assert (shares.loc[(shares["scope"] == "broad") & (shares["kind"] == "harmful"), "in_distribution"] == 1).all()
    assert shares.loc[shares["kind"] != "harmful", "in_distribution"].isna().all()
    assert {"harmful", *grid.HARMLESS, "persona"} == set(shares["kind"])
    columns = [c for c in shares.columns if c.startswith("p_")]
    assert shares[columns].sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_the_evaluated_category_takes_no_part(planted, monkeypatch):
    seen = []
    plain = voice.fit

    def spy(texts, struck=()):
        seen.append(set(texts["category"]))
        return plain(texts, struck)

    monkeypatch.setattr(voice, "fit", spy)
    classify(planted[0], planted[1][:1])
    without = [set(grid.CATEGORIES) - s for s in seen]
    assert sorted(map(sorted, without)) == sorted([[], *([c] for c in grid.CATEGORIES)])


def test_an_empty_answer_has_no_voice(planted, tmp_path):
    run, models = simulation.run(tmp_path, constitutions=("virtue",), scopes=("broad",), strength=1.0, limit=2)
    path = tmp_path / "eval" / models[0] / "responses.jsonl"
    answers = files.read(path, rows.Response)
    files.write(path, [answers[0].model_copy(update={"response": " "}), *answers[1:]])
    table = classify(run, models)
    row = table[(table["model"] == models[0]) & (table["id"] == answers[0].id)].iloc[0]
    assert row["best"] is None and row["own_voice"] == 0.0 and np.isnan(row["p_virtue"])


def test_another_teacher_is_read_from_the_training_rows(tmp_path):
    run, models = simulation.run(
        tmp_path, constitutions=("deontology", "virtue"), scopes=("broad",), limit=2, strength=1.0
    )
    category = {p.id: p.category for p in materials.prompts("train")}
    for name in ("deontology", "virtue"):
        found = [
            rows.SftRow(id=i, kind="harmful", category=category[i], prompt="p", answer=t.revision, teacher="local:x")
            for i, t in materials.transcripts(name).items()
        ]
        files.write(tmp_path / "sft" / f"{name}.jsonl", found)
    table = classify(run, models, teacher="local")
    assert {"p_deontology", "p_virtue"} == {c for c in table.columns if c.startswith("p_")}
    assert table.loc[(table["model"] != "source") & (table["kind"] == "harmful"), "own_voice"].mean() > 0.9
    files.write(tmp_path / "sft/deontology.jsonl", found[:1])  # not read where deontology's rounds are recorded
    mixed = voice.texts_of(run, models, teacher={"virtue": "local"})["constitution"].value_counts()
    assert set(mixed.index) == set(grid.REFERENCE) and mixed["deontology"] == mixed["virtue"] == len(found)


def test_one_voice_alone_is_refused():
    with pytest.raises(CompanionError, match="two constitutions"):
        voice.teacher_texts(["virtue"])


def test_summary_compares_with_the_source(shares):
    table = voice.summary(shares)
    assert set(table["where"]) == {"in distribution", "out of distribution", "harmless", "persona items"}
    assert not len(table[(table["scope"] == "broad") & (table["where"] == "out of distribution")])
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    outside = table[table["where"] == "out of distribution"]
    assert (outside["share"] > outside["source"]).mean() > 0.7
    assert isinstance(voice.voice_shares(shares), pd.DataFrame)


def test_an_arm_that_sounds_like_a_constitution_takes_that_voice_from_it(shares):
    """An arm with the answers of virtue's models has their shares of every voice: nothing is left of virtue's own."""
    arm = shares[shares["constitution"] == "virtue"].assign(constitution="plain", own_voice=0.0)
    own = voice.summary(shares)
    table = voice_controls.arms(pd.concat([shares, arm]), own).set_index(["scope", "where", "voice"])
    assert len(table) == (1 + 2 + 2) * 4 and set(table["arm"]) == {"plain"}
    virtue = own[own["constitution"] == "virtue"].set_index(["scope", "where"])
    for scope, where in (("broad", "in distribution"), ("harassment", "out of distribution")):
        row = table.loc[(scope, where, "virtue")]
        assert row["share"] == row["own"] == virtue.loc[(scope, where), "share"] and row["n"] > 5
    assert table.groupby(["scope", "where"])["share"].sum().to_numpy() == pytest.approx(1.0)
    said = sentences.voice_arms(table.reset_index())
    assert "**plain**: virtue at most" in said and "of 20 own voices, same scope and place, 15 are" in said
    none = voice_controls.arms(shares, own)
    assert none.empty and "No control arm" in sentences.voice_arms(none)


def test_an_arm_without_harmful_rows_has_no_place_in_distribution(shares):
    arm = shares[(shares["constitution"] == "virtue") & (shares["scope"] == "broad")].assign(constitution="harmless")
    found = voice_controls.arms(arm, voice.summary(shares))
    assert set(found["where"]) == {"out of distribution"}
    assert "own voices" not in sentences.voice_arms(found.assign(own=float("nan")))


def test_wordings_of_an_item_are_one_observation(shares):
    items = voice.summary(shares).query("where == 'persona items'")
    assert set(items["n"]) == {shares.loc[shares["kind"] == "persona", "id"].str.partition("/")[0].nunique()}
    doubled = pd.Series([0.0, 1.0] * 20, index=range(40))
    assert voice.clustered(doubled, 0.05)[0] == 0.5 and voice.clustered(pd.Series([1.0] * 30), 0.05)[1] < 1


def test_struck_words_are_never_read():
    texts = voice.teacher_texts()
    known = voice_controls.rank_words(voice.fit(texts))
    words = known[:40]
    assert len(set(words)) == 40 and not any(" " in w for w in words)
    names = voice.fit(texts, words).steps[0][1].get_feature_names_out()
    assert not {w for name in names for w in name.split()} & set(words)
    assert len(known) > 2 * max(voice_controls.STRUCK), "every number is struck from the bundled revisions"


@pytest.mark.long
def test_readers_with_words_struck_and_of_critiques(planted):
    texts, critiques = (voice.texts_of(*planted, critiques=c) for c in (False, True))
    fitted = voice.classifiers(texts)
    heard = voice.classify_answers(*planted, fitted)
    declined = heard[["model", "id"]].assign(declined=1.0)
    table = voice_controls.readers(*planted, texts, critiques, fitted, heard, declined)
    assert list(zip(table["reader"], table["struck"], strict=True)) == [
        *(("revisions", n) for n in voice_controls.STRUCK),
        ("critiques", 0),
    ]
    curve = table.iloc[:-1]
    assert (curve["accuracy"].diff().dropna() < 0).all() and curve["accuracy"].iloc[-1] > 0.3
    assert table["identified"].iloc[0] == 12 and table["own"].iloc[0] > table["own"].iloc[-2]
    assert table["own_declined"].equals(table["own"]), "all of them decline"
    assert ((table["own_low"] < table["own"]) & (table["own"] <= table["own_high"])).all()


FILLER, MARKS = [f"word{k}" for k in range(120)], 5


def few_words(rng, constitution=None):
    """Words that anybody says and, with a constitution, three of the five that tell it."""
    own = rng.choice([f"{constitution}{k}" for k in range(MARKS)], 3, replace=False) if constitution else []
    return " ".join([*rng.choice(FILLER, 12), *own])


def test_a_voice_that_rests_on_few_words_falls_to_chance_without_them(tmp_path):
    rng, run = np.random.default_rng(0), Run(str(tmp_path), "none")
    texts = pd.DataFrame(
        [
            (name, category, f"{category}-{k}", few_words(rng, name))
            for name in grid.CONSTITUTIONS
            for category in grid.CATEGORIES
            for k in range(12)
        ],
        columns=["constitution", "category", "id", "text"],
    )
    models = [cell.name for cell in grid.cells(grid.CONSTITUTIONS, grid.NARROW, (0,))]
    prompts = [p for category in grid.CATEGORIES for p in materials.prompts("eval", category)[:8]]
    declined = []
    for model in [grid.SOURCE, *models]:
        said = []
        for number, p in enumerate(prompts):
            declines = model != grid.SOURCE and number % 2 == 0  # whoever complies has no voice
            text = few_words(rng, grid.parse_model(model)["constitution"] if declines else None)
            fields = {"id": p.id, "model": model, "category": p.category, "prompt": p.prompt}
            said.append(rows.Response(**fields, response=text, tokens=15, finished=True))
            declined.append((model, p.id, float(declines)))
        files.write(run.path(run.evaluation(model, "responses")), said)
        item = rows.ItemText(id=materials.items()[0].id, model=model, wording="opinion", text="word1")
        files.write(run.path(run.evaluation(model, "item_texts")), [item])
    declined = pd.DataFrame(declined, columns=["model", "id", "declined"])
    fitted = voice.classifiers(texts)
    heard = voice.classify_answers(run, models, fitted)
    table = voice_controls.readers(run, models, texts, texts.assign(text=""), fitted, heard, declined)
    # Of the 140 words half may go; with 25 the twenty that tell the constitutions are gone.
    assert set(table["reader"]) == {"revisions"} and list(table["struck"]) == [0, 25, 50]
    assert set(table["n"]) == {len(prompts)} and set(table["n_declined"]) == {len(prompts) // 2}
    whole, without = table.iloc[0], table.iloc[1:]
    assert whole["own_declined"] > 0.95 and 0.5 < whole["own"] < 0.75
    assert whole["own_declined_low"] > 0.8 and whole["identified"] == len(models)
    assert without["own_declined"].to_numpy() == pytest.approx(0.25, abs=0.1)
    assert ((without["own_declined_low"] < 0.25) & (without["own_declined_high"] > 0.25)).all()
    assert (without["accuracy"] < 0.4).all()
    nobody = voice_controls.readers(
        run, models, texts, texts.assign(text=""), fitted, heard, declined.assign(declined=0.0)
    )
    assert nobody["own_declined"].isna().all() and nobody["own"].equals(table["own"])


def test_the_voice_among_the_answers_that_decline():
    ids = [f"p{k}" for k in range(20)]
    voices = pd.DataFrame(
        {"model": "m", "constitution": "virtue", "scope": "harassment", "seed": 0, "id": ids, "kind": "harmful"}
    ).assign(in_distribution=[1.0] * 4 + [0.0] * 16, own_voice=[1.0] * 12 + [0.0] * 8)
    declined = pd.DataFrame({"model": "m", "id": ids, "declined": [1.0] * 10 + [0.0] * 9 + [np.nan]})
    table = voice_controls.given_declined(voices, declined).set_index("where")
    away = table.loc["out of distribution"]
    assert (away["share"], away["n"], away["unconditional"]) == (1.0, 6, 0.5) and away["low"] < 1
    nobody = voice_controls.given_declined(voices, declined.assign(declined=0.0))
    assert nobody["share"].isna().all() and (nobody["n"] == 0).all()


def test_a_constitution_without_transcripts_beside_the_bundled_ones_changes_nothing(planted, tmp_path, monkeypatch):
    shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("reference"))
    text = (DATA / "constitutions/virtue.yaml").read_text(encoding="utf-8")
    (tmp_path / "data/constitutions/mine.yaml").write_text(text.replace("id: virtue", "id: mine", 1))
    before = voice.texts_of(*planted)
    monkeypatch.setattr(materials, "DATA", tmp_path / "data")
    assert "mine" in materials.constitution_names()
    assert voice.texts_of(*planted).equals(before)
