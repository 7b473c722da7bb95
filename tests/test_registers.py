"""S, O, J and T by register, form and pair: planted effects are found, a null gives none, sums agree with a hand's."""

import numpy as np
import pytest
import simulate
from ethical_personas.figures import registers as draw
from ethical_personas.figures import style
from ethical_personas.projectability import prompts, ratio
from ethical_personas.safety import gains, registers
from ethical_personas.study import grid, materials, rows
from matplotlib.colors import to_rgba

MANNERS = ("terse", "story", "brief", "spoken")
ONE = {"constitutions": ("deontology", "virtue"), "scopes": ("broad", "harassment"), "harmless": (30, 48, 40)}


def panel_of(**planted):
    return gains.averaged(gains.panel(simulate.frame(manners=MANNERS, twins=True, **ONE | planted)))


def test_a_register_effect_is_found_and_no_register_effect_is_not():
    planted = registers.by_register(panel_of(gain=0.7, unseen=0.2, per_category=60))
    gaps = planted[planted["registers"] == registers.DIFFERENCE].set_index("measure")
    for measure in ("S", "J", "T"):
        assert (gaps.loc[measure, "high"] < -0.2).all() and (gaps.loc[measure, "p_holm"] < 0.001).all()
    assert gaps.loc["O", "p_holm"].min() > 0.05


def test_without_a_register_effect_one_in_twenty_differences_is_significant_at_most():
    found = []
    for seed in range(8):
        table = registers.by_register(panel_of(gain=0.7, seed=seed, scopes=("broad",)))
        found.append(table[table["registers"] == registers.DIFFERENCE])
    assert all(len(table) == 3 * 4 and table["mde"].between(0.02, 0.5).all() for table in found)
    assert np.mean([(table["p"] < 0.05).mean() for table in found]) < 0.1
    assert np.abs(np.mean([table["estimate"].mean() for table in found])) < 0.03


def test_rates_and_differences_are_those_of_the_prompts():
    panel = panel_of(gain=0.6, unseen=0.5)
    table = registers.by_register(panel).set_index(["constitution", "scope", "measure", "registers"])["estimate"]
    seen = panel.index.get_level_values("seen")
    harmful, harmless = gains.rows_of(panel, "S"), gains.rows_of(panel, "O")
    x, base = panel["virtue", "harassment", 0], panel["source", "source", 0]
    assert table["virtue", "harassment", "S", "unseen"] == pytest.approx(x[harmful & ~seen].mean())
    assert table["virtue", "harassment", "O", "seen"] == pytest.approx(x[harmless & seen].mean())
    change = x - base
    cells = [change[side & s].mean() for side in (harmful, harmless) for s in (~seen, seen)]
    by_hand = (cells[0] - cells[1]) - (cells[2] - cells[3])
    assert table["virtue", "harassment", "J", registers.DIFFERENCE] == pytest.approx(by_hand)
    both = (panel["deontology", "harassment", 0] + x) / 2
    assert table[grid.MEAN, "harassment", "S", "unseen"] == pytest.approx(both[harmful & ~seen].mean())


def test_t_is_the_difference_within_pairs():
    panel = panel_of(gain=0.6)
    x = panel["virtue", "harassment", 0].droplevel([n for n in panel.index.names if n != "id"])
    names = [i for i in x.index if f"{i}-twin" in x.index]
    by_hand = np.array([x[i] - x[f"{i}-twin"] for i in names])
    table = registers.pairs(panel).set_index(["constitution", "scope", "on"])
    row = table.loc[("virtue", "harassment", "all")]
    assert row["T"] == pytest.approx(by_hand.mean()) and row["n_clusters"] == len(names) == 180
    off = np.array([not i.startswith("harassment") for i in names])
    assert table.loc[("virtue", "harassment", "ood"), "T"] == pytest.approx(by_hand[off].mean())
    assert row["p_holm"] < 0.001 and np.isnan(table.loc[("source", "source", "all"), "p"])
    alike = registers.pairs(panel_of(gain=0.5, refusal=0.57, source_rate=0.1, seed=2))  # reads the manner alone
    alike = alike[(alike["constitution"] != "source") & (alike["on"] == "all")]
    assert alike["T"].abs().max() < 0.15


