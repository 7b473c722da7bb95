"""./run_all.sh bench: which scripts it starts, and what the shared pieces of benchmarks/ write."""

import pandas as pd
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.workflow import bench, cli

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def started(monkeypatch):
    """The scripts that were called; the one named `fails` ends with status 3."""
    found = []
    monkeypatch.setattr(
        bench.subprocess, "call", lambda command, cwd: found.append(command[1]) or 3 * ("gen" in command[1])
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return found


def test_every_benchmark_is_a_script_and_they_run_in_order(started, monkeypatch):
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in bench.BENCHMARKS)
    assert cli.main(["bench"]) == 3, "the second one's status"
    assert started == ["benchmarks/training.py", "benchmarks/generation.py"]


def test_scoring_needs_lm_eval_and_is_left_out_without(started, monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["bench", "--", "scoring", "table"]) == 0
    assert started == ["benchmarks/table.py"] and "lm_eval is not installed" in capsys.readouterr().err


def test_an_unknown_benchmark_starts_nothing(started):
    with pytest.raises(CompanionError, match="bench: wheel: no such benchmark; there are training"):
        cli.main(["bench", "--", "training", "wheel"])
    assert not started


def test_a_side_works_in_a_process_of_its_own_and_a_row_has_median_and_spread(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure

    kept = []

    def side():
        kept.append(1)
        with measure.Clock() as clock:
            sum(range(10**6))
        return clock.done(7, "said")

    done = measure.apart(side)
    assert not kept and done.result == "said" and done.tokens == 7
    assert done.seconds > 0 and done.wall > 0 and done.peak > 10
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results.csv")
    runs = {"a": [2, 4], "b": [4, 16]}
    found = {name: [measure.Done(s, s, 8, None, 5) for s in seconds] for name, seconds in runs.items()}
    measure.record("x", found, "equal")
    measure.record("x", found, "equal")
    table = pd.read_csv(tmp_path / "results.csv")
    assert table[["ratio", "ratio_low", "ratio_high"]].values.tolist() == [[3, 2, 4]] * 2
    assert table["ours_tokens_per_second"].tolist() == [3, 3]


def test_a_side_that_fails_stops_the_benchmark_and_is_shown(monkeypatch, capfd):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure

    def side():
        print("at row 12")
        raise ValueError("no such row")

    with pytest.raises(RuntimeError, match="a side of the benchmark failed"):
        measure.apart(side)
    assert "at row 12" in (told := capfd.readouterr().err) and "no such row" in told
