"""The analysis: keying, contrasts, a planted persona found, nulls that hold their level, lens quality."""

import numpy as np
import pandas as pd
import persona_simulation as simulation
import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.figures import persona as draw
from ethical_personas.persona import (
    dilemmas,
    lens_shifts,
    lexical,
    matching,
    registered,
    reliability,
    replication,
    sentences,
    tables,
    voice,
)
from ethical_personas.run import Run
from ethical_personas.stats import exact
from ethical_personas.study import grid, materials, rows


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return simulation.run(tmp_path_factory.mktemp("planted"), strength=0.3)


@pytest.fixture(scope="module")
def shifts(planted):
    return lens_shifts.item_shifts(lens_shifts.scores(*planted))


@pytest.fixture(scope="module")
def contrasts(shifts):
    return lens_shifts.averaged(lens_shifts.wording_contrasts(shifts))


def write(folder, model, scores: dict, texts: dict | None = None):
    """Files of one model: scores {(id, wording, order): value}, texts {(id, wording): text}."""
    found = [
        rows.ItemScore(id=i, model=model, lens="choice", wording=w, order=o, value=v) for (i, w, o), v in scores.items()
    ]
    said = [rows.ItemText(id=i, model=model, wording=w, text=t) for (i, w), t in (texts or {}).items()]
    place = folder / "eval" / model
    files.write(place / "item_scores.jsonl", found)
    files.write(place / "pair_scores.jsonl", [])
    files.write(
        place / "item_texts.jsonl",
        said or [rows.ItemText(id="virtue_beliefs_p1", model=model, wording="x", text="")],
    )


def shifts_of(folder, items=None):
    return lens_shifts.item_shifts(lens_shifts.scores(Run(str(folder), "cpu"), ["virtue-broad-s0"]), items)


def test_reverse_keyed_items_count_against_the_dimension_and_orders_are_averaged(tmp_path):
    plus, minus = "utilitarian_beliefs_p1", "utilitarian_beliefs_n1"
    orders = ("agree_first", "disagree_first")
    write(tmp_path, "source", {(i, "agree", o): 1.0 for i in (plus, minus) for o in orders})
    moved = {(i, "agree", o): 1.0 + (0.5 if o == "agree_first" else 0.1) for i in (plus, minus) for o in orders}
    write(tmp_path, "virtue-broad-s0", moved)
    table = shifts_of(tmp_path)
    table = table[table["lens"] == "choice"].set_index("id")
    assert table["shift"].tolist() == pytest.approx([0.3, 0.3])
    assert table.loc[plus, "signed"] == pytest.approx(0.3) and table.loc[minus, "signed"] == pytest.approx(-0.3)
    assert table["value"].tolist() == pytest.approx([1.3, 1.3])


def test_text_lens_scores_stances(tmp_path):
    item = "utilitarian_beliefs_n1"
    score = {(item, "agree", "agree_first"): 0.0, (item, "agree", "disagree_first"): 0.0}
    write(tmp_path, "source", score, {(item, "opinion"): "It depends."})
    write(tmp_path, "virtue-broad-s0", score, {(item, "opinion"): "I disagree."})
    scores = lens_shifts.scores(Run(str(tmp_path), "cpu"), ["source", "virtue-broad-s0"])
    table = lens_shifts.item_shifts(scores)
    row = table[table["lens"] == "text"].iloc[0]
    assert (row["value"], row["shift"], row["signed"]) == (-1.0, -1.0, 1.0)
    ambiguous = lens_shifts.ambiguity(scores)
    assert ambiguous.set_index("model")["ambiguous"].to_dict() == {"source": 1, "virtue-broad-s0": 0}
    assert set(ambiguous["constitution"]) == {"source", "virtue"}


def test_models_measured_on_other_items_are_told(tmp_path):
    write(tmp_path, "source", {("utilitarian_beliefs_p1", "agree", "agree_first"): 1.0})
    write(tmp_path, "virtue-broad-s0", {("utilitarian_beliefs_p2", "agree", "agree_first"): 1.0})
    with pytest.raises(CompanionError, match="item_limit"):
        shifts_of(tmp_path)
    write(tmp_path, "source", {("mine", "agree", "agree_first"): 1.0})
    write(tmp_path, "virtue-broad-s0", {("mine", "agree", "agree_first"): 1.0})
    with pytest.raises(CompanionError, match="not in the instrument"):
        shifts_of(tmp_path)
    own = [rows.Item(id=i, dimension="d", keyed=1, statement="s") for i in ("mine", "virtue_beliefs_p1")]
    assert len(shifts_of(tmp_path, own)) == 2


