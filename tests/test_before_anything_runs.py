"""Bad input stops with one line and exit status 2, and nothing is written."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.paths import DATA, ROOT
from ethical_personas.study import materials, parameters
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check, code_hash


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "cpuu"], "did you mean 'cpu'"),
        (["-p", "learning_rte", "1"], "did you mean 'learning_rate'"),
        (["-p", "learning_rate", "fast"], "field learning_rate"),
        (["-p", "seed", "1"], "belongs to one job"),
        (["-p", "scopes", "[narrow]"], "field scopes"),
        (["-p", "constitutions", "[kantian]"], "'kantian' unknown"),
        (["-p", "constitutions", "[virtue, virtue]"], "appears twice"),
        (["-p", "judge", "oracle"], "field judge"),
        (["-p", "epochs", "1", "-p", "epochs", "2"], "given twice"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(untouched, arguments, told):
    status, _, line = untouched(*arguments)
    assert status == 2
    assert told in line and line.startswith("error: ") and line.count("\n") == 1


@pytest.mark.parametrize("name", [p.stem for p in profiles.PROFILES.glob("*.yaml")])
def test_every_profile_loads_and_its_data_is_in_order(name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    given = {"teacher": "bundled"}
    if profiles.load(name).base_model.startswith("path:"):  # a file that a clone does not bring
        given["base_model"] = profiles.load("cpu").base_model
    check.check_all(profiles.load(name, given))


def test_a_judge_behind_an_api_needs_a_name(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    with pytest.raises(CompanionError, match="field judge_model: judge api needs one; -p judge_model NAME"):
        check.check_all(profiles.load("cpu", {"judge": "api", "judge_model": ""}))


@pytest.mark.parametrize("notebook", profiles.NOTEBOOKS)
def test_notebook_defaults_are_the_cpu_profiles(notebook):
    cpu = profiles.load("cpu")
    own = {k: v for k, v in parameters.declared(notebook).items() if k not in profiles.JOB_PARAMETERS}
    assert own == {k: getattr(cpu, k) for k in own}


def test_a_mistyped_papermill_parameter_stops_the_notebook():
    injected = "# Parameters\nlearning_rte = 1e-4\n"
    variables = dict(parameters.declared("02_finetune"), learning_rte=1e-4, In=["", injected])
    with pytest.raises(CompanionError, match=r"learning_rte.*did you mean 'learning_rate'"):
        parameters.check("02_finetune", variables)


@pytest.fixture
def data(tmp_path, monkeypatch):
    shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("reference"))
    monkeypatch.setattr(materials, "DATA", tmp_path / "data")
    return tmp_path / "data"


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_evaluation_prompt_in_training_is_refused(data):
    taken = materials.prompts("eval", "illegal")[0].prompt
    change(data / "prompts/harmful.jsonl", materials.prompts("train", "illegal")[0].prompt, taken + " Please.")
    with pytest.raises(CompanionError, match="nearly training prompt"):
        check.check_all(profiles.load("cpu"))


def test_a_constitution_without_critiques_is_refused_and_one_with_fewer_principles_is_not(data):
    path = data / "constitutions/virtue.yaml"
    document = files.read_yaml(path)
    document["principles"] = document["principles"][:3]
    path.write_text(yaml.safe_dump(document))
    assert len(materials.constitution("virtue").principles) == 3
    del document["principles"][1]["critique"]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(CompanionError, match=r"virtue.yaml: field principles.1.critique"):
        materials.constitution("virtue")


def test_malformed_yaml_names_file_and_line(data):
    (data / "constitutions/virtue.yaml").write_text("id: virtue\ntitle: [broken\nsummary: x\n")
    with pytest.raises(CompanionError, match=r"virtue.yaml:\d"):
        materials.constitution("virtue")


def test_prose_does_not_rerun_and_code_does(tmp_path, monkeypatch):
    for part in ("lib", "notebooks"):
        shutil.copytree(ROOT / part, tmp_path / part)
    monkeypatch.setattr(code_hash, "ROOT", tmp_path)
    monkeypatch.setattr(code_hash, "LIB", tmp_path / "lib")

    def version():
        for cached in (code_hash._module, code_hash._reachable):
            cached.cache_clear()
        return code_hash.version("02_finetune")

    before = version()
    lora = tmp_path / "lib/ethical_personas/finetune/lora.py"
    change(
        lora,
        '"""LoRA fine-tuning',
        '# A remark.\n"""Other words: LoRA fine-tuning',
    )
    change(tmp_path / "notebooks/02_finetune.py", "# # 02", "# # Chapter 02")
    assert version() == before
    change(lora, "weight_decay=0.0", "weight_decay=0.1")
    after = version()
    assert after != before
    monkeypatch.undo()
    version()


@pytest.mark.parametrize("target", ["all", "figures"])
def test_a_fresh_clone_does_not_take_the_committed_figures_for_its_own(target, tmp_path):
    apart = shutil.ignore_patterns(".venv", "runs", ".snakemake", ".git", "tests", "__pycache__")
    clone = shutil.copytree(ROOT, tmp_path / "clone", ignore=apart)
    done = subprocess.run(
        [sys.executable, "-m", "ethical_personas.workflow.cli", target, "--", "--dry-run"],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone / "lib")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    plan = (clone / "runs/cpu/snakemake.log").read_text()
    assert all(f"rule {rule}:" in plan for rule in ("emergent_alignment", "persona", "projectability", "summary"))
    assert ("rule finetune:" in plan) == (target == "all")
