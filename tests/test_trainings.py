"""The error of training: a test over items alone fails under a true null, the one over trainings keeps its level."""

import numpy as np
import pytest
import simulate
from ethical_personas import stats
from ethical_personas.claims import decide, evidence, projected
from ethical_personas.safety import gains
from ethical_personas.stats import trainings

NAMES = ("a", "b", "c", "d")


def made(rng, sd, effect=0.0, items=120, blocks=3):
    """Rates near 0.3 whose trainings differ by a normal with this sd; `a` is higher by `effect`."""
    base = rng.normal(0.3, 0.05, (items, 1)) + rng.normal(0, 0.05, blocks)
    shift = {name: rng.normal(0, sd, blocks) + (effect if name == "a" else 0.0) for name in NAMES}
    return {n: (rng.random((items, blocks)) < np.clip(base + s, 0.01, 0.99)).astype(float) for n, s in shift.items()}


def differs(fit):
    """Whether the interval at 0.05 leaves 0 out: p < 0.05, in less time."""
    return abs(fit.estimate) > fit.half_width(0.025)


def rejected(runs, sd, effect=0.0, **kwargs):
    """Share of runs in which a and b differ at 0.05, over items alone and with the trainings."""
    rng, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(runs):
        values = made(rng, sd, effect, **kwargs)
        hits += [differs(trainings.compare(values, "a", "b", (-1.0, 1.0), error)) for error in ("items", "trainings")]
    return hits / runs


def test_under_a_null_with_differing_trainings_items_alone_reject_too_often():
    items, own = rejected(400, sd=0.10)
    assert items > 0.3 and own < 0.075  # 0.05 and two standard errors


@pytest.mark.parametrize("blocks", [2, 6])
def test_the_level_holds_with_few_and_many_trainings_and_without_variance(blocks):
    for sd in (0.0, 0.1):
        assert rejected(250, sd, blocks=blocks)[1] < 0.08


def test_a_planted_difference_is_found_and_more_trainings_find_more():
    few, many = (rejected(120, sd=0.05, effect=0.25, blocks=blocks)[1] for blocks in (2, 6))
    assert few > 0.35 and many > 0.95


def test_residual_and_variance_are_those_of_a_two_way_table():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(4, 3))
    square, df = trainings.residual(table + rng.normal(size=(4, 1)) + rng.normal(size=3))
    assert df == 6 and square == pytest.approx(trainings.residual(table)[0])
    assert np.mean(trainings.residual(rng.normal(size=(4000, 4, 3)))[0]) == pytest.approx(1, abs=0.05)
    values = {name: rng.normal(size=(50, 5)) for name in NAMES}  # of two alone: the paired t test over trainings
    ((_, _), (variance, freedom)) = trainings.compare(values, "a", "b", error="pair").parts
    means = (values["a"] - values["b"]).mean(0)
    assert freedom == 4 and variance == pytest.approx(means.var(ddof=1) / 5)


def test_where_one_varies_more_only_its_own_trainings_keep_the_level():
    """`a` errs by 0.2 and three others by 0.02: their small error makes that of the difference look small."""
    rng, hits = np.random.default_rng(9), np.zeros(2)
    for _ in range(250):
        base = rng.normal(0.3, 0.05, (60, 1)) + rng.normal(0, 0.05, 4)
        values = {n: base + rng.normal(0, 0.2 if n == "a" else 0.02, 4) + rng.normal(0, 0.1, (60, 4)) for n in NAMES}
        hits += [differs(trainings.compare(values, "a", "b", error=error)) for error in ("trainings", "pair")]
    all_of_them, pair = hits / 250
    assert all_of_them > 0.1 and pair < 0.08


def test_where_a_scope_acts_alike_in_every_seed_seeds_are_no_further_scopes():
    """Each constitution has something of its own in a scope, which every seed of it shares."""
    rng, hits, scopes = np.random.default_rng(10), np.zeros(2), ["harassment"] * 3 + ["illegal"] * 3
    for _ in range(250):
        base = rng.normal(0.3, 0.05, (60, 1))
        values = {n: base + np.repeat(rng.normal(0, 0.1, 2), 3) + rng.normal(0, 0.02, (60, 6)) for n in NAMES}
        found = [trainings.compare(values, "a", "b", error=e, scopes=scopes) for e in ("trainings", "scopes")]
        hits += [differs(fit) for fit in found]
    pooled, apart = hits / 250
    assert pooled > 0.2 and apart < 0.08
    assert found[1].parts[-1][1] == 3 and found[1].estimate == found[0].estimate


def test_strata_weigh_the_same_in_the_difference_and_in_the_variance_of_a_training():
    rng, strata = np.random.default_rng(8), np.repeat(["how", "wish"], [90, 10])
    shift = np.where(strata == "wish", 0.4, 0.0)[:, None]
    values = {n: rng.normal(0.3, 0.05, (100, 3)) + (shift if n == "a" else 0.0) for n in NAMES}
    plain, fit = (trainings.compare(values, "a", "b", strata=s) for s in (None, strata))
    assert plain.estimate == pytest.approx(0.04, abs=0.02) and fit.estimate == pytest.approx(0.2, abs=0.02)
    means = [np.mean([x[strata == s].mean(0) for s in ("how", "wish")], axis=0) for x in values.values()]
    assert fit.parts[-1] == pytest.approx((2 * trainings.residual(np.array(means))[0] / 3, 6))
    values["b"][strata == "wish", 1] = np.nan  # a block that asks none of them
    assert np.isfinite(trainings.compare(values, "a", "b", strata=strata).half_width(0.025))
    same, bare = (np.array(trainings.compare(values, "a", "b", strata=s).parts) for s in (np.zeros(100), None))
    assert same == pytest.approx(bare)


