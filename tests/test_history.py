"""The verdicts of earlier runs beside the present one's."""

import pandas as pd
import pytest
from ethical_personas.claims import decide, history
from ethical_personas.errors import CompanionError


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


def test_a_claim_has_a_row_whichever_run_has_it():
    now = pd.DataFrame({"claim": ["C1", "C9"], "verdict": ["not supported", "supported"]})
    table = history.table(now).set_index("claim")
    assert list(table.columns) == [*(r.run for r in history.runs()), history.PRESENT]
    assert table.loc["C9", history.PRESENT] == "supported" and set(table.loc["C9"].drop(history.PRESENT)) == {""}
    assert table.loc["C1", history.PRESENT] == "not supported" and table.loc["C2", history.PRESENT] == ""
    assert table.loc["C2", "first"] == "supported" and table.loc["C2", "third"] == "inconclusive"


def test_a_faulty_history_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference/history.yaml").write_text("- run: first\n  date: yesterday\n")
    monkeypatch.setattr(history, "DATA", tmp_path)
    with pytest.raises(CompanionError, match=r"history\.yaml: field 0\.date"):
        history.runs()
