"""The six notebooks on the real model, through the command a user types, under the smoke profile."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ethical_personas import files
from ethical_personas.claims import history
from ethical_personas.evaluate import ask
from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, rows
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import outputs

pytestmark = pytest.mark.timeout(2700)  # without a fast bfloat16 the run takes twenty minutes


def call(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(ROOT / "run_all.sh"), *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def smoke():
    for place in (p for part in ("runs", "figures") for p in (ROOT / part).glob("smoke*")):
        shutil.rmtree(place)
    done = call("--profile", "smoke")
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_every_stage_wrote_rows_that_read_back(smoke):
    p, run = profiles.load("smoke"), Run("runs/smoke", "smoke")
    for constitution in p.constitutions:
        assert files.read(run.path(run.sft(constitution)), rows.SftRow)
    for model in [grid.SOURCE, *(c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls))]:
        found = files.read(run.path(run.evaluation(model, "responses")), rows.Response)
        assert {r.id for r in found} == {x.id for x in ask.prompts(p.eval_per_category)}
        assert {r.model for r in found} == {model}
        assert sum(bool(r.response) for r in found) > 0.8 * len(found)


def test_training_changed_the_answers(smoke):
    run = Run("runs/smoke", "smoke")
    source, tuned = (
        [r.response for r in files.read(run.path(run.evaluation(m, "responses")), rows.Response)]
        for m in (grid.SOURCE, "deontology-broad-s0")
    )
    assert sum(a != b for a, b in zip(source, tuned, strict=True)) > len(source) / 4


def test_tuned_models_took_the_lower_half_of_the_layers_from_the_source(smoke):
    told = {
        p.stem.partition("-")[2]: json.loads(p.read_text())
        for p in Run("runs/smoke", "smoke").path("provenance").glob("03_*")
    }
    assert told.pop(grid.SOURCE)["shared"].startswith("lower half of the layers kept")
    assert any(
        record["shared"].startswith("lower half of the layers taken from the source") for record in told.values()
    )


def test_figures_stand_beside_their_tables(smoke):
    pictures = {p.stem for p in (ROOT / "figures/smoke").glob("*.png")}
    tables = {p.stem for p in (ROOT / "figures/smoke/tables").glob("*.csv")}
    assert {"safety_heatmap", "words_deontology"} <= pictures <= tables
    assert not style.read_table("figures/smoke", "scopes").empty


def test_earlier_runs_and_other_analyses_have_their_tables(smoke):
    earlier = style.read_table("figures/smoke", "claims_history_runs")
    assert earlier["run"].tolist() == [run.run for run in history.runs()]
    beside = style.read_table("figures/smoke", "claims_specifications").set_index("claim").loc["C6c"]
    # The plain arm is in the run, whichever judge reads it.
    assert set(beside["judge"]) == {"bundled", "keyword"} and not beside["why"].str.contains("no plain model").any()


def test_verdicts_are_computed_and_printed(smoke):
    claims = json.loads((ROOT / "figures/smoke/claims.json").read_text())["claims"]
    assert {c["claim"][:2] for c in claims} >= {"C1", "C2", "C3", "C4", "C5"}
    assert {c["verdict"] for c in claims} <= {"supported", "not supported", "inconclusive"}
    assert "Summary of the smoke run" in smoke.stdout


def test_a_second_call_finds_everything_up_to_date(smoke):
    again = call("--profile", "smoke")
    assert again.returncode == 0 and "up to date" in again.stderr


def test_a_touched_input_reruns_nothing(smoke):
    for path in (ROOT / "data/prompts/harmful.jsonl", ROOT / "runs/smoke/sft/deontology.jsonl"):
        path.touch()
    assert "up to date" in call("--profile", "smoke").stderr


def state():
    """Every file of the smoke run and its figures, with the time of its last change."""
    places = [ROOT / "runs/smoke", ROOT / "figures/smoke"]
    return {p: p.stat().st_mtime_ns for place in places for p in place.rglob("*") if p.is_file()}


def test_a_run_leaves_the_files_that_the_graph_lists(smoke):
    made = {str(p.relative_to(ROOT)) for p in (ROOT / "figures/smoke").rglob("*") if p.is_file()}
    assert made == set(outputs.list_all_files("figures/smoke", profiles.load("smoke").constitutions))


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("words_virtue.svg", "words"),
        pytest.param("tables/principles_virtue.md", "words", marks=pytest.mark.slow),
        ("safety_dose.png", "emergent_alignment"),
        pytest.param("tables/persona_top_items.csv", "persona", marks=pytest.mark.slow),
        ("tables/claims_units.md", "projectability"),
        ("provenance.json", "summary"),
    ],
)
def test_any_file_that_is_gone_is_made_again_and_trains_nothing(smoke, file, rule):
    path = ROOT / "figures/smoke" / file.replace("virtue", "deontology")
    whole, when = path.read_bytes(), path.stat()
    path.unlink()
    try:
        call("--profile", "smoke", "--", "--dry-run")
        plan = (ROOT / "runs/smoke/snakemake.log").read_text()
        planned = {line.split()[0] for line in plan.splitlines() if line[:1].isalpha() and line.split()[-1].isdigit()}
        assert rule in planned and not {"harmless", "generate", "finetune", "evaluate"} & planned
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))


def test_other_parameters_make_a_run_of_their_own(smoke):
    before = state()
    call("--profile", "smoke", "-p", "learning_rate", "3e-3", "--", "--dry-run")
    plan = (ROOT / "runs/smoke-learning_rate-0.003/snakemake.log").read_text()
    assert "output: runs/smoke-learning_rate-0.003/adapters/deontology-broad-s0" in plan
    assert state() == before


def test_another_judge_retrains_nothing_and_leaves_the_profiles_figures(smoke):
    before = state()
    done = call("figures", "--profile", "smoke", "-p", "judge", "keyword")
    assert done.returncode == 0, done.stderr[-2000:]
    plan = (ROOT / "runs/smoke-judge-keyword/snakemake.log").read_text()
    assert "rule finetune" not in plan and "rule evaluate" not in plan
    rates = [style.read_table(f"figures/{name}", "scopes") for name in ("smoke", "smoke-judge-keyword")]
    assert not rates[0].equals(rates[1]) and state() == before


def test_a_report_holds_the_figures(smoke, tmp_path):
    done = call("--profile", "smoke", "--", "--report", str(tmp_path / "report.zip"))
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"report.html", "safety_heatmap.svg", "projectability.csv", "05_persona.ipynb"} <= names
