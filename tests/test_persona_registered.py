"""The registered score, the pooled tests, replication and the lexical control: planted and null."""

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas.persona import lens_shifts, lexical, registered, replication, voice
from ethical_personas.projectability import persona
from ethical_personas.study import grid, materials


def shifts_of(score) -> pd.DataFrame:
    """Item shifts of the choice lens: score(constitution, scope, item), the source at 1."""
    found = []
    for cell in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0]):
        for item in materials.items():
            shift = float(score(cell.constitution, cell.scope, item))
            key = (cell.name, cell.constitution, cell.scope, 0, "choice", item.id, item.dimension, item.keyed)
            found.append((*key, "agree", 1.0 + shift, shift, item.keyed * shift))
    columns = ["model", "constitution", "scope", "seed", "lens", "id", "dimension", "keyed", "wording"]
    return pd.DataFrame(found, columns=[*columns, "value", "shift", "signed"])


def by_the_signs(size=0.5, zero=0.1, agrees=3.0):
    signatures = materials.signatures()
    return lambda c, _, item: agrees + item.keyed * (size * signatures[c][item.dimension] or zero)


def test_the_tally_counts_signed_cells_of_all_models_and_the_smallness_of_the_others():
    cells = registered.cells(shifts_of(by_the_signs()))
    row = cells[(cells["constitution"] == "virtue") & (cells["dimension"] == "impartiality")].iloc[0]
    # Mean of items keyed +1 minus mean of those keyed -1, agreement with everything cancelled.
    assert (row["sign"], row["source"], row["shift"], row["in_line"]) == (-1, 0.0, pytest.approx(-1.0), "yes")
    table = registered.tally(cells).set_index("constitution")
    assert table.loc[registered.ALL, ["in_line", "of", "zeros_smaller"]].tolist() == [81, 81, 4]
    assert table.loc[registered.ALL, "p"] == pytest.approx(1 / 24) and table.loc[registered.ALL, "chance"] < 60
    assert table["of"].drop(registered.ALL).to_dict() == {
        "deontology": 21, "consequentialism": 27, "virtue": 18, "subordinate": 15,
    }  # fmt: skip
    assert registered.tally(registered.cells(shifts_of(by_the_signs(zero=2.0)))).iloc[-1]["zeros_smaller"] == 0


def test_a_shift_that_all_constitutions_share_tells_no_signature_from_another():
    table = registered.tally(registered.cells(shifts_of(lambda c, s, item: item.keyed))).iloc[-1]
    assert (table["in_line"], table["of"]) == (
        sum(s > 0 for c in grid.REFERENCE for s in materials.signatures()[c].values()) * 3,
        81,
    )
    assert table["chance"] == table["in_line"] and table["p"] == 1.0


def test_a_shift_of_nothing_is_not_in_line():
    assert registered.tally(registered.cells(shifts_of(lambda *_: 0.0))).iloc[-1]["in_line"] == 0


def test_one_key_is_a_difference_already():
    raw = shifts_of(by_the_signs())
    raw = raw[raw["keyed"] == 1].assign(lens="pairs")
    cells = registered.cells(raw.assign(shift=raw["shift"] - 3.0))
    assert cells.loc[cells["sign"] == 1, "shift"].to_numpy() == pytest.approx(0.5)


def test_pooled_tests_find_what_was_planted_and_only_that():
    table = registered.pooled(simulate.contrasts(strength=0.3), shuffles=999).iloc[0]
    assert table["cosine"] > 0.8 and table["p_dimensions"] <= 0.002 and table["low"] > 0
    assert table["p_constitutions"] == pytest.approx(1 / 24) and table["models"] == 12
    assert table["alignment"] == pytest.approx(0.3, abs=0.15)
    p = pd.concat([registered.pooled(simulate.contrasts(strength=0, seed=s), shuffles=199) for s in range(40)])
    for name in ("p", "p_dimensions", "p_constitutions"):
        assert (p[name] < 0.05).mean() <= 0.15 and 0.3 < p[name].mean() < 0.7, name


def test_pooled_alignment_does_not_see_who_agrees_with_everything():
    contrasts = simulate.contrasts(strength=0.3)
    more = contrasts["contrast"] + 2.0 * contrasts["keyed"] * (contrasts["constitution"] == "virtue")
    columns = ["alignment", "low", "high", "p"]
    one, other = (registered.pooled(t, shuffles=9)[columns] for t in (contrasts, contrasts.assign(contrast=more)))
    assert np.allclose(one, other)
    assert lens_shifts.without_acquiescence(contrasts)["contrast"].std() > 0.1


def fingerprints(strength=0.0, repeat=1.0, seeds=(0,), seed=0) -> pd.DataFrame:
    """Contrasts in which each constitution has an item profile of its own in all scopes, beside a persona."""
    table = simulate.contrasts(strength=strength, seeds=seeds, seed=seed)
    rng = np.random.default_rng(seed + 100)
    marks = pd.DataFrame(rng.normal(size=(len(table["id"].unique()), 4)), table["id"].unique(), grid.CONSTITUTIONS)
    marks = marks.sub(marks.mean(axis=1), axis=0)
    own = [marks.loc[i, c] for i, c in zip(table["id"], table["constitution"], strict=True)]
    return table.assign(contrast=table["contrast"] + repeat * table["keyed"] * own)