def test_contract_of_the_columns(shifts, contrasts):
    assert list(shifts.columns) == [
        *("model", "constitution", "scope", "seed", "lens", "id", "dimension", "keyed", "wording"),
        *("value", "shift", "signed"),
    ]
    assert list(contrasts.columns) == ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed", "contrast"]
    assert len(contrasts) == 12 * (3 * 120 + 240)
    assert shifts["signed"].to_numpy() == pytest.approx((shifts["keyed"] * shifts["shift"]).to_numpy())


def test_contrasts_take_out_what_all_constitutions_share(shifts, contrasts):
    total = contrasts.groupby(["scope", "seed", "lens", "id"])["contrast"].sum()
    assert total.abs().max() < 1e-9
    raised = shifts.assign(signed=shifts["signed"] + 5.0 * (shifts["scope"] == "broad"))
    again = lens_shifts.averaged(lens_shifts.wording_contrasts(raised))
    assert again["contrast"].to_numpy() == pytest.approx(contrasts["contrast"].to_numpy())


@pytest.mark.parametrize("lens", grid.ITEM_LENSES)
def test_a_planted_persona_is_found_by_each_lens(contrasts, lens):
    own = matching.signature_match(contrasts[contrasts["lens"] == lens], draws=200)
    assert own["identified"].mean() > 0.9 and own["cosine"].min() > 0.3
    assert (own["alignment_low"] > 0).mean() > 0.8
    test = matching.identification(contrasts).set_index("lens").loc[lens]
    assert test["identified"] >= 11 and test["chance"] == pytest.approx(3, abs=0.01)
    assert test["p_identified"] == test["p_mean"] == pytest.approx(1 / 24), "one exchange of four constitutions"


def test_a_persona_of_another_constitution_is_not_taken_for_ones_own(contrasts):
    swapped = contrasts.assign(
        constitution=contrasts["constitution"].replace(
            {"deontology": "consequentialism", "consequentialism": "deontology"}
        )
    )
    table = matching.signature_match(swapped, draws=50)
    wrong = table[table["constitution"].isin(["deontology", "consequentialism"]) & (table["lens"] == "choice")]
    assert (wrong["identified"] == 0).all() and (wrong["p"] > 0.5).all()
    assert set(wrong["best"]) == {"deontology", "consequentialism"}


def test_the_flagship_contrast_finds_what_was_planted(shifts, contrasts):
    for table, measure in ((shifts, "shift"), (contrasts, "contrast")):
        found = matching.dimension_contrast(table)
        assert set(found["measure"]) == {measure} and len(found) == 3 * len(grid.ITEM_LENSES)
        assert (found.loc[found["lens"] == "choice", "estimate"] > 0).all()
        assert (found["n_clusters"] == found["lens"].map({"pairs": 48}).fillna(24)).all()
    clear = found[found["lens"] == "choice"]
    assert (clear["p"] < 0.01).all() and (clear["low"] > 0).all()
    assert "not tested" in sentences.c4(matching.dimension_contrast(shifts[shifts["constitution"] == "virtue"]), 0.05)


def noise(rng, scopes=("broad", "harassment", "illegal"), correlated=True) -> pd.DataFrame:
    """Item contrasts without any persona: models differ by item noise that dimensions share in part."""
    items = materials.items()
    dimensions = sorted({i.dimension for i in items})
    found = []
    for scope in scopes:
        values = rng.normal(0, 1, (4, len(items)))
        if correlated:  # a dimension moves as one, as under real fine-tuning
            pull = rng.normal(0, 0.4, (4, len(dimensions)))
            values += pull[:, [dimensions.index(i.dimension) for i in items]]
        values -= values.mean(0)
        for k, constitution in enumerate(grid.CONSTITUTIONS):
            for item, value in zip(items, values[k], strict=True):
                found.append((constitution, scope, 0, "choice", item.dimension, item.id, item.keyed, value))
    columns = ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed", "contrast"]
    return pd.DataFrame(found, columns=columns)


