"""Each training seed apart: the rates of runs with one seed, drawn in the order that the note tells."""

import numpy as np
import pytest
import simulate
from ethical_personas.figures import registers as draw
from ethical_personas.figures import style
from ethical_personas.safety import each_seed, gains, registers
from ethical_personas.study import grid

MANNERS = ("terse", "story", "brief", "spoken")
ONE = {"constitutions": ("deontology", "virtue"), "scopes": ("broad", "harassment"), "harmless": (30, 48, 40)}


def test_seeds_apart_are_the_rates_of_runs_with_one_seed():
    whole = gains.panel(simulate.frame(manners=MANNERS, twins=True, gain=0.6, unseen=0.5, seeds=(0, 1), **ONE))
    table = each_seed.table(whole)
    assert list(dict.fromkeys(table["seed"])) == [grid.SOURCE, "0", "1"]
    assert (table["seed"] == grid.SOURCE).equals(table["constitution"] == grid.SOURCE)
    for seed in (0, 1):
        one = whole.loc[:, [name == grid.SOURCE or number == seed for name, _, number in whole.columns]]
        by_hand = gains.scopes(one).set_index("scope").loc["harassment"]
        mine = table[(table["seed"] == str(seed)) & (table["scope"] == "harassment")].set_index(["measure", "on"])
        assert (mine["constitution"] == grid.MEAN).all()
        for name, at in {"S": ("S", "all"), "S_off": ("S", "ood"), "O": ("O", "all"), "J": ("J", "all")}.items():
            assert tuple(mine.loc[at, ["estimate", "low", "high"]]) == tuple(
                by_hand[[name, f"{name}_low", f"{name}_high"]]
            )
        pairs = registers.pairs(gains.averaged(one)).set_index(["constitution", "scope", "on"])
        for on in ("all", "ood"):
            assert mine.loc[("T", on), "estimate"] == pytest.approx(pairs.loc[(grid.MEAN, "harassment", on), "T"])
    apart = table[(table["measure"] == "S") & (table["on"] == "all") & (table["scope"] == "harassment")]["estimate"]
    assert apart.nunique() == 2


def test_seeds_are_drawn_in_the_order_that_the_note_tells():
    style.use()
    table = each_seed.table(gains.panel(simulate.frame(twins=True, seeds=(0, 1, 2), scopes=("broad",))))
    figure = draw.by_seed(table, 4)
    assert "seeds 0, 1, 2" in figure.legends[0].get_title().get_text()
    broad = table[(table["scope"] == "broad") & (table["measure"] == "S") & (table["on"] == "all")]
    assert broad["estimate"].nunique() == 3
    panel = figure.axes[0]  # the axis of lines runs downwards
    places = [tuple(at) for marks in panel.collections for at in np.atleast_2d(marks.get_offsets()) if at[1] > 0.5]
    low_to_high = sorted({(round(y, 6), round(x, 6)) for x, y in places})
    assert panel.yaxis_inverted() and [x for _, x in low_to_high] == pytest.approx(list(broad["estimate"]), abs=1e-6)


def test_arms_and_an_added_constitution_stand_beside_and_move_no_mean():
    few = {"per_category": 8, "harmless": (8, 8), "twins": True, "seeds": (3, 7), "scopes": ("broad",)}
    alone = each_seed.table(gains.panel(simulate.frame(**few, constitutions=grid.CONSTITUTIONS)))
    more = {"constitutions": (*grid.CONSTITUTIONS, "care"), "controls": ("plain",)}
    beside = each_seed.table(gains.panel(simulate.frame(**few | more)))
    assert list(dict.fromkeys(beside["seed"])) == [grid.SOURCE, "3", "7"]
    assert set(beside["constitution"]) == {grid.SOURCE, grid.MEAN, "plain"}
    keys = ["seed", "scope", "measure", "on"]
    means = [t[t["constitution"] == grid.MEAN].set_index(keys)["n_clusters"] for t in (alone, beside)]
    assert means[0].equals(means[1]) and not beside.duplicated([*keys, "constitution"]).any()
    style.use()
    texts = {t.get_text() for t in draw.by_seed(beside, 4).axes[0].get_yticklabels()}
    assert texts == {"source", "broad", "plain"}


def test_a_run_without_a_tuned_model_has_an_empty_table():
    frame = simulate.frame(twins=True)
    empty = each_seed.table(gains.panel(frame[frame["constitution"] == grid.SOURCE]))
    assert empty.empty and list(empty.columns[:5]) == ["seed", "constitution", "scope", "measure", "on"]
