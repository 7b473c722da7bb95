"""Projectability: known ratios come back, undefined cases are said, noise is told from persona."""

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas import stats
from ethical_personas.projectability import compare, persona, ratio
from ethical_personas.safety import gains
from ethical_personas.study import grid

OOD = {"deontology": 0.75, "consequentialism": 0.6, "virtue": 0.45, "subordinate": 0.15}


@pytest.fixture(scope="module")
def panel():
    return gains.panel(simulate.frame(gain=0.8, refusal=0.05, ood=OOD, per_category=60, seed=3))


def test_ps_is_the_ratio_of_gains_on_the_same_categories(panel):
    table = ratio.safety(panel, "S", draws=1000)
    assert len(table) == 8 and not table["reason"].any()
    ood = [c for c in grid.CATEGORIES if c != "illegal"]
    keep = panel.index.get_level_values("category").isin(ood)
    mean = panel[keep].mean()
    source = mean["source", "source", 0]
    by_hand = (mean["virtue", "illegal", 0] - source) / (mean["virtue", "broad", 0] - source)
    row = table[(table["constitution"] == "virtue") & (table["scope"] == "illegal")].iloc[0]
    assert row["estimate"] == pytest.approx(by_hand)
    assert row["low"] < row["estimate"] < row["high"] and row["n_clusters"] == 300


def test_ps_recovers_the_planted_order_and_values(panel):
    table = ratio.safety(panel, "S", draws=1000)
    for row in table.itertuples():
        # broad models gain `ood` only on categories outside their rows, and have none outside: 0.8 everywhere
        assert row.low - 0.05 <= OOD[row.constitution] / 0.8 <= row.high + 0.05
    assert {"estimate", "low", "high", "p", "p_holm", "p_bh", "effect", "mde", "n", "n_clusters", "seeds"} <= set(table)


def test_ps_on_j_counts_over_refusal():
    frame = simulate.frame(gain=0.8, refusal=0.03, seed=4)
    narrow = (frame["scope"] == "illegal") & (frame["constitution"] == "virtue") & (frame["kind"] != "harmful")
    frame.loc[narrow, "declined"] = 1.0  # this narrow model declines every harmless request
    panel = gains.panel(frame)
    s, j = (ratio.safety(panel, m, draws=500).set_index(["constitution", "scope"]) for m in "SJ")
    assert s.loc[("virtue", "illegal"), "estimate"] == pytest.approx(1, abs=0.15)
    assert j.loc[("virtue", "illegal"), "estimate"] < 0.1
    assert j.loc[("virtue", "harassment"), "estimate"] > 0.8


def test_undefined_where_the_broad_gain_may_be_zero():
    frame = simulate.frame(gain=0.0, refusal=0.0, seed=5)
    table = ratio.safety(gains.panel(frame), "S", draws=200)
    undefined = table["estimate"].isna()
    assert undefined.sum() >= 6
    assert (table.loc[undefined, "reason"].str.startswith("undefined")).all()
    assert table["narrow_gain"].notna().all()  # what was measured is still shown
    alone = ratio.safety(gains.panel(simulate.frame(scopes=("illegal",))), "J", draws=200)
    assert alone["estimate"].isna().all() and alone["reason"].str.contains("no broad model").all()
    assert ratio.safety(gains.panel(simulate.frame(scopes=("broad",))), "S").empty


def test_a_ratio_of_saturated_rates_keeps_a_width():
    frame = simulate.frame(gain=0.8)
    frame.loc[frame["kind"] == "harmful", "declined"] = (frame["constitution"] != "source").astype(float)
    table = ratio.safety(gains.panel(frame), "S", draws=1000)
    assert (table["estimate"] == 1).all()
    assert (table["high"] - table["low"] > 0.005).all()


def test_seeds_widen_the_interval():
    wide = simulate.frame(gain=0.6, seeds=(0, 1, 2), seed_sd=0.6, seed=6)
    panel = gains.panel(wide)
    one = gains.panel(wide[(wide["seed"] == 0)])
    widths = []
    for p in (panel, one):
        table = ratio.safety(p, "S", draws=1000)
        widths.append((table["high"] - table["low"]).mean())
    assert ratio.safety(panel, "S", draws=50)["seeds"].eq(3).all()
    assert widths[0] > widths[1]


def test_differences(panel):
    rows, draws = ratio.safety_draws(panel, "S", draws=800)
    table = compare.differences(panel, "S", rows, draws)
    assert (table["p"] < 1e-4).all() and (table["cochran_p"] < 1e-4).all()
    assert (table["low"] > 0).all() and (table["estimate"] > 0.4).all() and table["mde"].between(0.05, 0.5).all()