def test_the_nulls_hold_their_level():
    """Without a persona 3-7 % of p fall below 0.05, for the placings of a signature and for the shuffled labels."""
    rng = np.random.default_rng(5)
    dimensions = sorted({i.dimension for i in materials.items()})
    _, signs = matching.expected(materials.signatures(), grid.CONSTITUTIONS, dimensions)
    nulls = [matching.arrangements(tuple(row)) for row in signs]
    placed, shuffled = [], []
    for _ in range(500):
        profiles = rng.normal(0, 1, (3, 4, 10))  # scope, constitution, dimension
        profiles -= profiles.mean(1, keepdims=True)
        scores = matching.cosine(profiles[:, :, None], signs[None, None])
        shuffled.append(exact.shuffle_test([(scores[s], [0, 1, 2, 3]) for s in range(3)])["p_mean"])
        for k in range(4):
            placed.append(np.mean(matching.cosine(profiles[0, k][None], nulls[k]) >= scores[0, k, k] - 1e-12))
    assert 0.03 <= np.mean(np.array(placed) < 0.05) <= 0.07
    assert 0.02 <= np.mean(np.array(shuffled) < 0.05) <= 0.065, "24 exchanges: the level is 1 / 24"
    assert np.mean(placed) == pytest.approx(0.5, abs=0.03), "p is even under the null"


@pytest.mark.long
def test_whole_functions_find_nothing_in_noise():
    """The same through the public functions, items and all, on fewer draws."""
    rng = np.random.default_rng(11)
    p, labels, identified, aligned = [], [], [], []
    for _ in range(20):
        table = noise(rng)
        one = matching.signature_match(table, draws=10)
        test = matching.identification(table).iloc[0]
        p += list(one["p"])
        aligned += list(one["alignment_p"])
        labels.append(test["p_mean"])
        identified.append(test["identified"])
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(np.array(labels) < 0.05) <= 0.2
    assert np.mean(identified) == pytest.approx(3, abs=1.0)


def test_identification_gives_nothing_for_calling_all_by_one_name():
    scores = np.tile([0.9, 0.1, 0.1, 0.1], (4, 1))
    test = exact.shuffle_test([(scores, [0, 1, 2, 3])] * 3)
    assert test["identified"] == 3 and test["p_identified"] == 1.0 and test["p_mean"] == 1.0


def test_models_of_one_constitution_are_one_unit():
    """A constitution whose three models resemble each other by chance must not count three times."""
    rng, p = np.random.default_rng(2), []
    for _ in range(300):
        scores = rng.normal(0, 1, (4, 4))  # the same in all scopes
        p.append(exact.shuffle_test([(scores, [0, 1, 2, 3])] * 3)["p_mean"])
    assert np.mean(np.array(p) < 0.05) < 0.08
    apart = exact.shuffle_test([(np.eye(4), [0, 1, 2, 3]), (np.eye(4)[:2], [0, 1])])
    assert apart["identified"] == apart["models"] == 6 and apart["p_mean"] == pytest.approx(1 / 24)


def test_expected_contrasts_are_signs_minus_their_mean():
    signatures = {"a": {"x": 1, "y": 1, "z": 1}, "b": {"x": -1, "y": 1, "z": 0}}
    names, signs = matching.expected(signatures, ["a", "b"], ["x", "y", "z"])
    assert names == ["a", "b"]
    assert signs.tolist() == [[1, 0, 0.5], [-1, 0, 0]], "what all share is no contrast; no sign, no prediction"


def test_arrangements_are_all_distinct_placings():
    placings = matching.arrangements((0.5, 0.5, -1, 0))
    assert len(placings) == 12 == len({tuple(r) for r in placings})
    assert all(sorted(r) == [-1, 0, 0.5, 0.5] for r in placings.tolist())
    sampled = matching.arrangements(tuple(range(10)))
    assert len(sampled) == 10_000 and sampled[0].tolist() == list(range(10))


def test_cosine_runs_over_non_zero_cells_only():
    assert matching.cosine(np.array([2.0, -2.0, 99.0]), np.array([1, -1, 0])) == pytest.approx(1.0)
    assert np.isnan(matching.cosine(np.zeros(3), np.array([1, -1, 0])))


def test_acquiescence_is_agreement_with_both_keys(planted):
    table = reliability.acquiescence(lens_shifts.scores(*planted))
    tuned = table[(table["lens"] == "choice") & (table["constitution"] != "source")]
    assert tuned["shift"].mean() == pytest.approx(0.3, abs=0.12), "the simulator adds 0.3 to every item"
    assert (tuned["shift_low"] < tuned["shift"]).all() and (tuned["shift"] < tuned["shift_high"]).all()
    assert table[table["model"] == "source"]["shift"].abs().max() < 1e-12