def test_one_training_of_each_gives_no_test_and_says_so():
    values = made(np.random.default_rng(2), 0.0, blocks=1)
    fit = trainings.compare(values, "a", "b")
    assert np.isnan(fit.p) and not fit.parts and not np.isnan(fit.estimate)
    assert trainings.compare(values, "a", "b", error="items").p <= 1


def test_the_interval_is_never_narrower_than_that_over_items():
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = made(rng, 0.02)
        own, items = (trainings.compare(values, "a", "b", error=error) for error in ("trainings", "items"))
        assert own.estimate == pytest.approx(items.estimate) and own.half_width(0.025) >= items.half_width(0.025)


def project(rng, sd, low=0.0, item_sd=0.05, seeds=1, scope_sd=0.0):
    """pS of four constitutions at 0.8, d's lower by `low`; narrow and broad trainings each err by sd.

    scope_sd: of what a constitution has of its own in a scope, in every seed.
    """
    scopes, draws, found = ("harassment", "illegal"), {}, {}
    for name in NAMES:
        truth = 0.8 - (low if name == "d" else 0.0)
        broad = np.mean(rng.normal(0, sd, seeds)) * truth
        for scope in scopes:
            slip = rng.normal(0, item_sd) + (rng.normal(0, scope_sd) if scope_sd else 0.0)
            for seed in range(seeds):
                found[name, scope, seed] = truth + rng.normal(0, sd) - broad + slip
            draws[name, scope] = rng.normal(0, item_sd, 100)
    blocks = projected._blocks(found)
    return projected.Projected(blocks, draws, (blocks**2).mean(axis=1), 150)


@pytest.mark.parametrize(("seeds", "sd"), [(1, 0.12), (1, 0.05), (3, 0.12)])
def test_projectability_keeps_its_level_where_items_alone_do_not(seeds, sd):
    rng, hits = np.random.default_rng(4), []
    for _ in range(150):
        run = project(rng, sd, seeds=seeds)
        row = [differs(run.pair("a", "d", error)) for error in ("items", "trainings")]
        hits.append(row + [run.spread(0.05, error)["p"] < 0.05 for error in ("items", "trainings")])
    items, own, omnibus_items, omnibus = np.mean(hits, axis=0)
    assert items > 0.2 and own < 0.08
    assert omnibus_items > 0.2 and omnibus < 0.08


def test_projectability_with_seeds_that_agree_keeps_its_level_over_scopes_alone():
    rng, hits = np.random.default_rng(11), []
    for _ in range(150):
        run = project(rng, 0.01, item_sd=0.005, seeds=3, scope_sd=0.15)
        row = [differs(run.pair("a", "d", error)) for error in ("trainings", "scopes")]
        hits.append(row + [run.spread(0.05, error)["p"] < 0.05 for error in ("trainings", "scopes")])
    pooled, apart, omnibus_pooled, omnibus = np.mean(hits, axis=0)
    assert pooled > 0.15 and omnibus_pooled > 0.15 and apart < 0.08 and omnibus < 0.08
    means = run.blocks.T.groupby(level="scope").mean().T  # one broad model, as if it had one seed
    variance = trainings.residual(means.to_numpy())[0] * (2 / 2 + run.broad[["a", "d"]].sum())
    assert run.pair("a", "d", "scopes").parts[-1] == pytest.approx((variance, 3))


def test_a_planted_lowest_projectability_is_found():
    rng = np.random.default_rng(5)
    found = [project(rng, 0.05, low=0.5, seeds=3) for _ in range(60)]
    assert np.mean([differs(run.pair("a", "d", "trainings")) for run in found]) > 0.9
    assert np.mean([run.spread(0.05, "trainings")["p"] < 0.05 for run in found]) > 0.9


def test_the_omnibus_without_trainings_is_walds():
    rng = np.random.default_rng(6)
    drawn, estimates = rng.normal(0, 0.1, (500, 4)), np.array([0.1, 0.3, 0.2, 0.5])
    p = trainings.omnibus(estimates, np.cov(drawn.T), np.zeros(4), 3)
    assert p == pytest.approx(stats.wald(estimates, drawn)[2])
    assert trainings.omnibus(estimates, np.cov(drawn.T), np.full(4, 0.02), 3) > p


def test_equal_projectabilities_differ_by_nothing():
    row = project(np.random.default_rng(7), 0.0, item_sd=0.0).spread(0.05, "trainings")
    assert row["estimate"] == pytest.approx(0) and row["high"] < 0.5


@pytest.mark.parametrize("claim", ["C5a", "C5d", "C6a", "C6d"])
def test_a_claim_with_one_training_of_each_is_open_and_says_what_items_could_have_shown(claim):
    scopes = ("broad", "harassment")
    frame = simulate.frame(gain=0.8, ood={"subordinate": 0.2, "plain": 0.1}, scopes=scopes, controls=("plain",))
    declared = [c for c in decide.declared() if c.id == claim]
    table, units = decide.evaluate(evidence.Measured(gains.panel(frame), draws=100), declared)
    units = units[units["unit"] != decide.POOLED]
    assert table.iloc[-1]["verdict"] == "inconclusive" and "one training of each" in table.iloc[-1]["why"]
    assert units["p"].isna().all() and units[["estimate", "mde"]].notna().all().all()