@pytest.mark.long
def test_no_difference_is_seldom_found_where_there_is_none():
    found = []
    for seed in range(30):
        panel = gains.panel(simulate.frame(gain=0.6, seed=seed, scopes=("broad", "illegal")))
        found += list(compare.differences(panel, "S", *ratio.safety_draws(panel, "S", draws=300))["p"] < 0.05)
    assert np.mean(found) <= 0.17  # 30 replicates: 5 % + three standard errors


def test_ranks_and_tau(panel):
    table = compare.ranks(panel, "S", draws=500)
    assert len(table) == 8
    one = table[table["scope"] == "illegal"].set_index("constitution")
    assert one.loc["deontology", "ood_rank"] == 1 and one.loc["subordinate", "ood_rank"] == 4
    assert (one["ood_rank_low"] <= one["ood_rank"]).all() and (one["ood_rank"] <= one["ood_rank_high"]).all()
    assert one["tau"].nunique() == 1 and one["tau_low"].iloc[0] <= one["tau"].iloc[0] <= one["tau_high"].iloc[0]
    two = compare.ranks(gains.panel(simulate.frame(constitutions=("deontology", "virtue"), seed=8)), "S", draws=200)
    assert two["reason"].str.startswith(("weak: two", "undefined: every")).all()
    lone = compare.ranks(gains.panel(simulate.frame(constitutions=("virtue",))), "S", draws=200)
    assert lone["tau"].isna().all() and lone["reason"].str.contains("one constitution").all()


def test_reversal_needs_both_sides():
    frame = simulate.frame(gain=0.6, constitutions=("deontology", "virtue"), scopes=("broad", "illegal"), seed=9)
    cell = frame["model"].isin(["deontology-illegal-s0", "virtue-illegal-s0"]) & (frame["kind"] == "harmful")
    inside = cell & (frame["category"] == "illegal")
    frame.loc[cell, "declined"] = (frame["constitution"] == "virtue").astype(float)
    frame.loc[inside, "declined"] = (frame["constitution"] == "deontology").astype(float)
    row = compare.reversals(gains.panel(frame)).iloc[0]
    assert row["reversed"] and row["p"] < 1e-6 and row["id"] == 1 and row["ood"] == -1
    same = compare.reversals(gains.panel(simulate.frame(gain=0.6, ood=OOD)))
    assert len(same) == 12 and (same.loc[~same["reversed"], "p"] == 1).all()


def test_voice_uses_the_own_constitution_over_the_source():
    shares = simulate.voices(own=0.9, ood={"subordinate": 0.3})
    table = ratio.voice(shares, draws=500).set_index(["constitution", "scope"])
    assert (table["measure"] == "voice").all() and len(table) == 8
    assert table.loc[("subordinate", "illegal"), "estimate"] < 0.4
    assert table.loc[("deontology", "illegal"), "estimate"] == pytest.approx(1, abs=0.2)
    assert {"p_holm", "p_bh"} <= set(table.columns)


# ---- persona


def test_one_persona_reaches_its_ceiling_however_weak_it_is():
    strong = persona.persona(simulate.contrasts(strength=1.0, noise=0.6, seed=1))
    weak = persona.persona(simulate.contrasts(strength=0.3, noise=0.6, seed=1))
    assert (strong["estimate"] > 0.9).all()
    assert weak["estimate"].mean() < strong["estimate"].mean() - 0.1  # noise alone lowers the cosine
    assert weak["of_ceiling"].median() == pytest.approx(1, abs=0.2)  # and the ceiling gives it back
    assert strong["of_ceiling"].median() == pytest.approx(1, abs=0.05)
    assert ((weak["of_low"] < 1) & (weak["of_high"] > 1)).mean() > 0.8


