"""The verdicts of earlier runs beside the present one's."""

import pandas as pd
import pytest
from ethical_personas.claims import decide, history
from ethical_personas.errors import CompanionError
from ethical_personas.figures import style
from ethical_personas.persona import stance_labels


def test_runs_are_in_order_and_each_says_what_it_was():
    past = history.runs()
    assert [r.date for r in past] == sorted(r.date for r in past) and len({r.run for r in past}) == len(past) >= 3
    known = {c.id for c in decide.declared()} | {"C5", "C6"}
    for run in past:
        assert set(run.verdicts) <= known and set(run.verdicts.values()) <= {
            decide.SUPPORTED,
            decide.REFUTED,
            decide.OPEN,
        }
        assert set(run.S) >= {"source", "broad"} and all(0 <= rate <= 1 for rate in run.S.values())


def test_labelled_replies_name_runs_of_the_history_in_its_order():
    names = [run.run for run in history.runs()]
    assert set(stance_labels.RUNS) <= set(names)
    assert [n for n in names if n in stance_labels.RUNS] == [n for n in stance_labels.RUNS if n in names]


def test_the_shipped_first_seed_is_in_the_history_with_its_verdicts():
    shipped = style.read_table("figures/cpu", "claims").set_index("claim")["verdict"].to_dict()
    assert [run.verdicts for run in history.runs() if run.seeds == 1][-1] == shipped


def test_every_run_has_a_row_in_the_table_that_is_written(tmp_path):
    past = history.runs()
    style.save(None, history.recipes(), str(tmp_path), "claims_history_runs")
    table = style.read_table(tmp_path, "claims_history_runs")
    assert list(table.columns[:6]) == ["run", "date", "commit", "recipe", "models", "seeds"]
    assert table["run"].tolist() == [run.run for run in past] and table["date"].tolist() == [str(r.date) for r in past]
    for row, run in zip(table.to_dict("records"), past, strict=True):
        assert (row["commit"], row["recipe"], row["seeds"]) == (run.commit, run.recipe, run.seeds)
        assert {scope: row[f"S_{scope}"] for scope in run.S} == run.S
    # Corrections of entries that are never edited: seen in the table too.
    assert "ten manners" in table.set_index("run").loc["fourth", "note"]
    lines = (tmp_path / "tables" / "claims_history_runs.md").read_text().splitlines()
    assert len(lines) == 2 + len(past)


def test_a_claim_has_a_row_whichever_run_has_it():
    now = pd.DataFrame({"claim": ["C1", "C9"], "verdict": ["not supported", "supported"]})
    table = history.table(now).set_index("claim")
    assert list(table.columns) == [*(r.run for r in history.runs()), history.PRESENT]
    assert table.loc["C9", history.PRESENT] == "supported" and set(table.loc["C9"].drop(history.PRESENT)) == {""}
    assert table.loc["C1", history.PRESENT] == "not supported" and table.loc["C2", history.PRESENT] == ""
    assert table.loc["C2", "first"] == "supported" and table.loc["C2", "third"] == "inconclusive"


def test_what_was_detectable_stands_beside_what_is():
    about = {"margin": [0.1, 0.2], "measured_in": ["rates", "sizes"]}
    verdicts = pd.DataFrame({"claim": ["C1", "C9"], **about})
    units = pd.DataFrame(
        [
            ("C1", "S", 0.2, 0.19, 56, True),
            ("C1", "S", 0.4, 0.18, 50, True),
            ("C1", "O", 0.1, 0.5, 96, False),
            ("C1", "J", float("nan"), 0.9, 10, True),
            ("C9", "match", 0.3, 0.7, float("nan"), True),
        ],
        columns=["claim", "measure", "p", "mde", "n", "in_family"],
    )
    table = history.power(verdicts, units).set_index(["claim", "measure"])
    assert list(table.index) == [("C1", "S"), ("C9", "match")], "neither what is untested nor what stands beside"
    row = table.loc[("C1", "S")]
    assert row[["units", "n", "mde", "mde_third", "margin"]].tolist() == [2, 50, 0.19, 0.1113, 0.1]
    assert (row["measured_in"], row["measured_in_third"]) == ("rates", "rate difference, paired by prompt")
    assert pd.isna(table.loc[("C9", "match"), "mde_third"]) and table.loc[("C9", "match"), "n"] == ""


def test_a_faulty_history_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "data/reference").mkdir(parents=True)
    (tmp_path / "data/reference/history.yaml").write_text("- run: first\n  date: yesterday\n")
    monkeypatch.setattr(history, "ROOT", tmp_path)
    with pytest.raises(CompanionError, match=r"history\.yaml: field 0\.date"):
        history.runs()
