"""Responses become one table of verdicts; corrected rates and judge swap are read from the same rows."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import calibration
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import gains, judged
from ethical_personas.study import rows

CELL, KEYWORD = "virtue-harassment-s0", Judge("keyword")


@pytest.fixture
def run(tmp_path):
    frame = simulate.frame(gain=0.8, constitutions=("virtue",), scopes=("harassment",), per_category=3, harmless=(3, 4))
    early = frame[frame["model"] == CELL].assign(model=f"{CELL}@6")
    for table in (frame, early):
        simulate.write_run(tmp_path, table)
    return Run(str(tmp_path), "cpu")


def test_table_has_the_planted_verdicts(run, tmp_path):
    table = judged.safety(run, ["source", CELL], KEYWORD)
    assert list(table.columns) == judged.COLUMNS and len(table) == 2 * 25
    source = table[table["model"] == "source"]
    assert set(zip(source["constitution"], source["scope"], source["seed"], strict=True)) == {("source", "source", 0)}
    assert set(table["kind"]) == {"harmful", "helpful", "contrast"}
    assert table.loc[table["kind"] == "contrast", "twin"].notna().all()
    rates = table[table["kind"] == "harmful"].groupby("model")["declined"].mean()
    assert rates[CELL] - rates["source"] > 0.5
    assert (tmp_path / "judgements" / "keyword" / f"{CELL}.jsonl").is_file()
    assert judged.safety(run, ["source", CELL], KEYWORD).equals(table)  # from the cache


def test_empty_answers_have_no_verdict(run, tmp_path):
    path = tmp_path / "eval" / CELL / "responses.jsonl"
    found = files.read(path, rows.Response)
    files.write(path, [found[0].model_copy(update={"response": ""}), *found[1:]])
    table = judged.safety(run, ["source", CELL], KEYWORD)
    assert np.isnan(table.loc[table["model"] == CELL, "declined"].iloc[0])
    assert gains.missing(gains.panel(table))["no_verdict"].sum() == 1


def test_checkpoints_are_found_and_told_apart(run):
    assert judged.checkpoints(run, [CELL], [6, 12]) == [f"{CELL}@6"]
    assert judged.checkpoints(run, ["virtue-illegal-s0"], [6]) == []
    table = judged.safety(run, ["source", f"{CELL}@6"], KEYWORD)
    dose = gains.dose(table)
    assert list(dose["step"].unique()) == [6] and set(dose["measure"]) == {"S", "O", "J"}


def test_missing_or_mixed_up_files_are_named(run, tmp_path):
    run = dataclasses.replace(run, profile="unshipped")
    with pytest.raises(CompanionError, match=r"virtue-illegal-s0/responses\.jsonl"):
        judged.safety(run, ["virtue-illegal-s0"], KEYWORD)
    (tmp_path / "eval" / "virtue-broad-s0").mkdir()
    (tmp_path / "eval" / CELL / "responses.jsonl").replace(tmp_path / "eval" / "virtue-broad-s0" / "responses.jsonl")
    with pytest.raises(CompanionError, match=f"field model is '{CELL}'"):
        judged.safety(run, ["virtue-broad-s0"], KEYWORD)


def test_corrected_rates_by_measure(run, monkeypatch):
    monkeypatch.setattr(calibration, "accuracy_counts", lambda *_, **__: (0.9, 100.0, 0.95, 100.0))
    frame = judged.safety(run, ["source", CELL], KEYWORD)
    read = judged.labelled(run, ["source", CELL], KEYWORD)
    assert not len(read)  # nobody has read this run's texts
    table = judged.corrected(run, frame, read, KEYWORD).set_index(["constitution", "measure"])
    assert table[["powered", "powered_low"]].isna().all(axis=None) and (table["labels"] == 0).all()
    assert (table[["sensitivity_from", "specificity_from"]] == "earlier runs").all(axis=None)
    raw = table.loc[("virtue", "S"), "raw"]
    assert table.loc[("virtue", "S"), "corrected"] == pytest.approx(min(1, (raw + 0.95 - 1) / 0.85))
    assert table.loc[("virtue", "O"), "n"] == 7 and (table["low"] <= table["high"]).all()


def read_tuned(run, judge, monkeypatch, folder):
    """`judged.labelled` of a run whose tuned model was read as the judge has it, but for one refusal."""
    responses, verdicts = judged.judged(run, ["source", CELL], judge)
    marked = []
    for r, j in zip(responses, verdicts, strict=True):
        if r.model == CELL:
            marks = dict.fromkeys(("verdict", "first", "second"), j.verdict)
            marks |= dict.fromkeys(("first_coherence", "second_coherence"), "sensible")
            fields = {f: getattr(r, f) for f in ("id", "model", "category", "twin", "prompt", "response")}
            marked.append(rows.Reading(**fields, **marks, kind="harmful"))
    wrong = next(i for i, r in enumerate(marked) if r.verdict == "declined")
    marked[wrong] = marked[wrong].model_copy(update={"verdict": "complied"})
    for name in ("labels.jsonl", "styles.jsonl"):
        (folder / name).write_bytes((calibration.FOLDER / name).read_bytes())
    files.write(folder / "readings.jsonl", marked)
    monkeypatch.setattr(calibration, "FOLDER", folder)
    return judged.labelled(run, ["source", CELL], judge)


def test_rates_are_corrected_by_labels_of_the_run(run, monkeypatch, tmp_path):
    """One label against the verdict moves the rate of the tuned models alone."""
    read = read_tuned(run, KEYWORD, monkeypatch, tmp_path)
    assert set(read["group"]) == {"tuned"} and len(read) == 25
    table = judged.corrected(run, judged.safety(run, ["source", CELL], KEYWORD), read, KEYWORD)
    table = table.set_index(["constitution", "measure"])
    tuned, source, cell = (table.loc[(name, "S")] for name in ("tuned", "source", "virtue"))
    harmful = read[read["kind"] == "harmful"]
    assert tuned["powered"] == pytest.approx(harmful["label"].mean()) and tuned["powered"] < tuned["raw"]
    assert tuned["powered_low"] < tuned["powered"] < tuned["powered_high"] and tuned["labels"] == len(harmful)
    assert cell["sensitivity_from"] == cell["specificity_from"] == "this run" and cell["corrected"] < cell["raw"]
    assert np.isnan([source["powered"], cell["powered"]]).all() and source["labels"] == 0
    report = judged.judge_report(run, read, KEYWORD)
    assert set(report["sample"]) == {"this run", "earlier runs", "unseen styles"}
    # No row `judge`: the parts are the bundled judge's.
    assert set(report["by"]) == {"all", "style", "group", "arm", "scope", "kind"}
    assert "opinion" in set(report["group"])


def test_the_report_sets_the_parts_of_the_bundled_judge_beside_it(run, monkeypatch, tmp_path):
    read = read_tuned(run, Judge("bundled"), monkeypatch, tmp_path)
    assert set(read["arm"]) == {"constitutions"} and set(read["scope"]) == {"harassment"}
    styles = calibration.unseen_styles()[::20]
    monkeypatch.setattr(calibration, "unseen_styles", lambda: styles)
    report = judged.judge_report(run, read, Judge("bundled"))
    samples = report["sample"].drop_duplicates().index
    assert list(samples) == list(report.index[report["by"] == "all"])  # contiguous, "all" first
    for sample, part in report.groupby("sample"):
        parts = part[part["by"] == "judge"]
        expected = [] if sample == "earlier runs" else [*part.index[1:4]]
        assert list(parts.index) == expected and (parts["n"] == part["n"].iloc[0]).all()
    ours = report[report["sample"] == "this run"].set_index(["by", "group"])
    keywords = judged.labelled(run, ["source", CELL], KEYWORD)
    wanted = calibration.measures(keywords)
    assert ours.loc[("judge", "keyword list"), [*wanted]].to_dict() == pytest.approx(wanted)
    for group in (("arm", "constitutions"), ("scope", "harassment")):
        assert ours.loc[group].equals(ours.loc[("all", "all")])


def test_a_source_that_never_declines_takes_its_sensitivity_alone_from_earlier_runs(run, monkeypatch):
    monkeypatch.setattr(calibration, "accuracy_counts", lambda *_, **__: (0.8, 50.0, 0.5, 50.0))
    frame = judged.safety(run, ["source", CELL], KEYWORD)
    about = {"model": "source", "group": "source", "category": "x", "kind": "harmful", "label": 0.0, "verdict": 0.0}
    read = pd.DataFrame([about | {"id": f"i{n}", "prompt": f"p{n}"} for n in range(12)])
    source = judged.corrected(run, frame, read, KEYWORD).set_index(["constitution", "measure"]).loc[("source", "S")]
    assert source["sensitivity_from"] == "earlier runs" and source["specificity_from"] == "this run"
    assert source["corrected"] == pytest.approx(source["raw"] / 0.8)
    assert source["powered"] == pytest.approx(source["raw"])


def test_an_answer_that_happens_to_be_an_earlier_runs_was_not_drawn(run, monkeypatch, tmp_path):
    responses, _ = judged.judged(run, ["source", CELL], KEYWORD)
    marks = dict.fromkeys(("verdict", "first", "second"), "complied")
    marks |= dict.fromkeys(("first_coherence", "second_coherence"), "sensible")
    told = ("id", "model", "category", "twin", "prompt", "response")
    found = [rows.Reading(**{f: getattr(r, f) for f in told}, **marks, kind="x", run="here") for r in responses]
    tuned = [i for i, r in enumerate(responses) if r.model == CELL]
    for i in (0, tuned[0]):  # of the source and of a tuned model
        found[i] = found[i].model_copy(update={"run": "earlier"})
    files.write(tmp_path / "readings.jsonl", found)
    for name in ("labels.jsonl", "styles.jsonl"):
        (tmp_path / name).write_bytes((calibration.FOLDER / name).read_bytes())
    monkeypatch.setattr(calibration, "FOLDER", tmp_path)
    read = judged.labelled(run, ["source", CELL], KEYWORD)
    assert len(read) == len(responses) - 1 and (read["group"] == "source").sum() == len(responses) - len(tuned)


def test_swap_holds_every_judge_once(run):
    swap = judged.swapped(run, ["source", CELL], KEYWORD)
    assert {"keyword", "bundled"} <= set(swap.rates.columns)
    assert len(swap.correlations) == 3  # one pair of judges, three kinds of prompt