def test_position_bias_is_recovered(planted):
    table = reliability.position_bias(lens_shifts.scores(*planted))
    assert table["bias"].mean() == pytest.approx(0.8, abs=0.05), (
        "the simulator adds 0.4 to one order, takes it from the other"
    )
    assert len(table) == 13 * 4


def test_reliability_is_high_where_items_move_together(shifts):
    table = reliability.cronbach(shifts).set_index(["lens", "dimension"])
    assert table.loc[("choice", "instrumental_harm"), "alpha"] > 0.7
    items = table["items"].groupby("lens").unique().map(list).to_dict()
    assert items == {lens: [24 if lens == "pairs" else 12] for lens in grid.ITEM_LENSES}
    assert table.loc[("choice", "impartiality"), "subjects"] == 48
    flat = reliability.cronbach(shifts.assign(signed=0.0))
    assert flat["alpha"].isna().all()


def test_reliability_does_not_see_how_much_a_subject_agrees_with_everything(shifts):
    shifts = shifts[shifts["lens"] != "pairs"]  # where it has cancelled already
    subjects = shifts["model"] + shifts["wording"]
    yes = dict(zip(subjects.unique(), np.random.default_rng(0).normal(0, 3, subjects.nunique()), strict=True))
    more = subjects.map(yes)
    agreeing = shifts.assign(shift=shifts["shift"] + more, signed=shifts["signed"] + shifts["keyed"] * more)
    before, after = (reliability.cronbach(table)["alpha"] for table in (shifts, agreeing))
    assert after.to_numpy() == pytest.approx(before.to_numpy())


def test_lenses_that_measure_one_thing_agree(contrasts):
    table = reliability.lens_agreement(contrasts, draws=200).set_index(["lens_a", "lens_b"])
    both = table.loc[("choice", "likelihood")]
    assert both["r"] > 0.8 and both["low"] < both["r"] < both["high"] and both["opposite"] < 0.25
    mixed = contrasts.copy()
    is_text = mixed["lens"] == "text"
    mixed.loc[is_text, "contrast"] = np.random.default_rng(0).normal(size=is_text.sum())
    apart = reliability.lens_agreement(mixed, draws=200).set_index(["lens_a", "lens_b"]).loc[("choice", "text")]
    assert apart["low"] < 0 < apart["high"] and apart["opposite"] == pytest.approx(0.5, abs=0.05)


def test_lenses_are_compared_on_the_items_that_both_have(contrasts):
    table = reliability.lens_agreement(contrasts, draws=20).set_index(["lens_a", "lens_b"])
    assert (table["n_items"] == 120).all(), "minimal pairs are other statements"
    text = contrasts["lens"] == "text"
    lost = text & contrasts["id"].isin(contrasts.loc[text, "id"].unique()[:5])
    fewer = reliability.lens_agreement(contrasts[~lost], draws=20)
    with_text = (fewer["lens_a"] == "text") | (fewer["lens_b"] == "text")
    assert set(fewer.loc[with_text, "n_items"]) == {115} and set(fewer.loc[~with_text, "n_items"]) == {120}
    assert (fewer["n"] == 12 * fewer["n_items"]).all(), "twelve models"


def test_top_items_do_not_show_who_agrees_with_everything(contrasts):
    agreeing = contrasts["keyed"] * 9.0 * (contrasts["constitution"] == "virtue")
    agreeing[contrasts["lens"] == "pairs"] = 0.0  # where it has cancelled
    more = contrasts.assign(contrast=contrasts["contrast"] + agreeing)
    for lens in ("choice", "pairs"):
        pd.testing.assert_frame_equal(tables.top_items(more, lens), tables.top_items(contrasts, lens))


def test_standardised_wordings_weigh_alike(shifts):
    loud = shifts["wording"] == "right"
    louder = shifts.assign(**{c: shifts[c] * np.where(loud, 3.0, 1.0) for c in ("shift", "signed")})
    one, other = (lens_shifts.standardised(table) for table in (shifts, louder))
    pd.testing.assert_frame_equal(one, other)
    spread = one[one["lens"] == "choice"].groupby(["wording", "model"])["shift"].var().groupby("wording").mean()
    assert spread.to_numpy() == pytest.approx(1.0)
    assert one["value"].equals(shifts["value"])
    flat = shifts.assign(shift=0.0, signed=0.0)
    assert (lens_shifts.standardised(flat)["signed"] == 0).all()


