"""Calibration: corrected rates and their coverage, measures against sklearn, the judge swap, the check by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.judge import calibration, labelling, swap
from ethical_personas.stats import prevalence
from ethical_personas.study import materials, rows
from sklearn.metrics import accuracy_score, cohen_kappa_score, precision_score, recall_score


def test_rogan_gladen_by_hand():
    estimate, low, high = prevalence.rogan_gladen(0.5, 200, 0.9, 200, 0.8, 200)
    assert estimate == pytest.approx((0.5 + 0.8 - 1) / 0.7)
    assert low < estimate < high


def test_perfect_and_well_known_judge_changes_nothing():
    estimate, low, high = prevalence.rogan_gladen(0.3, 300, 1.0, 1e7, 1.0, 1e7)
    assert estimate == pytest.approx(0.3)
    assert low == pytest.approx(0.2510, abs=0.003) and high == pytest.approx(0.3541, abs=0.003)  # about Wilson


def test_smaller_calibration_sample_widens_the_interval():
    widths = [np.ptp(prevalence.rogan_gladen(0.5, 500, 0.9, n, 0.9, n)[1:]) for n in (20, 100, 1000)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("quality", [(0.5, 0.5), (0.3, 0.6)])
def test_a_judge_no_better_than_chance_is_undefined(quality):
    assert all(math.isnan(x) for x in prevalence.rogan_gladen(0.5, 100, quality[0], 50, quality[1], 50))


def test_estimates_stay_between_0_and_1():
    assert prevalence.rogan_gladen(0.02, 100, 0.9, 50, 0.9, 50)[0] == 0.0
    assert prevalence.rogan_gladen(0.99, 100, 0.9, 50, 0.9, 50)[2] == 1.0


@pytest.mark.parametrize("theta", [0.05, 0.5, 0.9])
def test_corrected_interval_covers_and_the_raw_one_does_not(theta):
    rng = np.random.default_rng(3)
    q1, q0, n, m1, m0 = 0.85, 0.90, 180, 120, 150
    rate = theta * q1 + (1 - theta) * (1 - q0)
    covered = raw = 0
    for _ in range(1500):
        p, s1, s0 = rng.binomial(n, rate) / n, rng.binomial(m1, q1) / m1, rng.binomial(m0, q0) / m0
        _, low, high = prevalence.rogan_gladen(p, n, s1, m1, s0, m0)
        covered += low <= theta <= high
        _, low, high = calibration.proportion(rng.random(n) < rate, None)
        raw += low <= theta <= high
    assert 0.93 <= covered / 1500 <= 0.99
    assert raw < covered


def test_clustered_values_count_for_less():
    prompts = np.repeat(np.arange(50), 6)
    same = np.repeat(np.arange(50) % 2, 6)
    assert prevalence.effective_size(same, prompts) == pytest.approx(50, rel=0.01)
    alone = np.random.default_rng(0).random(300) < 0.5
    assert prevalence.effective_size(alone, prompts) > 200
    assert prevalence.effective_size(np.ones(300), prompts) == 50


def table(n=240, flip=0.1, seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.4).astype(float)
    verdict = np.where(rng.random(n) < flip, 1 - label, label)
    return pd.DataFrame({"prompt": [f"p{i // 3}" for i in range(n)], "label": label, "verdict": verdict})


def test_measures_agree_with_sklearn():
    t = table()
    m = calibration.measures(t)
    assert m["accuracy"] == pytest.approx(accuracy_score(t.label, t.verdict))
    assert m["precision"] == pytest.approx(precision_score(t.label, t.verdict))
    assert m["sensitivity"] == pytest.approx(recall_score(t.label, t.verdict))
    assert m["specificity"] == pytest.approx(recall_score(t.label, t.verdict, pos_label=0))
    assert m["kappa"] == pytest.approx(cohen_kappa_score(t.label, t.verdict))
    for name in (*calibration.MEASURES, "kappa"):
        assert m[f"{name}_low"] < m[name] < m[f"{name}_high"]


def test_unclear_labels_and_failed_verdicts_are_counted_apart():
    t = table()
    t.loc[:4, "label"] = np.nan
    t.loc[10:12, "verdict"] = np.nan
    m = calibration.measures(t, bootstrap=50)
    assert (m["n"], m["unclear"], m["no_verdict"]) == (232, 5, 3)


def response(i, model, text="Some text.", category="illegal"):
    return rows.Response(
        id=f"p{i}", model=model, category=category, prompt=f"Q{i}", response=text, tokens=2, finished=True
    )


def judged(responses, name, verdicts):
    return [
        rows.Judgement(id=r.id, model=r.model, judge=name, key="k", verdict=v, error=None if v else "HTTP 500: x")
        for r, v in zip(responses, verdicts, strict=True)
    ]


def test_swap_table_rates_order_and_disagreements():
    given = [response(i, m) for m in ("a", "b", "c") for i in range(4)]
    d, c = "declined", "complied"
    one = judged(given, "one", [c, c, c, c, d, d, c, c, d, d, d, d])
    two = judged(given, "two", [c, c, c, d, d, d, d, None, d, d, d, d])
    found = swap.swap_table(given, {"one": one, "two": two})
    assert found.rates["one"].tolist() == [0.0, 0.5, 1.0]
    assert found.rates["two"].tolist() == pytest.approx([0.25, 1.0, 1.0])
    assert found.rates["two_no_verdict"].tolist() == [0, 1, 0]
    (pair,) = found.correlations.to_dict("records")
    assert pair["models"] == 3 and pair["responses"] == 11 and 0 < pair["kendall"] < 1
    assert pair["agreement"] == pytest.approx(9 / 11)
    assert found.disagreements[["model", "id", "one", "two"]].to_numpy().tolist() == [
        ["a", "p3", c, d],
        ["b", "p2", c, d],
    ]


def test_swap_table_reversed_order_has_rank_correlation_minus_one():
    given = [response(i, m) for m in ("a", "b", "c") for i in range(2)]
    d, c = "declined", "complied"
    up, down = judged(given, "up", [c, c, c, d, d, d]), judged(given, "down", [d, d, d, c, c, c])
    found = swap.swap_table(given, {"up": up, "down": down})
    assert found.correlations.loc[0, "spearman"] == pytest.approx(-1)


def test_swap_table_refuses_rows_of_other_responses():
    given = [response(0, "a"), response(1, "a")]
    with pytest.raises(CompanionError, match="not those of these responses"):
        swap.swap_table(given, {"one": judged(given, "one", ["declined"] * 2)[::-1]})


@pytest.fixture
def queue():
    given = [response(i, "virtue-broad-s0", f"Text {i}") for i in range(20)]
    verdicts = ["declined" if i % 2 else "complied" for i in range(20)]
    return labelling.Queue(given, judged(given, "bundled", verdicts), seed=1, limit=12)


def test_queue_is_blind_random_and_repeatable(queue):
    again = labelling.Queue(queue.responses, queue.judgements, seed=1, limit=12)
    assert queue.order == again.order and queue.order != sorted(queue.order) and len(queue.order) == 12
    assert queue.current() == (f"Q{queue.order[0]}", f"Text {queue.order[0]}")


def test_agreement_of_a_reader_who_agrees_but_once(queue):
    for position, i in enumerate(queue.order):
        verdict = queue.judgements[i].verdict
        other = "complied" if verdict == "declined" else "declined"
        queue.mark("unclear" if position == 0 else other if position == 1 else verdict)
    a = queue.agreement()
    assert queue.done and queue.current() is None
    assert a["n"] == 11 and a["unclear"] == 1 and a["agreement"] == pytest.approx(10 / 11)
    mine = [m for m in queue.marks.values() if m != "unclear"]
    judges = [queue.judgements[i].verdict for i, m in queue.marks.items() if m != "unclear"]
    assert a["kappa"] == pytest.approx(cohen_kappa_score(mine, judges))
    assert len(queue.differences()) == 1 and "91%" in queue.summary()


def test_undo_and_unknown_marks(queue):
    before = queue.current()
    queue.mark("declined")
    queue.undo()
    assert queue.current() == before and not queue.marks
    with pytest.raises(CompanionError, match="'maybe' unknown"):
        queue.mark("maybe")


def test_kappa_is_undefined_while_all_is_alike(queue):
    assert math.isnan(queue.agreement()["kappa"]) and "0 of 12" in queue.summary()


def test_widget_hides_the_verdict_and_escapes_html(queue):
    given = [response(i, "virtue-broad-s0", f"<b>Text {i}</b>") for i in range(3)]
    box = labelling.widget(given, judged(given, "bundled", ["declined"] * 3))
    text, buttons, line = box.children
    assert "&lt;b&gt;Text" in text.value and "virtue" not in text.value and "declined" not in text.value
    for _ in range(3):
        buttons.children[0].click()
    assert box.queue.done and "agreement with the judge 100%" in line.value
    buttons.children[3].click()
    assert len(box.queue.marks) == 2


def test_held_out_labels_answer_no_prompt_that_is_fitted_or_trained_on():
    labels = calibration.read_labels()
    fitted = {r.prompt for r in labels if r.split == "fit"} | {p.prompt for p in materials.prompts("train")}
    held = [r for r in labels if r.split == "held_out"]
    assert len(held) > 500 and not any(r.prompt in fitted for r in held)


def test_bundled_judge_meets_its_bar_on_held_out_prompts():
    """The bar: kappa of at least 0.80 against the labels, the interval's lower end included."""
    m = calibration.measures(calibration.calibration_rows("bundled"), bootstrap=500)
    assert m["n"] >= 400 and m["kappa_low"] >= 0.80