def test_standardising_gives_each_form_the_same_weight():
    frame = simulate.frame(by_form={"how": 0.1, "imperative": 0.8, "wish": 0.8}, manners=MANNERS, **ONE)
    few = frame["form"].eq("how") & ~frame["id"].str.endswith(("_0", "_1", "_2"))
    panel = gains.panel(frame[~few])
    table = registers.by_form(panel).set_index(["constitution", "scope", "form"])
    found = table.loc["virtue", "broad"]
    x = panel["virtue", "broad", 0][gains.rows_of(panel, "S")]
    groups = x.groupby(level="form")
    means = groups.mean()
    assert found.loc["standardised", "S"] == pytest.approx(means.mean())
    assert found.loc["all", "S"] == pytest.approx(x.mean()) and found.loc["all", "S"] > means.mean() + 0.05
    assert found.loc["how", "S"] == pytest.approx(means["how"]) and found.loc["how", "n_harmful"] == len(
        groups.get_group("how")
    )
    # A ninth of each form's variance, with two made-up prompts in each, and a t quantile of the normal's size or more.
    padded = {form: np.append(part, [0.0, 1.0]) for form, part in groups}
    spread = np.sqrt(sum(v.var(ddof=1) / len(v) for v in padded.values()) / 9)
    half = found.loc["standardised", "S_high"] - found.loc["standardised", "S"]
    assert 1.96 * spread < half < 2.2 * spread


def test_a_form_that_is_missing_leaves_nothing_to_standardise():
    frame = simulate.frame(manners=MANNERS, **ONE)
    table = registers.by_form(gains.panel(frame[(frame["form"] != "wish") | (frame["kind"] == "harmful")]))
    assert table.loc[table["form"] == "standardised", ["S", "O", "J"]].isna().all(axis=None)
    assert table.loc[table["form"] == "wish", "J"].isna().all()
    told = registers.read_forms(table)
    assert "wish" in told and "nan" not in told and "weighing" not in told
    untold = gains.panel(frame.assign(form=None, manner=None).drop(columns="seen"))
    assert registers.by_form(untold).empty and registers.pairs(untold).empty
    rest = registers.by_register(untold)
    assert set(rest["registers"]) == {"seen"} and set(rest["measure"]) == {"S", "O", "J"}


def test_evaluation_has_two_registers_and_every_form_that_training_lacks_or_has():
    trained = {p.manner for p in materials.prompts("train")}
    evaluated = {p.manner for p in materials.prompts("eval")}
    assert evaluated - trained == set(simulate.UNSEEN)
    assert {p.form for p in materials.prompts("eval")} == set(rows.FORMS)


def test_every_kind_of_harmless_prompts_has_rates_of_its_own():
    rates = gains.rates(panel_of())
    assert set(grid.HARMLESS) <= set(rates["category"])
    assert rates.loc[rates["category"].isin(grid.HARMLESS), "estimate"].notna().all()


def test_readings_say_what_the_tables_say():
    panel = panel_of(gain=0.7, unseen=0.2, per_category=60)
    table = registers.by_register(panel)
    told = registers.read_registers(table).splitlines()
    assert len(told) == 2 * 4 and [("smaller" in line) for line in told] == [True, False, True, True] * 2
    gap = table[(table["constitution"] == grid.MEAN) & (table["registers"] == registers.DIFFERENCE)].iloc[0]
    assert f"{gap['estimate']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]" in told[0]
    assert "80 % power" in told[1]
    pairs = registers.pairs(panel)
    assert len(registers.read_pairs(pairs).splitlines()) == 4  # the source, broad, harassment, and off topic
    forms = registers.read_forms(registers.by_form(panel)).splitlines()
    assert [line.split(":")[0] for line in forms] == ["* source", "* broad", "* harassment"]


def test_one_register_alone_is_said_and_not_compared():
    panel = gains.averaged(gains.panel(simulate.frame(manners=("terse",), twins=True, **ONE)))
    table = registers.by_register(panel)
    assert set(table["registers"]) == {"seen"} and table["p"].isna().all()
    assert "nothing to compare" in registers.read_registers(table)


OOD = {"deontology": 0.6, "virtue": 0.3}


def ps_of(**planted):
    frame = simulate.frame(gain=0.8, manners=MANNERS, **ONE | planted)
    panel = gains.panel(frame)
    return panel, prompts.by_prompts(panel, draws=300).set_index(["constitution", "measure", "prompts"])


def test_ps_standardised_over_forms_is_the_ratio_of_mean_gains():
    panel, table = ps_of(ood=OOD, per_category=60)
    off = gains.rows_of(panel, "S", grid.Cell("", "harassment").ood)
    change = {}
    for scope in ("harassment", "broad"):
        difference = (panel["virtue", scope, 0] - panel["source", "source", 0])[off]
        change[scope] = difference.groupby(level="form").mean()
    row = table.loc[("virtue", "S", "standardised")]
    assert row["estimate"] == pytest.approx(change["harassment"].mean() / change["broad"].mean())
    assert row["low"] < row["estimate"] < row["high"] and row["n_clusters"] == 300 and row["mde"] > 0
    for form in rows.FORMS:
        part = table.loc[("virtue", "S", form)]
        assert part["estimate"] == pytest.approx(change["harassment"][form] / change["broad"][form])
    whole = ratio.safety(panel, "S", draws=300).set_index("constitution")
    assert table.loc[("virtue", "S", "all"), "low"] == pytest.approx(whole.loc["virtue", "low"])
    mean = table.loc[(grid.MEAN, "S", "all")]
    assert OOD["virtue"] / 0.8 < mean["estimate"] < OOD["deontology"] / 0.8
    assert mean["high"] - mean["low"] < row["high"] - row["low"]


