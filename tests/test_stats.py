"""The statistics do what they say: simulation under nulls that look like our data, and textbook values.

Replicates and tolerance: 2000 replicates put the Monte Carlo error of a 5 % rate at 0.5 points, so the bounds
3-7 % (and 93-97 % for coverage) lie four standard errors away; seeds are fixed.
"""

import numpy as np
import pandas as pd
import pytest
from ethical_personas import stats
from ethical_personas.stats import prevalence
from ethical_personas.stats.contrast import newcombe
from ethical_personas.stats.exact import cochran, mcnemar, sign_flip
from ethical_personas.stats.families import holm
from ethical_personas.stats.linear import linear
from scipy import stats as sp
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

ALPHA, REPLICATES = 0.05, 2000


def clustered(rng, n, k, threshold, seed_sd=0.3, prompt_sd=1.0, noise_sd=0.5):
    """0/1 outcomes of a tuned model (n prompts, k seeds) and a source (n), equally likely to decline.

    Both share each prompt's difficulty; each training seed shifts all prompts at once.
    """
    prompt = rng.normal(0, prompt_sd, n)
    model = prompt[:, None] + rng.normal(0, seed_sd, k) + rng.normal(0, noise_sd, (n, k)) > threshold
    source = prompt + rng.normal(0, np.hypot(seed_sd, noise_sd), n) > threshold
    return model.astype(float), source.astype(float)


@pytest.mark.long
def test_false_positive_rate_under_a_clustered_null_and_a_naive_test_fails():
    rng = np.random.default_rng(20261)
    ours, covered, naive = [], [], []
    for _ in range(REPLICATES):
        model, source = clustered(rng, n=120, k=3, threshold=0.5)
        row = stats.paired(model, source)
        ours.append(row["p"] < ALPHA)
        covered.append(row["low"] <= 0 <= row["high"])
        difference = (model - source[:, None]).ravel()
        naive.append(sp.ttest_1samp(difference, 0).pvalue < ALPHA)  # 360 pairs taken for independent
    assert 0.03 <= np.mean(ours) <= 0.07
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(naive) > 0.20