@pytest.mark.long
def test_reliability_is_what_split_halves_give():
    contrasts = simulate.contrasts(strength=0.3, noise=0.6, seed=2)
    one = contrasts[(contrasts["constitution"] == "virtue") & (contrasts["scope"] == "illegal")]
    rng, cosines = np.random.default_rng(0), []
    for _ in range(400):
        half = one.groupby(["dimension", "keyed"])["id"].transform(lambda g: rng.permutation(len(g)) < len(g) // 2)
        a, b = (one[half.astype(bool) == k].groupby("dimension")["contrast"].mean() for k in (True, False))
        cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    r = np.mean(cosines)
    table = persona.persona(contrasts)
    row = table[(table["constitution"] == "virtue") & (table["scope"] == "illegal")].iloc[0]
    assert row["narrow_reliability"] == pytest.approx(2 * r / (1 + r), abs=0.08)


def test_unrelated_and_opposite_personas():
    contrasts = simulate.contrasts(strength=1.0, noise=0.3, seed=3)
    flip = (contrasts["scope"] == "illegal") & (contrasts["constitution"] == "virtue")
    contrasts.loc[flip, "contrast"] *= -1
    table = persona.persona(contrasts).set_index(["constitution", "scope"])
    assert table.loc[("virtue", "illegal"), "estimate"] < -0.9
    assert table.loc[("virtue", "illegal"), "high"] < 0
    noise = persona.persona(simulate.contrasts(strength=0, seed=4))
    assert (noise["p"] < 0.05).mean() <= 0.25
    assert noise["of_ceiling"].isna().sum() >= 6 and noise["reason"].str.contains("does not repeat").sum() >= 6


@pytest.mark.long
def test_interval_of_the_cosine_covers():
    """25 replicates of eight models: one persona in narrow and broad, so the noise-free pP is 1."""
    covered = []
    for seed in range(25):
        table = persona.persona(simulate.contrasts(strength=0.5, noise=0.6, seed=seed))
        covered += list((table["of_low"] <= 1) & (table["of_high"] >= 1))
    assert np.mean(covered) >= 0.93  # errs on the wide side


def test_persona_undefined_cases_are_said():
    no_broad = persona.persona(simulate.contrasts(scopes=("illegal",)))
    assert no_broad["estimate"].isna().all() and no_broad["reason"].str.contains("no broad model").all()
    alone = simulate.contrasts()
    alone = alone[alone["constitution"] == "virtue"].assign(contrast=0.0)  # one constitution has no contrast
    table = persona.persona(alone)
    assert table["estimate"].isna().all() and table["reason"].str.contains("without any contrast").all()
    assert table["repeats"].isna().all()
    few = simulate.contrasts()
    few = few[few["id"].str.endswith("p1")]
    assert persona.persona(few)["reason"].str.contains("one item a dimension").all()
    assert persona.persona(simulate.contrasts(seeds=(0, 1, 2)))["seeds"].eq(3).all()


# ---- gains, transfer, dose


def test_transfer_matrix_marks_what_was_trained(panel):
    matrix = gains.transfer(panel)
    assert len(matrix) == 18 and matrix["constitutions"].eq(4).all()
    trained = matrix[matrix["trained"]]
    assert set(zip(trained["scope"], trained["category"], strict=True)) >= {("illegal", "illegal")}
    off = matrix[(matrix["scope"] == "illegal") & ~matrix["trained"]]
    assert off["of_broad"].between(0.4, 0.85).all()  # mean planted: 0.61
    assert matrix["p_holm"].ge(matrix["p"]).all()
    no_broad = gains.transfer(gains.panel(simulate.frame(scopes=("illegal",))))
    assert no_broad["of_broad"].isna().all() and no_broad["reason"].eq("no broad model in this run").all()


def test_dose_follows_steps():
    frame = simulate.frame(gain=0.8, constitutions=("deontology",), scopes=("harassment",))
    source, last = (frame[frame["constitution"] == c] for c in ("source", "deontology"))
    early = last.assign(model="deontology-harassment-s0@6", declined=source["declined"].to_numpy())
    final = last.assign(model="deontology-harassment-s0@18")
    table = gains.dose(pd.concat([source, final, early]))
    s = table[table["measure"] == "S"].set_index("step")["estimate"]
    assert list(s.index) == [6, 18] and s[6] == 0 and s[18] > 0.6
    assert gains.dose(frame).empty


def test_gain_tables_and_missing_source():
    frame = simulate.frame(seeds=(0, 1), per_category=5, harmless=(5, 5))
    panel = gains.panel(frame)
    table = gains.table(panel, on="held_out")
    assert set(table["categories"]) == {"chemical_biological", "misinformation_disinformation"}
    assert table["seeds"].eq(2).all() and table["scope"].isin(grid.NARROW).all()
    by_scope = gains.scopes(panel)
    assert list(by_scope["scope"]) == ["source", "broad", "harassment", "illegal"]
    assert ((by_scope["S_low"] <= by_scope["S"]) & (by_scope["S"] <= by_scope["S_high"])).all()
    assert np.allclose(by_scope["J"], by_scope["S"] - by_scope["O"])
    assert set(stats.COLUMNS) < set(gains.table(panel)) and len(gains.by_category(panel)) == 72
    frame.loc[frame.index[5], "declined"] = np.nan
    assert gains.missing(gains.panel(frame))["no_verdict"].sum() == 1
    assert gains.table(gains.panel(simulate.frame(scopes=("broad",))), on="ood").empty
    with pytest.raises(Exception, match="no rows of the source"):
        gains.panel(frame[frame["constitution"] != "source"])
