"""Control arms in the analysis: rows of their own, claims of their own, and no number of the constitutions moved."""

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas import stats
from ethical_personas.claims import decide, evidence
from ethical_personas.figures import persona as draw_persona
from ethical_personas.figures import projectability, safety, style, trust
from ethical_personas.persona import content, matching, tables
from ethical_personas.projectability import ratio
from ethical_personas.safety import gains
from ethical_personas.study import grid

ARMS = grid.CONTROLS
WEAK = {"plain": 0.25, "shuffled": 0.25}
OURS = ("C6", "C7")


def made(harmless=30, **kwargs):
    """A simulated run with as many prompts of every harmless kind."""
    return simulate.frame(harmless=(harmless,) * len(grid.HARMLESS), **kwargs)


def measured(frame, contrasts=None, draws=400):
    shifts = None if contrasts is None else contrasts.assign(wording="one", signed=contrasts["contrast"])
    return evidence.Measured(gains.panel(frame), shifts, contrasts, draws=draws)


def verdicts(frame, contrasts=None, only=OURS):
    table, units = decide.evaluate(measured(frame, contrasts), [c for c in decide.declared() if c.id.startswith(only)])
    return table.set_index("claim"), units


@pytest.fixture(scope="module")
def planted():
    """Constitutions that carry 0.8 off their topic, where plain refusals carry 0.25, and personas of their own."""
    return made(400, gain=0.8, ood=WEAK, controls=ARMS), simulate.contrasts(noise=0.5, controls=ARMS, seeds=(0, 1, 2))


def test_planted_reasons_and_content_are_found(planted):
    table, units = verdicts(*planted)
    for claim in ("C6a", "C6b", "C6c", "C6d", "C7", "C6"):
        assert table.loc[claim, "verdict"] == "supported", table.loc[claim, "why"]
    assert table.loc["C6a", "passed"] == "4/4 constitutions" and table.loc["C7", "passed"] == "4/4 constitutions"
    assert not units["unit"].str.contains("|".join(ARMS)).any()
    shown = units[units["claim"] == "C6a"].set_index("unit")["estimate"]
    panel = gains.panel(planted[0])
    off = gains.rows_of(panel, "S", grid.Cell("", "illegal").ood)
    rates = [gains.values(panel, c, "illegal")[off].mean() for c in ("virtue", "plain")]
    assert shown["virtue"] == pytest.approx(rates[0] - rates[1], abs=0.1)  # of one of the two scopes that it averages


@pytest.mark.parametrize("seed", range(3))
def test_reasons_that_add_nothing_are_never_supported(seed):
    frame = made(gain=0.6, controls=ARMS, seed=seed, per_category=150)
    table, _ = verdicts(frame, simulate.contrasts(strength=0, controls=ARMS, seed=seed))
    for claim in ("C6a", "C6b", "C6d", "C7", "C6"):
        assert table.loc[claim, "verdict"] != "supported", table.loc[claim, "why"]
    # 750 prompts off topic and two scopes rule ten points out for some constitution.
    assert table.loc["C6a", "verdict"] == "not supported" and table.loc["C6", "verdict"] == "not supported"


def test_more_over_refusal_than_the_plain_arm_counts_against_the_reasons():
    frame = made(gain=0.8, ood=WEAK, controls=ARMS, over={"virtue": 0.4}, harmless=120)
    table, units = verdicts(frame, only=("C6c",))
    assert table.loc["C6c", "verdict"] == "not supported" and table.loc["C6c", "decided_by"].startswith("virtue")
    assert "below the margin -0.05" in table.loc["C6c", "why"]
    o = units.set_index("unit")["estimate"]
    assert o["virtue"] < -0.25 < o["deontology"]


def test_a_loss_that_is_tolerated_passes_and_the_same_without_tolerance_does_not():
    claim = {c.id: c for c in decide.declared()}["C6c"]
    frame = made(gain=0.8, controls=ARMS, over={"plain": 0.05}, harmless=400)
    run = measured(frame).restrict_to([*grid.REFERENCE, "plain"], grid.SCOPES)
    strict = claim.model_copy(update={"tolerated": 0.0})
    p = [decide.TESTS[c.test](run, c, 0.05)["p"] for c in (claim, strict)]
    assert (p[0] < 0.01).all() and p[1].median() > 0.05


@pytest.mark.parametrize("arms", [(), ("harmless",)])
def test_without_its_control_a_claim_is_open(arms):
    table, _ = verdicts(made(gain=0.8, controls=arms), simulate.contrasts(controls=arms))
    assert set(table["verdict"]) == {"inconclusive"}
    assert "no plain model" in table.loc["C6a", "why"] and "no shuffled model" in table.loc["C7", "why"]


def test_an_undefined_pS_of_the_arm_leaves_its_claim_open():
    frame = made(gain=0.8, ood={"plain": 0.0}, controls=ARMS)
    broad = (frame["constitution"] == "plain") & (frame["kind"] == "harmful")
    frame.loc[broad, "declined"] = frame.loc[frame["model"] == "source", "declined"].iloc[: 6 * 30].tolist() * 3
    table, _ = verdicts(frame, only=("C6d",))
    assert table.loc["C6d", "verdict"] == "inconclusive" and "undefined" in table.loc["C6d", "why"]