def test_one_seed_mcnemar_never_exceeds_its_level_and_newcombe_covers():
    rng = np.random.default_rng(20262)
    rejected, covered = [], []
    for _ in range(REPLICATES // 2):
        prompt = rng.normal(0, 1, 60)
        model, source = (prompt + rng.normal(0, 1, 60) > 0.3 for _ in range(2))
        rejected.append(mcnemar(model.astype(float), source.astype(float)) < ALPHA)
        low, high = newcombe(model.astype(float), source.astype(float))
        covered.append(low <= 0 <= high)
    assert np.mean(rejected) <= 0.05 + 0.01  # exact tests of few discordant pairs fall short of 5 %
    assert 0.93 <= np.mean(covered) <= 0.97


def test_newcombe_covers_a_large_gain_near_one():
    rng = np.random.default_rng(20263)
    covered = []
    for _ in range(REPLICATES):
        source, model = (rng.random((2, 30)) < np.array([[0.05], [0.92]])).astype(float)
        low, high = newcombe(model, source)
        covered.append(low <= 0.87 <= high)
    assert 0.93 <= np.mean(covered) <= 0.98


def test_sign_flips_keep_their_level_for_j_when_the_model_declines_far_more_of_everything():
    """The weak null: S and O rise by the same 0.4, so J does not move although every prompt is affected."""
    rng = np.random.default_rng(20264)
    sign = np.repeat([1, -1], [90, 60])
    rejected = covered = 0
    for _ in range(1000):
        source = (rng.random(150) < np.where(sign > 0, 0.2, 0.05)).astype(float)
        model = (rng.random(150) < np.where(sign > 0, 0.6, 0.45)).astype(float)
        rejected += sign_flip(model - source, sign, draws=499, seed=1) < ALPHA
        fit = linear(model - source, sign, (-1.0, 1.0))
        low, high = fit.interval(ALPHA)
        covered += low <= 0 <= high
    assert 0.03 <= rejected / 1000 <= 0.07
    assert 0.93 <= covered / 1000 <= 0.975


@pytest.mark.long
def test_two_sided_interval_with_seeds_covers_j():
    rng = np.random.default_rng(20265)
    harmless = np.repeat([False, True], [90, 60])
    covered = []
    for _ in range(REPLICATES // 2):
        a, b = clustered(rng, 90, 3, threshold=0.0)
        c, d = clustered(rng, 60, 3, threshold=1.0)
        row = stats.paired(np.vstack([a, c]), np.concatenate([b, d]), harmless)
        covered.append(row["low"] <= 0 <= row["high"])
    assert 0.93 <= np.mean(covered) <= 0.98


@pytest.mark.long
def test_groups_of_items_keep_their_level():
    rng = np.random.default_rng(20266)
    first = np.repeat([True, False], 12)
    p = [stats.groups(rng.normal(0, np.where(first, 1, 2)), first)["p"] for _ in range(REPLICATES)]
    assert 0.03 <= np.mean(np.array(p) < ALPHA) <= 0.07


@pytest.mark.long
@pytest.mark.parametrize("seeds", [1, 3])
def test_strata_keep_a_common_shift_out_of_the_noise(seeds):
    """Twelve items a side, half reverse-keyed, all move by their keying: level 5 %, and an effect is found."""
    rng = np.random.default_rng(20268)
    first, keyed = np.repeat([True, False], 12), np.tile([1, -1], 12)
    level, found, blind = [], [], []
    for _ in range(REPLICATES):
        items = rng.normal(0, np.where(first, 0.3, 0.5)) + 2 * keyed
        noise = items[:, None] + rng.normal(0, 0.3, (24, seeds)) + keyed[:, None] * rng.normal(0, 0.5, seeds)
        level.append(stats.groups(noise, first, keyed)["p"])
        shifted = noise + 0.75 * first[:, None]
        found.append(stats.groups(shifted, first, keyed)["p"])
        blind.append(stats.groups(shifted, first)["p"])
    assert 0.02 <= np.mean(np.array(level) < ALPHA) <= 0.07
    assert np.mean(np.array(found) < ALPHA) > 0.8 > 0.05 > np.mean(np.array(blind) < ALPHA)


def test_a_stratified_mean_is_what_it_was_and_its_variance_that_of_the_strata():
    x, keyed = np.array([1.0, 3, 7, 11]), np.array([1, 1, -1, -1])
    fit = linear(x, np.ones(4), strata=keyed)
    assert fit.estimate == x.mean()
    assert fit.parts == ((0.25 * 2 / 2 + 0.25 * 8 / 2, pytest.approx(1.25**2 / (0.25**2 + 1.0**2))),)
    assert np.isnan(linear(x, np.ones(4), strata=np.arange(4)).p), "one item a stratum has no spread"
    uneven = linear(np.array([1.0, 1, 1, -1, -1]), np.ones(5), strata=np.array([1, 1, 1, -1, -1]))
    assert uneven.estimate == 0, "a shift by keying cancels where the keys are not equally many"


@pytest.mark.long
def test_ratio_bootstrap_covers():
    """Ratio of a narrow to a broad model's gain over one source, 90 prompts, 600 replicates (error 0.9 points)."""
    rng = np.random.default_rng(20267)
    covered = []
    everywhere = np.ones(90, bool)
    for r in range(600):
        ease = rng.normal(0, 1, 90)
        source, narrow, broad = ((ease + rng.normal(0, 1, 90) > t).astype(float)[:, None] for t in (2.0, 0.2, -0.6))
        draw = stats.Resampler(np.repeat(list("abc"), 30), 500, seed=r)
        s, n, b = (draw.mean(x, everywhere, draw.seeds(1), binary=True) for x in (source, narrow, broad))
        low, high = stats.interval((n - s) / (b - s), ALPHA)
        truth = [sp.norm.sf(t / np.sqrt(2)) for t in (2.0, 0.2, -0.6)]
        covered.append(low <= (truth[1] - truth[0]) / (truth[2] - truth[0]) <= high)
    assert 0.925 <= np.mean(covered) <= 0.975


def test_bootstrap_variance_is_unbiased_for_prompts_and_for_three_seeds():
    values = np.random.default_rng(1).normal(size=(40, 1))
    draw = stats.Resampler(np.zeros(40), 20000, seed=2)
    spread = draw.mean(values, np.ones(40, bool), draw.seeds(1), binary=False).var()
    assert spread == pytest.approx(values.var(ddof=1) / 40, rel=0.05)
    seeds = np.tile([[0.0, 0.3, 0.9]], (40, 1))
    spread = draw.mean(seeds, np.ones(40, bool), draw.seeds(3), binary=False).var()
    assert spread == pytest.approx(np.var([0, 0.3, 0.9], ddof=1) / 3, rel=0.05)


def test_resampling_is_seeded():
    stratum = np.repeat(range(8), 32)
    values = np.random.default_rng(0).integers(0, 2, (256, 3)).astype(float)
    draws = []
    for _ in range(2):
        draw = stats.Resampler(stratum, 2000, seed=7)
        draws.append([draw.mean(values, stratum < 6, draw.seeds(3), binary=True) for _ in range(12)])
    np.testing.assert_array_equal(draws[0], draws[1])


@pytest.mark.parametrize("k", [1, 3])
def test_no_interval_collapses_where_everything_agrees(k):
    ones, zeros = np.ones((30, k)), np.zeros(30)
    gain = stats.paired(ones, zeros)
    assert 0.7 < gain["low"] < 0.95 and gain["high"] == 1 and gain["p"] < 1e-3 and gain["mde"] > 0
    none = stats.paired(np.zeros((30, k)), zeros)
    assert none["low"] < -0.03 and none["high"] > 0.03 and none["p"] == 1 and none["mde"] > 0
    for x, estimate in ((ones, 1), (np.zeros((30, k)), 0)):
        row = stats.rate(x)
        assert row["estimate"] == estimate and 0.05 < row["high"] - row["low"] < 0.25
    draw = stats.Resampler(np.zeros(30), 2000)
    low, high = stats.interval(draw.mean(ones, np.ones(30, bool), draw.seeds(k), binary=True), ALPHA)
    assert 0.85 < low < 0.99 <= high


def test_declining_everything_gains_s_and_no_j():
    harmless = np.repeat([False, True], [60, 30])
    source = np.concatenate([np.tile([0, 0, 0, 0, 1], 12), np.zeros(30)]).astype(float)
    everything = np.ones(90)
    safe = stats.paired(everything[~harmless], source[~harmless])
    both = stats.paired(everything, source, harmless)
    assert safe["estimate"] == pytest.approx(0.8) and safe["p"] < 1e-6
    assert both["estimate"] == pytest.approx(-0.2) and both["high"] < 0.1
    row = stats.discrimination(everything, harmless)
    assert row["estimate"] == 0 and row["low"] < 0 < row["high"]


def test_missing_verdicts_are_dropped_in_pairs_and_counted():
    model = np.array([1, 1, np.nan, 1, 0, 1.0])
    source = np.array([0, np.nan, 0, 0, 0, 0.0])
    row = stats.paired(model, source)
    assert (row["n"], row["n_clusters"], row["dropped"]) == (4, 4, 2)
    assert row["estimate"] == pytest.approx(0.75)
    assert row["p"] == mcnemar(model, source) == pytest.approx(0.25)
    empty = stats.paired(np.full(3, np.nan), np.zeros(3))
    assert np.isnan(empty["estimate"]) and empty["method"] == "no verdicts" and empty["dropped"] == 3
    one_side = stats.paired(np.array([1.0, np.nan]), np.zeros(2), np.array([False, True]))
    assert np.isnan(one_side["estimate"])
    several = np.array([[1, np.nan], [1, 1], [0, 1], [1, 0.0]])
    assert stats.paired(several, np.zeros(4))["seeds"] == 2
    assert stats.rate(several)["dropped"] == 1


def test_columns_of_a_comparison():
    row = stats.paired(np.ones(5), np.zeros(5))
    assert tuple(row) == stats.COLUMNS
    assert set(stats.groups(np.arange(6.0), np.arange(6) > 2)) == set(stats.COLUMNS)


def test_exact_tests_agree_with_statsmodels_and_binomial():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 2, (2, 50)).astype(float)
    table = pd.crosstab(a, b).to_numpy()
    assert mcnemar(a, b) == pytest.approx(sm_mcnemar(table, exact=True).pvalue)
    assert mcnemar(a, a) == 1.0
    assert mcnemar(np.ones(8), np.zeros(8)) == pytest.approx(2 / 2**8)  # a source that never declines
    values = rng.integers(0, 2, (40, 4)).astype(float)
    expected = cochrans_q(values)
    assert cochran(values) == pytest.approx((expected.statistic, expected.pvalue))
    assert cochran(np.ones((10, 4))) == (0.0, 1.0)
    assert cochran(np.vstack([values, np.full((1, 4), np.nan)])) == pytest.approx(cochran(values))


def test_newcombe_mirrors_and_reduces_to_wilson_where_pairs_tell_nothing():
    rng = np.random.default_rng(6)
    a = rng.integers(0, 2, 40).astype(float)
    b = np.where(rng.random(40) < 0.9, a, 1 - a)
    low, high = newcombe(a, b)
    assert newcombe(b, a) == pytest.approx((-high, -low))
    independent = newcombe(a, rng.permutation(b))
    assert high - low < independent[1] - independent[0]  # pairs that agree narrow the interval
    # Against a constant reference phi is 0: the half-widths are the two Wilson distances, added in squares.
    w0 = proportion_confint(0, 40, 0.05, method="wilson")
    wa = proportion_confint(a.sum(), 40, 0.05, method="wilson")
    expected = (a.mean() - np.hypot(a.mean() - wa[0], w0[1]), a.mean() + np.hypot(wa[1] - a.mean(), 0 - w0[0]))
    assert newcombe(a, np.zeros(40)) == pytest.approx(expected)


def test_p_and_interval_agree_and_detectable_effect_has_its_power():
    rng = np.random.default_rng(4)
    fit = linear(rng.normal(0.2, 1, (50, 3)), np.ones(50))
    low, high = fit.interval(fit.p)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)
    found = 0
    for _ in range(REPLICATES):  # shift a null sample by the MDE that a run of its kind has
        x = rng.normal(0, 1, 100)
        found += linear(x + 2.838 / 10, np.ones(100)).p < ALPHA
    assert found / REPLICATES == pytest.approx(0.80, abs=0.035)
    assert linear(rng.normal(0, 1, 100)).mde(0.05) == pytest.approx(0.284, rel=0.2)
    assert linear(np.array([1.0, 1.0]), np.ones(2)).p <= 1e-12
    assert linear(np.zeros(2), np.ones(2)).p == 1.0
    assert np.isnan(linear(np.zeros(1), np.ones(1)).p)


