"""./run_all.sh bench: which scripts it starts, and what the shared pieces of benchmarks/ write."""

import importlib
import subprocess
import sys

import pandas as pd
import pytest
import torch
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials
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


@pytest.fixture
def script(monkeypatch):
    """A script of benchmarks/, imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


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


def test_a_side_works_in_a_process_of_its_own_and_a_row_has_median_and_spread(tmp_path, monkeypatch, script):
    measure = script("measure")
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
    found = {name: [measure.Done(1, s, 8) for s in seconds] for name, seconds in runs.items()}
    measure.record("y", found, "equal", of="wall")
    assert pd.read_csv(tmp_path / "results.csv")["ratio"].tolist() == [3, 3, 3]


def test_a_side_whose_work_is_another_processs_says_its_own_peak(script):
    measure = script("measure")
    assert measure.apart(lambda: measure.Done(1, 1, 1, peak=7)).peak == 7


def test_a_side_that_fails_stops_the_benchmark_and_is_shown(script, capfd):
    measure = script("measure")

    def side():
        print("at row 12")
        raise ValueError("no such row")

    with pytest.raises(RuntimeError, match="a side of the benchmark failed"):
        measure.apart(side)
    assert "at row 12" in (told := capfd.readouterr().err) and "no such row" in told


def test_the_whole_run_is_timed_only_where_it_is_named(started):
    assert not set(bench.LONG) & set(bench.BENCHMARKS)
    assert cli.main(["bench", "--", "whole"]) == 0
    assert started == ["benchmarks/whole.py"] and (ROOT / started[0]).is_file()


def row(step: str, ratios: list[float], **made) -> dict:
    """A row of results.csv: a pair for each ratio."""
    found = {"step": step, "ours": "companion", "against": "lm_eval", "ratio": sum(ratios) / len(ratios)}
    found |= {"ratio_low": min(ratios), "ratio_high": max(ratios), "ours_seconds": " ".join("1.00" for _ in ratios)}
    found |= {f"{side}_{what}": 5 for side in ("ours", "against") for what in ("tokens_per_second", "peak_mib")}
    found |= {"load": 0.1, "agreement": "equal", "machine": "m", "instruction_set": "i", "threads": 1, "versions": "v"}
    return found | {"date": "2026-01-01"} | made


def test_rows_have_the_footer_of_their_own_machine_and_day(script):
    table = script("table")
    rows = [row("training", [1]), row("scores, x", [2, 3], date="2026-01-02"), row("scores, y", [1, 3])]
    first, second = table.results(pd.DataFrame([*rows, row("training", [7.5])])).split("\n| step")
    assert "2026-01-02" in first and "scores, x" in first and "2026-01-01" not in first
    assert "2026-01-01" in second and "scores, y" in second and "7.5" in second and "scores, x" not in second
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[4:6] for line in (first + second).splitlines()}
    assert cells["training"] == ["one pair", "–"]
    assert cells["scores, x"] == ["2.00 to 3.00", "2: reached"]
    assert cells["scores, y"] == ["1.00 to 3.00", "2: not reached"]


def test_a_table_stands_between_its_marks_and_nothing_else_changes(script):
    table = script("table")
    page = "a\n<!-- time -->\nold\n<!-- time -->\nb\n"
    assert table.placed(page, {"time": "new\n"}) == page.replace("old", "new")
    with pytest.raises(ValueError, match="<!-- growth --> must stand before and after"):
        table.placed(page, {"growth": "new\n"})


def test_shares_of_time_are_of_a_steps_own_seconds(script):
    made = {"machine": "m", "instruction_set": "i", "threads": 1, "load": 9, "versions": "v", "date": "d"}
    page = pd.DataFrame([{"step": "s", "way": "w", "when": "after", "copies": 1.0, "loss": 3.0} | made])
    assert "| s | after: w | 4.0 | 25% | 75% |" in script("table").time(page)


def test_a_run_grows_with_cells_and_seeds_from_its_constant(script):
    stages = {"01_generate": (2, 20), "02_finetune": (4, 400), "03_evaluate": (5, 1000)}
    record = {"stages": {n: {"jobs": jobs, "wall_seconds": s} for n, (jobs, s) in stages.items()}}
    record |= {"parameters": {"seeds": [0, 1]}, "commit": "0" * 40, "machine": {"processor": "p", "cores": 2}}
    told = script("table").growth(record)
    assert "own (01 and the source's evaluation) 220 s, and for each cell 300 s" in told
    assert "A seed has 2 cells, so 2 x 300 s = 0.2 hours of one core or 0.1 of two" in told


def test_operations_are_counted_with_the_backward_pass_that_runs(script):
    ceilings = script("ceilings")
    layers = torch.nn.Sequential(*(torch.nn.Linear(8, 8, bias=False) for _ in range(3)))
    layers[0].weight.requires_grad_(False)
    layers[2].weight.requires_grad_(False)
    once = 2 * 8 * 8 * 5  # a product of 8 x 8 weights with five tokens
    with ceilings.counted() as work:
        layers(torch.ones(5, 8))
    # Frozen with nothing to learn below; its own weights alone; frozen, but for the one below.
    assert work["flop"] == once * (1 + 2 + 2) and work["bytes"] == 3 * 8 * 8 * 4
    with ceilings.counted() as work, torch.inference_mode():
        layers(torch.ones(1, 5, 8))
    assert work["flop"] == 3 * once


def test_as_many_prompts_as_are_named_and_of_every_category(script):
    generation = script("generation")
    category = {p.prompt: p.category for p in materials.prompts("eval")}
    assert len(generation.PROMPTS) == 96 and len(set(generation.PROMPTS)) == 96
    assert {category[p] for p in generation.PROMPTS} == set(category.values())


def test_two_whole_runs_must_leave_the_same_rows_steps_and_files(script):
    whole = script("whole")
    first = {"rows": {"a": ["x", "y"]}, "steps": {"c": 3}, "losses": {"c": 1.0}, "files": ["f"]}
    first |= {"tables": {"t": 4, "u": 5}, "verdicts": {"C1": "supported"}}
    second = first | {"losses": {"c": 1.1}, "tables": {"t": 4, "u": 6}}
    told = whole.agreement(first, second)
    assert "the same 2 rows, 3 steps and 1 files; mean losses at most 9.1% apart; 1 of 2 tables" in told
    for other in ({"rows": {"a": ["x"]}}, {"steps": {"c": 2}}, {"files": []}, {"losses": {"c": 2.0}}):
        with pytest.raises(SystemExit, match="whole: "):
            whole.agreement(first, first | other)


def test_the_plain_side_does_every_job_of_the_graph_in_an_order_that_works(script):
    whole = script("whole")
    names = [" ".join(command[2:]) for command in whole.plain_notebooks()]
    cells = grid.cells(whole.P.constitutions, whole.P.scopes, whole.P.seeds, whole.P.controls)
    trained = [n for n in names if "02_finetune" in n]
    assert len(trained) == len(cells) == len([n for n in names if "03_evaluate" in n]) - 1
    kinds = ["source_answers", "01_gen", "control_rows", "02_fine", "03_eval", "04_", "05_", "06_", "words", "summary"]
    order = [next(i for i, kind in enumerate(kinds) if kind in n.partition("{")[0]) for n in names]
    assert order == sorted(order) and set(order) == set(range(len(kinds)))


@pytest.mark.long
def test_the_plain_side_has_none_of_the_fast_paths(script, tiny):
    """In a process of its own, as papermill's kernels start: what a module binds by name is changed, too."""
    code = f"""if True:
        from ethical_personas.evaluate import served
        from ethical_personas.finetune import lora
        from ethical_personas.models import chats, decode, lower_states
        chat = chats.load("path:{tiny}", dtype="float32")
        made, seen = chat.model.generate, []
        chat.model.generate = lambda **given: seen.append(len(given["input_ids"])) or made(**given)
        found = served.local_answers(chat, ["help " * (1 + i % 3) for i in range(9)], 2, 64, 1.1, label="x")
        print(lower_states.open_states(chat.model, None, source=True), lora.lower_half.build(chat.model, [[3]]))
        print(any(w.requires_grad for w in chat.model.parameters()), seen, len(found))
    """
    env = script("whole").surroundings(ROOT, plain=True)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["None None", "False [8, 1] 9"], done.stderr