def same(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """`after` holds every row of `before`, unmoved, and only controls beside."""
    column = "arm" if "arm" in after else "constitution"
    kept = after[~after[column].isin(ARMS)] if column in after else after
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), before.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_controls_move_no_number_of_the_constitutions(seeds):
    names = [*grid.REFERENCE, "care"]  # an added constitution's family is its own too
    frame = made(gain=0.6, ood=WEAK, constitutions=names, controls=ARMS, seeds=seeds)
    panels = [gains.panel(frame[~frame["constitution"].isin(ARMS)]), gains.panel(frame)]
    for table in (gains.table, gains.by_category, gains.rates, gains.overall, gains.scopes, gains.transfer):
        same(*map(table, panels))
    for on in ("ood", "held_out"):
        same(*(gains.table(panel, on=on) for panel in panels))
    same(*(ratio.safety(panel, "J", 50) for panel in panels))
    assert set(ARMS[:2]) <= set(ratio.safety(panels[1], "S", 50)["constitution"])
    assert set(gains.scopes(panels[1])["arm"]) == {"source", "constitutions", *ARMS}


def test_controls_move_no_persona_and_no_claim_of_the_paper():
    frame, both = made(gain=0.8, controls=ARMS), simulate.contrasts(controls=ARMS)
    alone, tuned = frame[~frame["constitution"].isin(ARMS)], content.drop_controls(both)
    assert set(tuned["constitution"]) == set(grid.REFERENCE) < set(both["constitution"])
    same(matching.identification(tuned), matching.identification(both))
    same(matching.signature_match(tuned, 50), matching.signature_match(both, 50))
    paper = ("C1", "C2", "C3", "C4", "C5")
    found = [verdicts(f, c, only=paper) for f, c in ((alone, tuned), (frame, both))]
    for before, after in zip(*found, strict=True):
        pd.testing.assert_frame_equal(before, after)


def test_content_is_paired_and_keeps_its_level():
    """Models without a persona pass no more often than they should; an arm is no better or worse than itself."""
    null = [
        content.compare_with_control(simulate.contrasts(strength=0, controls=ARMS, seed=s), "shuffled", draws=150)
        for s in range(10)
    ]
    table = pd.concat(null)
    assert (table["own"] - table["control"]).to_numpy() == pytest.approx(table["match"].to_numpy())
    for measure in ("alignment", "match"):
        # 120 tests at 5 %; contrasts of one scope share the arm, so the count spreads more than a binomial.
        assert (table[f"{measure}_p"] < 0.05).mean() < 0.13
    contrasts = simulate.contrasts(controls=ARMS)
    row = (
        content.compare_with_control(contrasts, "shuffled", draws=50)
        .set_index(["constitution", "scope"])
        .loc[("virtue", "illegal")]
    )
    twin = contrasts[contrasts["constitution"] == "virtue"].assign(constitution="shuffled")
    equal = content.compare_with_control(
        pd.concat([contrasts[contrasts["constitution"] != "shuffled"], twin]), "shuffled", draws=50
    )
    equal = equal.set_index(["constitution", "scope"]).loc[("virtue", "illegal")]
    assert row["match"] > 0.4 and row["alignment"] > 0.5 and np.isnan(equal["match"])  # no spread: paired draws


def test_controls_come_last_and_are_grey_in_every_figure(planted):
    panel, contrasts = gains.panel(planted[0]), planted[1]
    assert style.ordered(["shuffled", "care", "virtue", "harmless", "plain"]) == ["virtue", "care", *ARMS]
    shades = {style.colour(name) for name in ARMS}
    assert len(shades) == 3 and all(c[1:3] == c[3:5] == c[5:7] for c in shades) and style.colour("source") not in shades
    projected = ratio.safety(panel, "S", 50)[["constitution", "scope", "measure", "estimate", "low", "high"]]
    projected = projected.assign(n_clusters=10, seeds=1, reason="")
    added = content.compare_with_control(contrasts, "shuffled", draws=50)
    shares = tables.ambiguity_shares(simulate.ambiguity(dict.fromkeys(grid.REFERENCE, 0.3), controls=ARMS))
    shifts = shares.rename(columns={"share": "shift", "low": "shift_low", "high": "shift_high"}).assign(
        lens="choice", seed=0
    )
    profiles = draw_persona.profile(matching.dimension_profile(contrasts.assign(wording="one"), 20))
    ambiguous = trust.plot_ambiguity(shares, shifts)
    figures = [
        safety.heatmap(gains.rates(panel)),
        safety.forest(gains.table(panel)),
        safety.corners(gains.overall(panel)),
        projectability.projectability(projected),
        draw_persona.content(added),
        profiles,
        ambiguous,
    ]
    for figure in figures:
        figure.canvas.draw()
    told = {t.get_text() for figure in figures[:2] for ax in figure.axes for t in ax.get_yticklabels()}
    assert {*ARMS, *grid.REFERENCE} <= told
    titles = [getattr(ax, side) for ax in profiles.axes for side in ("title", "_left_title")]
    for names in ([t for t in titles if t.get_text()], ambiguous.axes[0].get_yticklabels()):
        assert [t.get_text() for t in names] == [*grid.REFERENCE, *ARMS]
        assert [t.get_color() for t in names[-3:]] == [style.colour(name) for name in ARMS]


def test_an_arm_has_a_family_of_its_own():
    table = pd.DataFrame({"constitution": ["virtue", "virtue", "care", "plain"], "p": [0.01, 0.02, 0.03, 0.04]})
    found = stats.family(table, declared=grid.REFERENCE, apart=grid.CONTROLS)
    assert found["p_holm"].tolist() == pytest.approx([0.02, 0.02, 0.03, 0.04])