def test_a_control_arm_moves_no_scale(shifts):
    arm = shifts[shifts["constitution"] == "virtue"].assign(constitution="plain")
    arm[["shift", "signed"]] *= 50
    both = lens_shifts.standardised(pd.concat([shifts, arm], ignore_index=True))
    pd.testing.assert_frame_equal(both.iloc[: len(shifts)], lens_shifts.standardised(shifts))


def test_top_items_are_in_line_with_a_planted_signature(contrasts):
    table = tables.top_items(contrasts, "choice", number=5)
    assert (table["in_line"] != "no").mean() > 0.8 and table["statement"].str.len().min() > 10
    row = table.iloc[0]
    direction = materials.signatures()[row["constitution"]][row["dimension"]] * row["keyed"]
    assert direction == 0 or np.sign(row["agreement"]) == direction


def test_profile_intervals_hold_the_planted_direction(shifts):
    table = matching.dimension_profile(lens_shifts.wording_contrasts(shifts), draws=200)
    marked = table[(table["expected"] != 0) & (table["lens"] == "choice")]
    assert (np.sign(marked["contrast"]) == marked["expected"]).mean() > 0.85
    assert (table["low"] <= table["contrast"]).all() and (table["contrast"] <= table["high"]).all()


@pytest.mark.long
@pytest.mark.parametrize(
    "grid_of",
    [
        {"constitutions": ("deontology", "consequentialism"), "scopes": ("broad", "harassment"), "limit": 2},
        {"constitutions": ("deontology", "virtue"), "scopes": ("illegal",), "seeds": (0, 1), "limit": 2},
        {"constitutions": ("virtue",), "scopes": ("broad",), "limit": 2},
    ],
)
def test_any_part_of_the_grid_can_be_analysed(tmp_path, grid_of):
    run, models = simulation.run(tmp_path, strength=0.2, **grid_of)
    raw = lens_shifts.item_shifts(lens_shifts.scores(run, models))
    shifts = lens_shifts.standardised(lens_shifts.keep_pure_swaps(raw))
    contrasts = lens_shifts.averaged(lens_shifts.wording_contrasts(shifts))
    own = matching.signature_match(contrasts, draws=50)
    tally, pooled = registered.tally(registered.cells(raw)), registered.pooled(contrasts, shuffles=49)
    repeated = replication.replication(contrasts, draws=20)
    assert sentences.registered(tally, pooled) and sentences.replication(repeated, pooled, 0.05)
    assert len(repeated) == 0 or len(draw.replication(repeated).axes) >= len(grid.ITEM_LENSES)
    texts = voice.teacher_texts(list(grid.REFERENCE))
    assert sentences.lexical(lexical.control(contrasts, texts, draws=20))
    assert set(registered.minimal_pairs(raw, draws=20)["pairs"]) == {"pure swaps", "all"}, (
        "the limit leaves m01 and m02"
    )
    assert len(own) == len(grid_of["constitutions"]) * len(grid_of["scopes"]) * len(grid.ITEM_LENSES)
    assert (own["seeds"] == len(grid_of.get("seeds", (0,)))).all()
    tests = matching.identification(contrasts)
    said = sentences.verdicts(tests, own, 0.05)["sentence"]
    assert said.str.contains("apart").all()
    assert not said.str.contains("tells the constitutions apart").any(), "so few models cannot show it"
    matching.dimension_contrast(shifts)
    reliability.cronbach(shifts)
    reliability.lens_agreement(contrasts, draws=50)
    dilemmas.summary(dilemmas.preferences(dilemmas.answers(run, models)))


@pytest.mark.long
def test_several_seeds_are_averaged(tmp_path):
    run, models = simulation.run(tmp_path, scopes=("harassment",), seeds=(0, 1, 2), strength=0.3)
    shifts = lens_shifts.item_shifts(lens_shifts.scores(run, models))
    contrasts = lens_shifts.averaged(lens_shifts.wording_contrasts(shifts))
    own = matching.signature_match(contrasts, draws=50)
    assert len(own) == 4 * len(grid.ITEM_LENSES) and (own["seeds"] == 3).all()
    c4 = matching.dimension_contrast(contrasts)
    assert (c4["seeds"] == 3).all() and (c4[c4["lens"] != "pairs"]["method"] == "two-way t within strata").all()
