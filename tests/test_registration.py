"""The second registration point by point: a planted persona meets it, noise does not, thresholds are the file's."""

import numpy as np
import pandas as pd
import pytest
import simulate
import yaml
from ethical_personas.errors import CompanionError
from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.persona import registered, registration, replication, sentences
from ethical_personas.study import grid, inputs

LENSES = ("likelihood", "pairs")


def tables(strength, swaps=None):
    """What the scorecard reads, of simulated contrasts; swaps: strength on the lens of the pairs alone."""
    parts = [simulate.contrasts(strength=s, lenses=(lens,)) for lens, s in zip(LENSES, (strength, swaps), strict=True)]
    contrasts = pd.concat(parts, ignore_index=True)
    repeated, pooled = replication.replication(contrasts, 200), registered.pooled(contrasts)
    of_pairs = pooled[pooled["lens"] == "pairs"]
    minimal = pd.concat([of_pairs.assign(pairs="pure swaps"), of_pairs.assign(pairs="all")])
    cosine = pooled.set_index("lens").loc["likelihood", "cosine"]
    words = pd.DataFrame({"constitution": ["virtue"], "lens": ["likelihood"], "cosine_without": [cosine]})
    return contrasts, repeated, pooled, minimal, words


def verdicts(table):
    return table.set_index(["part", "criterion"])["verdict"].to_dict()


@pytest.fixture(scope="module")
def planted():
    return tables(1.5, 1.5)


@pytest.fixture(scope="module")
def noise():
    return tables(1.5, 0.0)


def test_a_strong_persona_meets_every_point_and_nothing_counts_against_it(planted):
    table = registration.scorecard(*planted, draws=500)
    assert set(verdicts(table).values()) == {registration.MET, registration.NOT_SHOWN}
    assert (table["verdict"] == registration.MET).sum() == 5 and len(table) == 9
    told = sentences.registration(table)
    assert "met: 5 (match, lead, replication, pooled: alignment, pooled: match)." in told and "came true: 0." in told


def test_a_match_of_words_alone_is_not_met_and_counts_against(noise):
    """On likelihood the signatures are planted, on the swaps there is noise: no reader should take it for a persona."""
    table = registration.scorecard(*noise, draws=500)
    found = verdicts(table)
    assert {found["counts", c] for c in ("match", "lead", "pooled: alignment", "pooled: match")} == {
        registration.NOT_MET
    }
    assert found["counts against", "words"] == found["counts against", "pooled"] == registration.HOLDS
    rows = table.set_index(["part", "criterion"])
    mean = noise[2].set_index("lens").loc["pairs"]
    for at in (("counts", "pooled: alignment"), ("counts against", "pooled")):
        assert rows.loc[at, ["estimate", "low", "high"]].tolist() == mean[["alignment", "low", "high"]].tolist()
    line = f"**pooled**: {mean['alignment']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"
    assert line in sentences.registration(table) and "lies wholly below 0.2" in sentences.registration(table)


@pytest.mark.parametrize(("high", "verdict"), [(0.199, registration.HOLDS), (0.201, registration.NOT_SHOWN)])
def test_a_wide_interval_counts_against_nothing(noise, high, verdict):
    contrasts, repeated, pooled, minimal, words = noise
    table = registration.scorecard(contrasts, repeated, pooled.assign(high=high), minimal, words, draws=100)
    assert verdicts(table)["counts against", "pooled"] == verdict


def test_what_repeats_beside_the_signs_is_a_fingerprint_only(planted):
    contrasts, repeated, pooled, minimal, words = planted
    flat = pooled.assign(alignment=0.0, low=-0.1, high=0.1, p=1.0)
    found = verdicts(registration.scorecard(contrasts, repeated, flat, minimal, words, draws=100))
    assert found["counts", "replication"] == registration.MET
    assert found["counts against", "replication"] == registration.HOLDS
    found = verdicts(registration.scorecard(contrasts, repeated.assign(p=0.2), flat, minimal, words, draws=100))
    assert found["counts", "replication"] == registration.NOT_MET
    assert found["counts against", "replication"] == registration.NOT_SHOWN


def test_a_match_that_goes_with_the_words_counts_against_though_the_swaps_have_one(planted):
    contrasts, repeated, pooled, minimal, words = planted
    gone = registration.scorecard(contrasts, repeated, pooled, minimal, words.assign(cosine_without=0.19), draws=100)
    assert verdicts(gone)["counts against", "words"] == registration.HOLDS


