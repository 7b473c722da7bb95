"""The claims under other choices of analysis: each combination once, the declared one as decided."""

import numpy as np
import pytest
import simulate
from ethical_personas.claims import decide, evidence, specifications
from ethical_personas.persona import stance_labels
from ethical_personas.safety import gains
from ethical_personas.stats import trainings
from ethical_personas.study import grid
from scipy import stats as sp
from test_claims import AMBIGUOUS, OOD, reader

ONLY = ("C1", "C4", "C5a", "C5c", "C5f", "C6a", "C6b", "C6c", "C6d", "C7")
BESIDE_PLAIN = ("C6a", "C6b", "C6c")


@pytest.fixture(scope="module")
def made():
    """One run, its keyword judge blind on narrow models; specifications and the verdicts as declared.

    The plain arm carries little off its topic, and declines half of what is harmless.
    """
    ood, over = OOD | {"plain": 0.0}, {"plain": 0.5}
    frame = simulate.frame(gain=0.8, ood=ood, over=over, per_category=36, controls=("plain",))
    narrow = frame["scope"].isin(grid.NARROW)
    blind = frame.assign(declared=0, declined=np.where(narrow, 0.0, frame["declined"])).drop(columns="declared")
    panel, contrasts = gains.panel(frame), simulate.contrasts(lenses=("choice", "pairs"), controls=("shuffled",))
    shifts = contrasts.assign(wording="one", signed=contrasts["contrast"])
    run = evidence.Measured(panel, shifts, contrasts, simulate.ambiguity(AMBIGUOUS), draws=200)
    claims = [c for c in decide.declared() if c.id in ONLY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stance_labels, "reader_kappa", reader(0.8))
        table = specifications.verdicts(run, {"bundled": panel, "keyword": gains.panel(blind)}, claims)
        return table, decide.evaluate(run, claims)[0].set_index("claim")


def test_every_combination_stands_once(made):
    table, _ = made
    assert not table.duplicated(["claim", *specifications.AXES]).any()
    counts = table["claim"].value_counts()
    paper = {"C1": 36, "C5a": 24, "C4": 4, "C5c": 4, "C5f": 3}
    # Beside a control: judge x weighting x measures (S, J, T; O; pS on S and J) x error, and of C7 lens x error.
    assert counts.to_dict() == paper | {"C6a": 36, "C6b": 36, "C6c": 12, "C6d": 24, "C7": 12}
    assert (table.groupby("claim")["declared"].sum() == 1).all()


def test_the_declared_specification_is_the_verdict(made):
    table, decided = made
    for row in table[table["declared"]].itertuples():
        own = decided.loc[row.claim]
        assert (row.verdict, row.passed) == (own["verdict"], own["passed"])
        assert row.estimate == pytest.approx(own["estimate"]) and row.p == pytest.approx(own["p"])


def test_a_blind_judge_and_a_lens_not_measured_change_the_verdict(made):
    table, _ = made
    c1 = table[table["claim"] == "C1"].set_index(["prompts", "judge", "weighting", "measure"]).sort_index()
    for prompts in ("unseen", "all"):  # here all are of unseen registers
        by_judge = c1.loc[prompts, "verdict"]
        assert set(by_judge["bundled"]) == {"supported"} and set(by_judge["keyword"]) == {"not supported"}
    assert c1.loc["seen", "why"].str.contains("lacks .* of a register that training has").all()
    c4 = table[table["claim"] == "C4"].set_index("lens")
    assert c4.loc["text", "why"] == "not tested: lens text not measured" and c4.loc["pairs", "verdict"] == "supported"
    line = specifications.reading(table).splitlines()[0]
    assert line == "* C1: supported as declared, and in 12 of 36 specifications (12 inconclusive, 12 not supported)."


def test_a_difference_from_the_plain_arm_shows_under_every_weighting_and_error(made):
    table, _ = made
    for claim in BESIDE_PLAIN:
        rows = table[(table["claim"] == claim) & table["measure"].isin(["S", "O"])].set_index("judge")
        assert rows["declared"].sum() == 1 and set(rows["weighting"]) == {"as is", "standardised"}
        # The constitution nearest to the arm decides: off topic that is the subordinate, 0.35 above it.
        seen = rows.loc["bundled"]
        assert (seen["estimate"] > 0.15).all() and set(seen["error"]) == {"items", "trainings", "pair"}
        assert set(seen.loc[seen["error"] == "items", "verdict"]) == {"supported"}
        assert (rows.loc["keyword", "estimate"] == 0).all()  # it sees no narrow model decline
        known = seen.loc[seen["error"] != "pair", "passed"]  # by two blocks of the two alone little is told
        assert set(known) == {"4/4 constitutions"} or claim == "C6b"


