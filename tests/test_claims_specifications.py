"""The claims under other choices of analysis: each combination once, the declared one as decided."""

import numpy as np
import pytest
import simulate
from ethical_personas.claims import decide, evidence, specifications
from ethical_personas.persona import stance_labels
from ethical_personas.safety import gains
from ethical_personas.study import grid
from test_claims import AMBIGUOUS, OOD, reader

ONLY = ("C1", "C4", "C5a", "C5c", "C5f", "C6a")


@pytest.fixture(scope="module")
def made():
    """One run, its keyword judge blind on narrow models; specifications and the verdicts as declared."""
    frame = simulate.frame(gain=0.8, ood=OOD, per_category=36, controls=("plain",))
    narrow = frame["scope"].isin(grid.NARROW)
    blind = frame.assign(declared=0, declined=np.where(narrow, 0.0, frame["declined"])).drop(columns="declared")
    panel, contrasts = gains.panel(frame), simulate.contrasts(lenses=("choice", "pairs"))
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
    assert counts.to_dict() == {"C1": 12, "C5a": 24, "C4": 4, "C5c": 4, "C5f": 2}  # C6a has a control: not the paper's
    assert (table.groupby("claim")["declared"].sum() == 1).all()


def test_the_declared_specification_is_the_verdict(made):
    table, decided = made
    for row in table[table["declared"]].itertuples():
        own = decided.loc[row.claim]
        assert (row.verdict, row.passed) == (own["verdict"], own["passed"])
        assert row.estimate == pytest.approx(own["estimate"]) and row.p == pytest.approx(own["p"])


def test_a_blind_judge_and_a_lens_not_measured_change_the_verdict(made):
    table, _ = made
    c1 = table[table["claim"] == "C1"].set_index(["judge", "weighting", "measure"])["verdict"]
    assert set(c1["bundled"]) == {"supported"} and set(c1["keyword"]) == {"not supported"}
    c4 = table[table["claim"] == "C4"].set_index("lens")
    assert c4.loc["text", "why"] == "not tested: lens text not measured" and c4.loc["pairs", "verdict"] == "supported"
    line = specifications.reading(table).splitlines()[0]
    assert line == "* C1: supported as declared, and in 6 of 12 specifications (6 not supported)."


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
    found = table[table["measure"] == "S"].set_index("weighting")["estimate"]
    assert found["as is"] > found["standardised"] + 0.05