def test_every_point_of_the_file_has_its_words_and_one_model_is_not_measured(planted):
    second = yaml.safe_load((ROOT / inputs.REGISTRATION).read_text(encoding="utf-8"))
    table = registration.scorecard(*planted, draws=100)
    for part, said in (("counts", second["what_counts"]), ("counts against", second["what_would_count_against"])):
        assert set(table.loc[table["part"] == part, "registered"]) == set(said.values())
    contrasts, repeated, pooled, minimal, words = (t.iloc[:0] for t in planted)
    empty = registration.scorecard(contrasts, repeated, pooled, minimal, words)
    assert len(empty) == 9 and set(empty["verdict"]) == {registration.UNMEASURED}
    assert sentences.registration(empty).count("not measured") == 9 and "nan" not in style.markdown(empty)
    assert np.isnan(empty["estimate"].astype(float)).all()


def test_one_constitution_alone_is_not_measured_and_of_two_no_exchange_is_rare(planted):
    """Its contrasts are 0 by themselves; an exchange of two constitutions is the best of all half of the time."""
    contrasts, repeated, pooled, minimal, words = planted
    lone = contrasts[contrasts["constitution"] == "virtue"].assign(contrast=0.0)
    flat = pooled.assign(alignment=0.0, low=0.0, high=0.0)
    table = registration.scorecard(lone, repeated.iloc[:0], flat, minimal, words, draws=100)
    assert set(table["verdict"]) == {registration.UNMEASURED}
    two = contrasts[contrasts["constitution"].isin(("virtue", "deontology"))]
    found = verdicts(
        registration.scorecard(two, repeated, pooled.assign(p_constitutions=0.5), minimal, words, draws=100)
    )
    assert found["counts", "pooled: match"] == registration.UNMEASURED


def test_one_item_a_dimension_is_too_few_to_draw_from(planted):
    """As in the smoke profile: no interval, so that match and lead are not measured."""
    contrasts, *rest = planted
    few = contrasts.groupby("id").filter(lambda item: item.name in set(contrasts.drop_duplicates("dimension")["id"]))
    found = verdicts(registration.scorecard(few, *rest, draws=100))
    assert {found["counts", c] for c in ("match", "lead")} == {registration.UNMEASURED}
    assert found["counts against", "match_and_lead"] == registration.UNMEASURED


def test_a_constitution_beyond_the_compared_ones_moves_no_point(planted):
    contrasts, repeated, pooled, minimal, words = planted
    more = pd.concat([words, words.assign(constitution="care", cosine_without=-1.0)])
    known = registration.scorecard(*planted, draws=100)
    assert registration.scorecard(contrasts, repeated, pooled, minimal, more, draws=100).equals(known)


def test_the_shipped_card_is_that_of_the_shipped_tables():
    """One number from each table beside it: a card that is not remade with them is seen."""
    card = style.read_table("figures/cpu", "registration_2").set_index(["part", "criterion"])
    pooled = style.read_table("figures/cpu", "persona_pooled").set_index("lens").loc["pairs"]
    pairs = style.read_table("figures/cpu", "persona_pairs").set_index("pairs").loc["pure swaps"]
    match = style.read_table("figures/cpu", "persona_identification").query("lens == 'pairs'")
    lead = style.read_table("figures/cpu", "claims_units").query("claim == 'C3' and measure == 'lead'")
    assert card.loc[("counts", "match"), "p"] == match["p_holm"].max()
    assert card.loc[("counts", "replication"), "p"] == pairs["p_replication"]
    assert card.loc[("counts against", "pooled"), ["estimate", "low", "high"]].tolist() == [
        pooled["alignment"], pooled["low"], pooled["high"],
    ]  # fmt: skip
    assert card.loc[("counts against", "match_and_lead"), "high"] == lead["high_family"].min()


def test_a_faulty_registration_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "data/persona").mkdir(parents=True)
    (tmp_path / inputs.REGISTRATION).write_text(
        "instrument: {lens: pairs}\nwhat_counts: {}\nwhat_would_count_against: {}\n"
    )
    monkeypatch.setattr(registration, "ROOT", tmp_path)
    with pytest.raises(CompanionError, match=r"registration_2\.yaml: field smallest_effects_of_interest"):
        registration.registration()


def test_models_of_control_arms_take_no_part(planted):
    contrasts, *rest = planted
    arm = contrasts[contrasts["constitution"] == "virtue"].assign(constitution=grid.CONTROLS[0], contrast=0.0)
    both = registration.scorecard(pd.concat([contrasts, arm]), *rest, draws=100)
    assert both.equals(registration.scorecard(contrasts, *rest, draws=100))