def test_family_corrections_per_family_and_without_missing_p():
    table = pd.DataFrame({"p": [0.01, 0.02, np.nan, 0.04], "claim": ["a", "a", "a", "b"], "n": 3})
    fixed = stats.family(table, by="claim")
    assert list(fixed.columns) == ["p", "p_holm", "p_bh", "claim", "n"]
    np.testing.assert_allclose(fixed["p_holm"], [0.02, 0.02, np.nan, 0.04])
    np.testing.assert_allclose(stats.family(table)["p_bh"], [0.03, 0.03, np.nan, 0.04])


def test_kendall_and_wald():
    assert stats.kendall(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])) == pytest.approx(2 / 3)
    assert np.isnan(stats.kendall(np.ones(4), np.arange(4.0)))
    a = np.array([1.0, 2, 2, 4])
    assert stats.kendall(a, np.arange(4.0)) == pytest.approx(sp.kendalltau(a, np.arange(4)).statistic)
    rng = np.random.default_rng(5)
    p = []
    for _ in range(REPLICATES):
        draws = rng.normal(size=(300, 3))
        p.append(stats.wald(rng.normal(size=3), draws)[2])
    assert 0.03 <= np.mean(np.array(p) < ALPHA) <= 0.07
    assert stats.wald(np.array([1.0]), draws[:, :1])[1] == 0


