"""The six notebooks on the real model, through the command a user types, under the smoke profile."""

import json
import shutil
import subprocess
import time

import pytest
from ethical_personas import files
from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, rows
from ethical_personas.study import profile as profiles

pytestmark = pytest.mark.timeout(900)


def call(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(ROOT / "run_all.sh"), *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def smoke():
    for place in ("runs/smoke", "figures/smoke"):
        shutil.rmtree(ROOT / place, ignore_errors=True)
    done = call("--profile", "smoke")
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_every_stage_wrote_rows_that_read_back(smoke):
    p, run = profiles.load("smoke"), Run("runs/smoke", "smoke")
    for constitution in p.constitutions:
        assert files.read(run.path(run.sft(constitution)), rows.SftRow)
    for model in [grid.SOURCE, *(c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds))]:
        found = files.read(run.path(run.evaluation(model, "responses")), rows.Response)
        assert len(found) == 8 * p.eval_per_category
        assert {r.model for r in found} == {model}
        assert sum(bool(r.response) for r in found) > 0.8 * len(found)


def test_training_changed_the_answers(smoke):
    run = Run("runs/smoke", "smoke")
    source, tuned = (
        [r.response for r in files.read(run.path(run.evaluation(m, "responses")), rows.Response)]
        for m in (grid.SOURCE, "deontology-broad-s0")
    )
    assert sum(a != b for a, b in zip(source, tuned, strict=True)) > len(source) / 4


def test_figures_stand_beside_their_tables(smoke):
    pictures = {p.stem for p in (ROOT / "figures/smoke").glob("*.png")}
    tables = {p.stem for p in (ROOT / "figures/smoke/tables").glob("*.csv")}
    assert {"safety_heatmap", "words_deontology"} <= pictures <= tables
    assert not style.read_table("figures/smoke", "scopes").empty


def test_verdicts_are_computed_and_printed(smoke):
    claims = json.loads((ROOT / "figures/smoke/claims.json").read_text())["claims"]
    assert {c["claim"][:2] for c in claims} >= {"C1", "C2", "C3", "C4", "C5"}
    assert {c["verdict"] for c in claims} <= {"supported", "not supported", "inconclusive"}
    assert "Summary of the smoke run" in smoke.stdout


def test_a_second_call_finds_everything_up_to_date(smoke):
    began = time.monotonic()
    again = call("--profile", "smoke")
    assert again.returncode == 0 and "up to date" in again.stderr
    assert time.monotonic() - began < 30


def test_a_touched_input_reruns_nothing(smoke):
    for path in (ROOT / "data/prompts/harmful.jsonl", ROOT / "runs/smoke/sft/deontology.jsonl"):
        path.touch()
    assert "up to date" in call("--profile", "smoke").stderr


def test_another_learning_rate_is_a_run_of_its_own(smoke):
    before = (ROOT / "runs/smoke/snakemake.log").read_bytes()
    call("--profile", "smoke", "-p", "learning_rate", "3e-3", "--", "--dry-run")
    plan = (ROOT / "runs/smoke-learning_rate-0.003/snakemake.log").read_text()
    planned = {line.split()[0] for line in plan.splitlines() if line[:1].isalpha() and line.split()[-1].isdigit()}
    assert {"finetune", "evaluate", "emergent_alignment", "persona", "projectability"} <= planned
    assert (ROOT / "runs/smoke/snakemake.log").read_bytes() == before


def test_another_judge_retrains_nothing(smoke):
    claims = (ROOT / "figures/smoke/claims.json").read_bytes()
    done = call("figures", "--profile", "smoke", "-p", "judge", "keyword")
    assert done.returncode == 0, done.stderr[-2000:]
    run = ROOT / "runs/smoke-judge-keyword"
    plan = (run / "snakemake.log").read_text()
    assert "rule finetune" not in plan and "rule evaluate" not in plan
    assert set((run / "judgements/keyword").glob("*.jsonl"))
    assert (ROOT / "figures/smoke-judge-keyword/claims.json").is_file()
    assert (ROOT / "figures/smoke/claims.json").read_bytes() == claims