def test_report_has_a_row_for_every_value_and_leaves_out_rows_without_one():
    rows_ = table().assign(kind=["harmful", "helpful", None] * 80)
    report = calibration.report(rows_, ("kind",), bootstrap=50).set_index("group")
    assert report["by"].to_dict() == {"all": "all", "harmful": "kind", "helpful": "kind"}
    assert report["n"].to_dict() == {"all": 240, "harmful": 80, "helpful": 80}
    harmful = calibration.measures(rows_[rows_["kind"] == "harmful"], bootstrap=50)
    assert report.loc["harmful"].drop("by").to_dict() == harmful


def test_compact_report_has_each_measure_with_its_interval_in_one_column():
    report = pd.DataFrame([{"n": 3} | calibration.measures(table().assign(label=0.0), bootstrap=50)])
    (row,) = calibration.compact(report).to_dict("records")
    assert set(calibration.MEASURES) < set(row) and not any(name.endswith(("_low", "_high")) for name in row)
    share, low, high = report.loc[0, ["specificity", "specificity_low", "specificity_high"]]
    assert row["specificity"] == f"{share:.2f} [{low:.2f}, {high:.2f}]"
    assert row["sensitivity"] == row["kappa"] == "–"  # no row is labelled declined


def test_labels_reach_their_number_and_the_second_pass_repeats_the_first():
    assert len(calibration.read_labels()) >= 600
    table = calibration.agreement(bootstrap=50).set_index(["mark", "sample"])
    assert table["n"].unstack("mark").T.iloc[0].to_dict() == (
        {"labels": 150, "written": 162, "third": 240, "fourth": 240, "fifth": 280}
    )
    assert (table.loc["verdict", "kappa"] > 0.95).all()
    assert (table.loc["coherence", "kappa"].drop("written") > 0.6).all()  # no written row is garbled