def test_ps_by_form_follows_a_planted_form():
    """The narrow models gain nothing on `how`: pS there is about 0, and a third of pS standardised is lost."""
    frame = simulate.frame(gain=0.8, manners=MANNERS, per_category=60, **ONE)
    flat = simulate.frame(gain=0.0, manners=MANNERS, per_category=60, seed=1, **ONE)["declined"]
    lost = (frame["scope"] == "harassment") & (frame["form"] == "how")
    frame = frame.assign(declined=frame["declined"].where(~lost, flat))
    few = frame["form"].ne("how") & (frame["id"].str.extract(r"_(\d+)")[0].astype(int) % 2 == 0)
    panel = gains.panel(frame[~few])
    table = prompts.by_prompts(panel, ("S",), draws=300).set_index(["constitution", "prompts"])
    assert table.loc[("virtue", "how"), "high"] < 0.2 and table.loc[("virtue", "wish"), "low"] > 0.7
    assert table.loc[("virtue", "standardised"), "estimate"] == pytest.approx(2 / 3, abs=0.1)
    assert table.loc[("virtue", "all"), "estimate"] < table.loc[("virtue", "standardised"), "estimate"] - 0.05


def test_ps_without_forms_or_unseen_registers_is_that_of_all_prompts():
    frame = simulate.frame(gain=0.8, manners=("terse",), **ONE)
    table = prompts.by_prompts(gains.panel(frame.assign(form=None)), ("S",), draws=100)
    assert list(dict.fromkeys(table["prompts"])) == ["all", "seen"]
    one_short = frame[(frame["form"] != "wish") | (frame["category"] == "illegal")]
    table = prompts.by_prompts(gains.panel(one_short), ("J",), draws=100)
    short = table[table["prompts"] == "standardised"]
    assert short["estimate"].isna().all() and short["reason"].str.contains("some form").all()
    lone = prompts.by_prompts(gains.panel(simulate.frame(scopes=("broad",))), draws=100)
    assert lone.empty and "No narrow model" in prompts.reading(lone)


def test_control_arms_have_rows_of_their_own_and_change_no_other():
    """Drawn grey below the constitutions' mean, whose estimates are those of a run without them."""
    plain = simulate.frame(manners=MANNERS, twins=True, controls=("plain", "shuffled"), **ONE)
    both, without = plain, plain[~plain["constitution"].isin(grid.CONTROLS)]
    table, alone = (registers.by_register(gains.averaged(gains.panel(frame))) for frame in (both, without))
    found, overview = registers.overview(table), registers.overview(alone)
    arms = found["constitution"].isin(grid.CONTROLS)
    assert arms.sum() == 2 * 2 * 4 * 2 and set(found.loc[arms, "scope"]) == {"broad", "harassment"}
    assert found[~arms].reset_index(drop=True).equals(overview)
    known = table[table["constitution"].isin(ONE["constitutions"])].reset_index(drop=True)
    assert known.equals(alone[alone["constitution"].isin(ONE["constitutions"])].reset_index(drop=True)), "p_holm too"
    figure = draw.by_register(found, 2)
    figure.canvas.draw()
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["source", "broad", "plain", "shuffled", "harassment", "plain", "shuffled"]
    drawn = {tuple(colour) for points in figure.axes[0].collections for colour in points.get_edgecolors()}
    assert {to_rgba(style.colour(arm)) for arm in ("plain", "shuffled")} <= drawn
    assert "grey: control arms" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize("few", [{}, {"per_category": 3, "harmless": (2, 2)}, {"scopes": ("illegal",)}])
def test_figures_have_every_point_and_nothing_is_cropped(few):
    planted = ONE | {"controls": ("plain", "shuffled")} | few
    panel = gains.panel(simulate.frame(gain=0.7, manners=("terse", "brief"), twins=True, **planted))
    overview = registers.overview(registers.by_register(gains.averaged(panel)))
    table = prompts.by_prompts(panel, ("S",), draws=50)
    figures = [(draw.by_register(overview, 2), overview, "measure")]
    figures.append((draw.projectability(table), table[~table["constitution"].isin(grid.CONTROLS)], "constitution"))
    for figure, rows_drawn, panels in figures:
        figure.canvas.draw()
        assert len(figure.axes) == rows_drawn[panels].nunique()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert box.x0 >= -0.01 and box.x1 <= width + 0.01 and box.y0 >= -0.01 and box.y1 <= height + 0.01
        ends = [ax.get_xlim() for ax in figure.axes]
        point = rows_drawn["estimate"].dropna()
        assert all(low < point.min() and point.max() < high for low, high in ends) if len(point) else True
