"""The parts of the bundled judge alone: their numbers by hand, their sum against the judge, samples that no fit saw."""

import numpy as np
import pandas as pd
import pytest
from ethical_personas.judge import ablation, bundled, calibration, encoder, fit, judging, kept


def test_each_part_is_measured_on_the_same_rows(monkeypatch):
    """Four answers and an empty one; what each part says of them is given, and the shares are counted by hand."""
    texts = [
        "I can't help with that.",
        "That would harm him.",
        "I'm sorry to hear it. Rest a while.",
        "Take a pan.",
        "",
    ]
    labels, ours = [1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, np.nan]
    words, read = np.array([2.0, 1.0, 1.0, 4.0, 5.0]), np.array([1.0, 1.0, 1.0, -1.0, 5.0])
    monkeypatch.setattr(bundled, "word_logits", lambda pairs: np.stack([words, np.zeros(5)], axis=1))
    monkeypatch.setattr(encoder, "logits", lambda pairs: read)
    table = pd.DataFrame({"prompt": [*"abcde"], "response": texts, "label": labels, "verdict": ours})
    report = ablation.report(table).set_index("group")
    assert list(report.index) == ["words alone", "encoder alone", "keyword list"] and set(report["by"]) == {"judge"}
    assert (report["n"] == 4).all() and (report["no_verdict"] == 1).all()
    assert report["sensitivity"].to_list() == [1.0, 1.0, 0.5]
    assert report["specificity"].to_list() == [0.0, 0.5, 0.5]  # of the two that are not empty; one apologises
    assert report["accuracy"].to_list() == [0.5, 0.75, 0.5]
    assert report["kappa"].to_list() == pytest.approx([0.0, 0.5, 0.0])
    assert table["verdict"].to_list()[:4] == ours[:4]  # untouched


def test_both_is_what_the_judge_says():
    """On rows where the words leave doubt and where they leave none, and where the parts differ."""
    labels = calibration.unseen_styles()[::3]
    pairs = [(r.prompt, r.response) for r in labels]
    said, judge = ablation.verdicts(pairs), calibration.calibration_rows("bundled", labels=labels)["verdict"]
    doubtful = np.abs(bundled.word_logits(pairs)[:, 0]) < bundled.SURE
    assert doubtful.any() and not doubtful.all()
    for part in ablation.ALONE:
        assert (said[part] != said[ablation.BOTH]).any()
    assert (said[ablation.BOTH] == judge.to_numpy()).all()


def test_samples_are_those_that_no_fit_has_seen():
    samples = ablation.samples()
    fitted = {fit.key(r.prompt) for r in fit.training_rows()}
    for name, labels in samples.items():
        assert len(labels) >= 100 and not [r.id for r in labels if fit.key(r.prompt) in fitted], name
    assert {r.style for r in samples["six unseen styles"]} == set(ablation.FIRST_STYLES)
    assert len({r.style for r in samples["later styles"]}) == 7
    assert {"third run", "fourth run", "fifth run"} < set(samples)


def test_the_table_has_every_sample_with_interval_and_gain(monkeypatch):
    some = calibration.unseen_styles()[:60]
    monkeypatch.setattr(ablation, "samples", lambda: {"a few": some, "fewer": some[20:]})
    table = ablation.table().set_index("sample")
    for sample, labels in (("a few", some), ("fewer", some[20:])):
        judged = calibration.measures(calibration.calibration_rows("bundled", labels=labels))
        assert table.loc[sample, "n"] == judged["n"]
        assert table.loc[sample, "both"] == calibration.format_measure(judged, "kappa")
        assert set(table.columns) == {"n", "both", *ablation.ALONE, *(f"both - {part}" for part in ablation.ALONE)}


def test_gain_is_paired_by_prompt():
    """Two readers with the same errors differ by nothing in every resample, though each alone is uncertain."""
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"prompt": [f"p{i // 2}" for i in range(80)], "label": (rng.random(80) < 0.5).astype(float)})
    one["verdict"] = np.where(rng.random(80) < 0.2, 1 - one["label"], one["label"])
    assert ablation.gain(one, one.copy()) == {"gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
    found = ablation.gain(one.assign(verdict=one["label"]), one)
    alone = calibration.measures(one)
    assert found["gain"] == pytest.approx(1 - alone["kappa"])
    assert found["gain_low"] == pytest.approx(1 - alone["kappa_high"])
    assert found["gain_high"] == pytest.approx(1 - alone["kappa_low"])


def test_kept_verdicts_are_what_the_judge_says_today():
    """None is of an earlier fit or of rows that have changed; every twentieth is compared with a fresh one."""
    judged, read = kept.labelled()
    known = judging.known_verdicts(calibration.KEPT)
    of_judge = {judging.key(bundled.version(), r.prompt, r.response): r for r in judged}
    of_encoder = {judging.key(ablation.encoder_version(), r.prompt, r.response): r for r in read}
    assert set(known) == {*of_judge, *of_encoder}, "make them again: python -m ethical_personas.judge.kept"
    some = list(of_judge)[::20]
    for key, row in zip(some, judging.judge([of_judge[k] for k in some], "bundled", cache=None), strict=True):
        assert (row.verdict, row.score) == (known[key].verdict, pytest.approx(known[key].score, abs=1e-3))
    some = list(of_encoder)[::20]
    said = encoder.logits([(of_encoder[k].prompt, of_encoder[k].response) for k in some])
    assert all((known[k].verdict == "declined") == (z > 0) for k, z in zip(some, said, strict=True) if abs(z) > 1e-3)


def test_the_encoder_reads_no_labelled_row_again(monkeypatch):
    monkeypatch.setattr(encoder, "logits", lambda pairs: pytest.fail("asked for what is kept"))
    calibration._held_out_rows.cache_clear()
    assert len(calibration.calibration_rows("bundled")) > 500
    table = calibration.calibration_rows("bundled", labels=calibration.unseen_styles())
    assert len(ablation.report(table)) == 3


def test_a_row_that_is_not_kept_is_read(monkeypatch):
    monkeypatch.setattr(encoder, "logits", lambda pairs: np.array([2.0 if r == "No." else -2.0 for _, r in pairs]))
    known, stamp = judging.known_verdicts(calibration.KEPT), ablation.encoder_version()
    asked = [(r.prompt, r.response) for r in calibration.unseen_styles()]
    declined = next(pair for pair in asked if known[judging.key(stamp, *pair)].verdict == "declined")
    assert ablation.by_encoder([("May I?", "No."), declined, ("May I?", "Yes.")]).tolist() == [True, True, False]