def test_a_fingerprint_that_repeats_is_found_and_is_no_persona():
    table = replication.replication(fingerprints(), draws=200)
    row = table[table["constitution"] == replication.ALL].set_index(["kind", "part"])
    assert set(table["kind"]) == {"disjoint", "scopes"}, "one seed has none to be set beside"
    assert row.loc[("disjoint", "items"), "p"] == pytest.approx(1 / 24)
    assert row.loc[("scopes", "items"), "p"] == pytest.approx(1 / 576)
    assert row["arrangements"].groupby("kind").first().to_dict() == {"disjoint": 24, "scopes": 576}
    items, beyond = row.loc[("disjoint", "items")], row.loc[("disjoint", "beyond")]
    assert items["low"] > 0.4 > 0 > items["between_high"] and abs(items["within"] - beyond["within"]) < 0.05
    pooled = registered.pooled(fingerprints(), shuffles=99).iloc[0]
    assert pooled["low"] < 0 < pooled["high"]


def test_a_persona_alone_repeats_and_goes_with_the_dimensions_means():
    table = replication.replication(simulate.contrasts(strength=2.0, noise=0.5), draws=50)
    row = table[table["constitution"] == replication.ALL].set_index(["kind", "part"])["within"]
    assert row["disjoint", "items"] > 0.8 and row["disjoint", "dimensions"] > 0.95
    assert abs(row["disjoint", "beyond"]) < 0.15


def test_nothing_repeats_in_noise():
    p = []
    for seed in range(60):
        table = replication.replication(fingerprints(repeat=0, seed=seed), draws=2)
        p.append(table[(table["constitution"] == replication.ALL) & (table["part"] == "items")].set_index("kind")["p"])
    p = pd.DataFrame(p)
    assert ((p < 0.05).mean() <= 0.13).all() and ((p.mean() - 0.5).abs() < 0.12).all()


def test_seeds_of_one_scope_are_replicates_and_no_units_of_their_own():
    found = fingerprints(seeds=(0, 1))
    table = replication.replication(found, draws=20)
    row = table[(table["constitution"] == replication.ALL) & (table["part"] == "items")].set_index("kind")
    assert row["pairs"].to_dict() == {"disjoint": 1, "scopes": 3, "seeds": 3}
    assert row.loc["disjoint", "arrangements"] == 24 and row.loc["seeds", "p"] < 0.01
    # A mark that a constitution has in one scope only repeats over seeds, and not over scopes.
    alone = found["contrast"].where(found["scope"] == "illegal", fingerprints(repeat=0, seeds=(0, 1))["contrast"])
    table = replication.replication(found.assign(contrast=alone), draws=20)
    row = table[(table["constitution"] == replication.ALL) & (table["part"] == "items")].set_index("kind")
    assert row.loc["seeds", "within"] > 0.15 > abs(row.loc["disjoint", "within"])


def test_pp_has_a_defined_neighbour_where_the_ratio_is_undefined():
    table = persona.persona(fingerprints())
    assert table["repeats"].notna().all() and (table["repeats_low"] > 0.4).all() and (table["repeats_others"] < 0).all()
    flat = persona.persona(fingerprints(repeat=0))
    assert flat["reason"].str.contains("does not repeat").any() and flat["repeats"].notna().all()
    assert flat["repeats"].abs().max() < 0.35
    part = fingerprints()
    assert persona.persona(part[part["scope"] != "broad"])["repeats"].isna().all()


TEXTS = voice.teacher_texts(list(grid.REFERENCE))


def worded(lens: str, slope: float, strength: float, seed=0) -> pd.DataFrame:
    """Contrasts that follow the words of the teacher's text, and a persona."""
    rng, words, signatures, found = np.random.default_rng(seed), lexical.scores(TEXTS), materials.signatures(), []
    items = [p for p in materials.instrument() if ("_m" in p[0]) == (lens == "pairs")]
    for cell in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0]):
        for name, dimension, keyed in items:
            along = strength * signatures[cell.constitution][dimension]
            value = along + keyed * slope * words.loc[name, cell.constitution] + rng.normal(0, 0.1)
            found.append((cell.constitution, cell.scope, 0, lens, dimension, name, keyed, value))
    columns = ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed", "contrast"]
    return pd.DataFrame(found, columns=columns)


def test_words_of_the_training_text_are_found_and_taken_out():
    table = lexical.control(worded("likelihood", 3.0, 0.0), TEXTS, draws=100)
    assert (table["low"] > 0.8).all() and len(table) == 12
    assert table["alignment_without"].abs().max() < 0.05 < table["alignment"].abs().max()
    table = lexical.control(worded("likelihood", 0.0, 0.3), TEXTS, draws=100)
    assert table["r"].abs().max() < 0.5 and (table["cosine_without"] > 0.9).all()
    noise = lexical.control(worded("choice", 0.0, 0.0), TEXTS, draws=100)
    assert ((noise["low"] < 0) & (noise["high"] > 0)).mean() > 0.7


def test_pure_swaps_have_no_words_to_take_out():
    table = lens_shifts.keep_pure_swaps(worded("pairs", 3.0, 0.3))
    assert table["id"].nunique() == 160
    found = lexical.control(table, TEXTS, draws=10)
    assert found["r"].isna().all() and found["reason"].str.contains("same words").all()
    assert found["cosine"].equals(found["cosine_without"]) and (found["cosine"] > 0.9).all()
    assert lexical.control(worded("pairs", 3.0, 0.3), TEXTS, draws=10)["r"].min() > 0.3, "the others have"


def test_log_odds_favour_the_own_words():
    texts = pd.DataFrame({"constitution": ["a", "b"], "text": ["duty duty the", "good good the"]})
    odds = lexical.log_odds(texts)
    assert odds.loc["duty", "a"] > 0 > odds.loc["good", "a"] and odds.loc["the", "a"] == pytest.approx(0, abs=1e-9)