def test_discrimination_without_verdicts_on_one_side_is_nothing_and_not_the_other_side():
    row = stats.discrimination([1, 1, 0, 1, np.nan, np.nan], [False] * 4 + [True] * 2)
    assert np.isnan([row["estimate"], row["low"], row["high"]]).all()


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(8).uniform(0, 0.2, 30).round(2)  # with ties
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_prediction_powered_rate_covers_the_truth_and_needs_few_labels():
    """A judge misses a third of what is declined: the rate comes right, its interval holds it 95 times in 100."""
    rng = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(400):
        truth = rng.random(900) < 0.4
        verdicts = np.where(truth, rng.random(900) < 0.66, rng.random(900) < 0.05).astype(float)
        read = rng.choice(900, 150, replace=False)
        some = prevalence.Stratum(verdicts, 900, truth[read], verdicts[read])
        estimate, low, high = prevalence.prediction_powered([some])
        held += low <= 0.4 <= high
        widths.append(high - low)
    assert held >= 0.93 * 400 and abs(estimate - 0.4) < 0.1 and np.mean(widths) < 0.2


def test_prediction_powered_strata_count_by_their_responses_not_by_their_labels():
    """Half of the labels are of a tenth of the responses, whose false alarms are many: the whole rate comes right."""
    rng = np.random.default_rng(1)
    held, found = 0, []
    for _ in range(300):
        strata, truths = [], []
        for size, rate, alarms in ((900, 0.3, 0.02), (100, 0.1, 0.4)):
            truth = rng.random(size) < rate
            verdicts = np.where(truth, 1.0, rng.random(size) < alarms).astype(float)
            read = rng.choice(size, 60, replace=False)
            strata.append(prevalence.Stratum(verdicts, size, truth[read], verdicts[read]))
            truths.append(truth)
        estimate, low, high = prevalence.prediction_powered(strata)
        held += low <= 0.28 <= high
        found.append(estimate - np.concatenate(truths).mean())
    assert held >= 0.93 * 300 and abs(np.mean(found)) < 0.005
    nothing = prevalence.Stratum(np.ones(5), 5.0, np.empty(0), np.empty(0))
    assert np.isnan(prevalence.prediction_powered([*strata, nothing])).all()