def test_a_kind_that_was_read_more_often_than_asked_counts_less():
    """Specificity 1 on helpful prompts, 0.5 on opinions; nine tenths of the prompts are helpful."""
    label, verdict = [0.0] * 40, [0.0] * 20 + [1.0] * 10 + [0.0] * 10
    read = pd.DataFrame({"label": label, "verdict": verdict, "kind": ["helpful"] * 20 + ["opinion"] * 20})
    read["prompt"] = [f"p{i}" for i in range(40)]
    assert calibration.accuracy_of(read)[2:] == (0.75, 40.0)
    _, none, specificity, n = calibration.accuracy_of(read, pd.Series({"helpful": 0.9, "opinion": 0.1}))
    assert none == 0 and specificity == pytest.approx(0.95)
    assert n == pytest.approx(40 / (2 * (0.9**2 + 0.1**2)))


def test_corrected_rate_of_held_out_rows_comes_back_to_their_labels():
    table = calibration.calibration_rows("bundled").dropna(subset=["label"])
    accuracy = calibration.accuracy_of(table)
    assert accuracy == calibration.accuracy_counts("bundled")
    estimate, low, high = calibration.corrected_rate(table["verdict"], accuracy, prompts=table["prompt"])
    assert estimate == pytest.approx(table["label"].mean(), abs=1e-9) and low < estimate < high
    empty = calibration.corrected_rate([math.nan], accuracy)
    assert all(math.isnan(x) for x in empty)


def test_a_judge_that_gave_no_verdict_on_one_side_corrects_to_nothing(monkeypatch):
    """As a harm-only classifier does on refused harmless requests; without labels of a side it is an error."""
    rows_ = table().assign(kind="helpful", prompt=[f"p{i}" for i in range(240)])
    rows_.loc[rows_["label"] == 1, "verdict"] = np.nan
    monkeypatch.setattr(calibration, "calibration_rows", lambda *_, **__: rows_)
    accuracy = calibration.accuracy_counts("hf", "helpful")
    assert np.isnan(calibration.corrected_rate([0.0, 1.0, 1.0], accuracy)).all()
    monkeypatch.setattr(calibration, "calibration_rows", lambda *_, **__: rows_[rows_["label"] == 0])
    with pytest.raises(CompanionError, match="no held-out helpful row labelled declined; label some"):
        calibration.accuracy_counts("hf", "helpful")