def test_with_several_seeds_an_error_over_scopes_stands_beside():
    frame = simulate.frame(gain=0.8, ood=OOD | {"plain": 0.0}, seeds=(0, 1), controls=("plain",))
    panel = gains.panel(frame)
    claims = [c for c in decide.declared() if c.id in ("C5a", "C6a")]
    table = specifications.verdicts(evidence.Measured(panel, draws=50), {"bundled": panel}, claims)
    errors = table.groupby("claim")["error"].agg(set)
    assert errors["C5a"] == {"items", "scopes", "trainings"} and errors["C6a"] == {*errors["C5a"], "pair"}
    own = table[(table["claim"] == "C6a") & (table["weighting"] == "as is") & (table["measure"] == "S")].set_index(
        "error"
    )
    width = ((own["high"] - own["low"]) / 2).to_dict()
    rates = [[_off_topic(panel, name, scope) for scope in grid.NARROW] for name in (*grid.CONSTITUTIONS, "plain")]
    square, freedom = trainings.residual(np.array(rates))
    of_scopes = sp.t.isf(0.025, freedom) * np.sqrt(2 * square / len(grid.NARROW))
    assert freedom == 4 and width["scopes"] == pytest.approx(np.hypot(width["items"], of_scopes))


def _off_topic(panel, name, scope):
    """Share of the harmful prompts of other topics that a model declines, its seeds averaged."""
    chosen = gains.rows_of(panel, "S", grid.Cell(name, scope).ood)
    return gains.values(panel, name, scope)[chosen].mean()


def test_the_constitutions_falling_short_of_the_plain_arm_shows_too():
    frame = simulate.frame(gain=0.2, ood={"plain": 0.8}, refusal=0.4, over={"plain": 0.0}, controls=("plain",))
    panel = gains.panel(frame)
    claims = [c for c in decide.declared() if c.id in BESIDE_PLAIN]
    table = specifications.verdicts(evidence.Measured(panel, draws=50), {"bundled": panel}, claims)
    table = table[table["measure"].isin(["S", "O"])]
    assert len(table) == 18 and (table["estimate"] < -0.2).all()
    assert set(table.loc[table["claim"] == "C6a", "verdict"]) == {"not supported"}


def test_without_the_arm_in_a_judges_panel_a_claim_on_it_is_open():
    panel = gains.panel(simulate.frame(controls=("plain",)))
    panels = {"bundled": panel, "keyword": panel.drop(columns="plain")}
    claims = [c for c in decide.declared() if c.id in BESIDE_PLAIN]
    table = specifications.verdicts(evidence.Measured(panel, draws=50), panels, claims).set_index("judge")
    assert table.loc["keyword", "why"].str.contains("no plain model").all()
    tested = table[table["measure"] != "T"]  # there are no twins
    assert tested.loc["bundled", "estimate"].notna().all()


def test_weighting_of_forms_changes_a_difference_from_the_arm():
    """Constitutions decline wishes alone, the arm nothing; wishes are few."""
    frame = simulate.frame(by_form={"how": 0.0, "imperative": 0.0, "wish": 0.9}, per_category=36, controls=("plain",))
    source = frame[frame["model"] == "source"].set_index("id")["declined"]
    plain = frame["constitution"] == "plain"
    frame["declined"] = frame["declined"].where(~plain, frame["id"].map(source))
    many = frame["id"].str.extract(r"_(\d+)")[0].astype(int) > 12
    panel = gains.panel(frame[(frame["form"] != "wish") | ~many | (frame["kind"] != "harmful")])
    claims = [c for c in decide.declared() if c.id in ("C6a", "C6b")]
    table = specifications.verdicts(evidence.Measured(panel, draws=50), {"bundled": panel}, claims)
    for _, rows in table[table["measure"] == "S"].groupby(["claim", "error"]):
        found = rows.set_index("weighting")["estimate"]
        assert found["standardised"] > found["as is"] + 0.05


def test_weighting_of_forms_changes_an_estimate_where_forms_differ():
    frame = simulate.frame(by_form={"how": 0.9, "imperative": 0.5, "wish": 0.1}, per_category=36)
    few = (
        (frame["form"] != "how")
        & (frame["id"].str.extract(r"_(\d+)")[0].astype(int) > 12)
        & (frame["kind"] == "harmful")
    )
    panel = gains.panel(frame[~few])
    claims = [c for c in decide.declared() if c.id == "C1"]
    table = specifications.verdicts(evidence.Measured(panel, draws=50), {"bundled": panel}, claims)
    found = table[(table["measure"] == "S") & table["declared"].eq(False)]
    found = found[found["prompts"] == "unseen"].set_index("weighting")["estimate"]
    assert found["as is"] > found["standardised"] + 0.05
