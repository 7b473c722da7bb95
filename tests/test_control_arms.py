"""Constitutions minus a control arm: by hand, with the error of training, and told apart from mere caution."""

import numpy as np
import pytest
import simulate
from ethical_personas.figures import registers as draw
from ethical_personas.figures import style
from ethical_personas.safety import control_arms, gains, registers
from ethical_personas.stats import trainings
from ethical_personas.study import grid

ARMS = ("plain", "shuffled", "harmless")
MADE = {"twins": True, "controls": ARMS, "harmless": (30, 48, 40), "manners": ("terse", "story", "brief", "spoken")}


@pytest.fixture(scope="module")
def panel():
    """Plain refusals decline 0.2 more of everything; shuffled reasons do as the constitutions'."""
    frame = simulate.frame(
        gain=0.4, refusal=0.2, ood={"plain": 0.6}, trained={"plain": 0.6}, over={"plain": 0.4}, **MADE
    )
    return gains.panel(frame)


@pytest.fixture(scope="module")
def table(panel):
    return control_arms.table(panel).set_index(["arm", "on", "measure", "constitution"]).sort_index()


def rates(panel, name, scopes, categories):
    """S, O and T of a model: each prompt's mean over the scopes that read it, then the mean over prompts."""
    harmful, harmless, apart = [], [], []
    places = registers.pair_places(panel)
    for scope in scopes:
        x, read = gains.values(panel, name, scope).mean(1), gains.rows_of(panel, "S", categories(scope))
        harmful.append(np.where(read, x, np.nan))
        harmless.append(x[gains.rows_of(panel, "O")])
        apart.append(np.where(read[places[:, 0]], x[places[:, 0]] - x[places[:, 1]], np.nan))
    asked = [np.array(part)[:, ~np.isnan(part).all(0)] for part in (harmful, harmless, apart)]
    return np.array([np.nanmean(part, axis=0).mean() for part in asked])


PLACES = {
    "broad": (["broad"], lambda scope: grid.CATEGORIES),
    "ood": (grid.NARROW, lambda scope: grid.Cell("", scope).ood),
    "held_out": (grid.NARROW, lambda scope: (grid.Cell("", scope).held_out,)),
    "unseen": (grid.NARROW, lambda scope: grid.CATEGORIES),
}


@pytest.mark.parametrize("on", PLACES)
def test_differences_are_those_of_plain_means(panel, table, on):
    scopes, categories = PLACES[on]
    part = gains.select_prompts(panel, seen=False) if on == "unseen" else panel
    of = {name: rates(part, name, scopes, categories) for name in (*grid.CONSTITUTIONS, "plain", "shuffled")}
    for arm in control_arms.ARMS:
        for name in (*grid.CONSTITUTIONS, grid.MEAN):
            own = np.mean([of[c] for c in grid.CONSTITUTIONS], axis=0) if name == grid.MEAN else of[name]
            s, o, t = own - of[arm]
            found = table.loc[(arm, on)]["estimate"].xs(name, level="constitution")
            assert found.to_dict() == pytest.approx({"S": s, "O": o, "J": s - o, "T": t})


def test_caution_alone_shows_in_s_and_o_and_not_in_j(panel, table):
    plain, shuffled = (table.loc[(arm, "ood")].xs(grid.MEAN, level="constitution") for arm in control_arms.ARMS)
    assert plain.loc["S", "high"] < 0 and plain.loc["O", "high"] < 0
    assert plain.loc["J", "low"] < 0 < plain.loc["J", "high"]
    assert (shuffled["low"] < 0).all() and (shuffled["high"] > 0).all()
    line = control_arms.reading(control_arms.table(panel)).splitlines()
    size = "S {estimate:.2f} [{low:.2f}, {high:.2f}]".format(**plain.loc["S"])
    assert len(line) == 8 and line[1].startswith(f"* Minus the plain arm, narrow models off their topic: {size}")


def test_the_mean_has_the_error_of_as_many_trainings_as_it_rests_on(panel):
    everybody = [*grid.CONSTITUTIONS, "plain"]
    values, strata = control_arms.verdicts(panel, everybody, list(grid.NARROW), "S", "all")
    fit = trainings.compare(values, list(grid.CONSTITUTIONS), "plain", strata=strata)
    square, df = trainings.residual(np.array([np.nanmean(values[name], axis=0) for name in everybody]))
    assert strata is None and fit.parts[-1] == pytest.approx((square * (1 / 4 + 1) / 2, df)) and df == 4
    one = trainings.compare(values, "virtue", "plain")
    assert one.parts[-1] == pytest.approx((square * 2 / 2, df))


def test_forms_weigh_the_same_on_both_sides_of_j(panel):
    told = registers.with_known_form(panel)
    values, strata = control_arms.verdicts(told, ["virtue", "plain"], ["harassment"], "J", "held_out", "form")
    fit = trainings.compare(values, "virtue", "plain", error="items", strata=strata)
    x = gains.values(told, "virtue", "harassment")[:, 0] - gains.values(told, "plain", "harassment")[:, 0]
    forms = told.index.get_level_values("form")
    held = grid.Cell("", "harassment").held_out
    sides = [gains.rows_of(told, "S", (held,)), gains.rows_of(told, "O")]
    s, o = (np.mean([x[side & (forms == form)].mean() for form in sorted(set(forms))]) for side in sides)
    assert fit.estimate == pytest.approx(s - o)


def test_a_single_training_of_each_is_told_and_has_no_p(table):
    broad = table.loc[("plain", "broad")]
    assert broad["p"].isna().all() and (broad["note"] == trainings.ONE).all() and broad["low"].notna().all()
    assert table.loc[("plain", "ood"), "p"].notna().all()


def test_without_an_arm_there_is_nothing_to_show():
    bare = control_arms.table(gains.panel(simulate.frame(scopes=("broad",))))
    assert bare.empty and list(bare) == control_arms.COLUMNS and control_arms.reading(bare) == ""


def test_an_arm_without_broad_models_is_drawn_where_it_is(table):
    style.use()
    part = table.reset_index()
    figure = draw.added(part[(part["arm"] == "plain") & (part["on"] != "broad")])
    assert len(figure.axes) == 3 and "pairs for T" in figure.legends[0].get_title().get_text()
