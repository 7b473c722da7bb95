"""Where jobs run: executors that are not there are one line, and a killed run's jobs do not go on beside the next's."""

import re

import pandas as pd
import pytest
import yaml
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import cli, estimate, executors

BY_NAME = [["--executor", "slurm"], ["--executor=slurm"], ["-e", "slurm"]]
BY_PROFILE = [
    ["--workflow-profile", "profiles/slurm-gpu"],
    ["--workflow-profile=profiles/slurm"],
    ["--workflow-profile", "slurm"],
]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Slurm's commands as shell scripts, found before any others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    def tool(name: str, script: str):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        return tmp_path

    return tool


@pytest.mark.parametrize("options", [*BY_NAME, *BY_PROFILE])
def test_an_executor_whose_plug_in_is_not_installed_is_one_line(options, monkeypatch):
    monkeypatch.setattr(executors.importlib.util, "find_spec", lambda module: None)
    monkeypatch.setattr(cli.check, "check_all", lambda profile: None)
    with pytest.raises(
        CompanionError, match=r"--executor slurm: its plug-in .*pip install --no-build-isolation -e '\.\[slurm\]'"
    ) as error:
        cli.main(["figures", "--profile", "smoke", "--", *options])
    assert "\n" not in str(error.value)


def test_another_plug_in_is_named_as_its_package():
    with pytest.raises(CompanionError, match=r"pip install snakemake-executor-plugin-no-such"):
        executors.check(["--executor", "no-such"])


@pytest.mark.parametrize("options", [*BY_NAME, *BY_PROFILE])
def test_a_slurm_that_is_not_there_is_one_line(options, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(executors.importlib.util, "find_spec", lambda module: module)
    monkeypatch.setattr(cli.check, "check_all", lambda profile: None)
    with pytest.raises(CompanionError, match="there is no sbatch on this machine") as error:
        cli.main(["figures", "--profile", "smoke", "--", *options])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
            "Unable to contact slurm contr",
        ),
        ("exit 3", "exit status 3"),
        ("sleep 9", "no answer within 0.2 seconds"),
    ],
)
def test_a_slurm_that_does_not_answer_is_one_line(tools, monkeypatch, script, told):
    monkeypatch.setattr(executors, "ANSWER", 0.2 if "sleep" in script else 30)
    tools("squeue", f"exec {script}" if "sleep" in script else script)
    with pytest.raises(CompanionError, match=told) as error:
        executors.end_jobs(executors.with_profile(["--executor", "slurm"]))
    assert "\n" not in str(error.value)


def test_only_jobs_of_this_clone_and_of_our_name_are_ended(tools, capsys):
    listed = f"1|ethical-personas_a|{ROOT}\n2|ethical-personas_b|/another/clone\n3|run_all.sh|{ROOT}\n"
    place = tools("squeue", 'cat "$(dirname "$0")/queue"')
    tools("scancel", f'echo "$@" > {place}/cancelled; : > {place}/queue')
    (place / "queue").write_text(listed)
    options = executors.with_profile(["--executor", "slurm"])
    assert executors.end_jobs(options)
    assert (place / "cancelled").read_text() == "1\n" and "cancelled: 1\n" in capsys.readouterr().err
    (place / "cancelled").unlink()
    assert executors.end_jobs(options) and not (place / "cancelled").exists(), "an empty queue is left alone"


def test_jobs_that_do_not_end_stop_the_run(tools, monkeypatch):
    monkeypatch.setattr(executors, "END", 0)
    tools("squeue", f"echo '7|ethical-personas_a|{ROOT}'")
    tools("scancel", "true")
    with pytest.raises(CompanionError, match="jobs 7 of a killed run do not end"):
        executors.end_jobs(executors.with_profile(["--executor", "slurm"]))


def test_of_another_queue_nothing_is_known_and_here_nothing_is_left():
    assert executors.end_jobs([]) and executors.end_jobs(["--executor", "local"])
    assert not executors.end_jobs(["--executor", "lsf"])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], []),
        (["--executor", "local"], []),
        (["--executor", "lsf"], []),
        (["-e", "slurm"], ["--workflow-profile", "profiles/slurm", "--slurm-jobname-prefix", "ethical-personas"]),
        (["-e", "slurm", "--workflow-profile", "mine"], ["--slurm-jobname-prefix", "ethical-personas"]),
        (["--workflow-profile", "profiles/slurm-gpu"], ["--slurm-jobname-prefix", "ethical-personas"]),
        (["-e", "slurm", "--slurm-jobname-prefix=a"], ["--workflow-profile", "profiles/slurm"]),
    ],
)
def test_an_executor_takes_its_folder_of_profiles(options, wanted):
    assert executors.with_profile(options) == [*options, *wanted]


@pytest.mark.parametrize(("options", "away"), [([], False), (["-e", "local"], False), (["-e", "lsf"], True)])
def test_cores_and_limits_are_this_machines_only_where_jobs_run_on_it(options, away):
    command = cli._command(ROOT / "config.json", 0 if away else 100, 0, options)
    assert ("--cores" not in command) is away is executors.runs_elsewhere(options)
    assert ("--resources" not in command) is away
    assert executors.runs_elsewhere(["--profile", "mine"])


@pytest.mark.parametrize("name", ["slurm", "slurm-gpu"])
def test_every_rule_has_its_resources_on_a_cluster(name):
    given = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    declared = {
        line.split()[1].rstrip(":") for line in (ROOT / "Snakefile").read_text().splitlines() if "rule " in line[:9]
    }
    assert set(given["set-resources"]) == declared - {"all"} and given["executor"] == "slurm"
    assert all("attempt" in rule["runtime"] for rule in given["set-resources"].values())
    on_card = {rule for rule, wanted in given["set-resources"].items() if wanted.get("gpu")}
    model = {"source_model", "harmless", "generate", "finetune", "evaluate", "evaluate_checkpoint"}
    assert on_card == (model if name == "slurm-gpu" else set())


# The work of one job of a rule, as the estimate calls it; teacher, judge and analysis have no rates.
WORK = {
    "source_model": ["helpful-only source"],
    "harmless": ["source answers"],
    "generate": ["first answers, criticised later", "the local teacher's rounds"],
    "finetune": ["training"],
    "evaluate": ["answers to prompts and items", "statements scored", "dilemmas scored"],
    "evaluate_checkpoint": ["answers of checkpoints"],
}
SPARE = 1.5  # a runtime's least multiple of a job's minutes: start-up, slower cards


def rates_of(model: str | None) -> pd.Series:
    """Measured rates by kind of work: of a small model on a processor, or of the paper's size on a card."""
    if model is None:
        return pd.read_csv(estimate.RATES).drop_duplicates("what", keep="last").set_index("what")["rate"]
    small = pd.read_csv(estimate.RATES_PROCESSOR)
    return small[small["model"] == model].set_index("what")["rate"]


def minutes(profile: str, rates: pd.Series) -> dict[str, float]:
    """Minutes that a job of each rule takes; an instruction set of a hub is as large as docs/scale.md says."""
    p = profiles.load(profile)
    loads = {load.what: load for load in estimate.loads(p)}
    if p.source_data.startswith("hf:"):
        page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
        rows, tokens = re.search(r"for ([\d,]+) rows of about (\d+) tokens", page).groups()
        amount = p.epochs * int(rows.replace(",", "")) * int(tokens)
        loads["helpful-only source"] = estimate.Load("helpful-only source", 1, amount, "training")
    found = {}
    for rule, names in WORK.items():
        parts = [loads[name] for name in names if name in loads and loads[name].rate in rates]
        found[rule] = sum(load.amount / max(1, load.jobs) / rates[load.rate] / 60 for load in parts)
    return found


@pytest.mark.parametrize(
    ("cluster", "profile", "model"),
    [
        ("slurm-gpu", "paper", None),
        ("slurm", "cpu", "SmolLM2-135M"),
        ("slurm", "ladder-270m", "Gemma 3 270M"),
        ("slurm", "ladder-500m", "Qwen2.5-Coder-0.5B"),
    ],
)
def test_a_rules_time_is_enough_for_its_job_at_the_measured_rates(cluster, profile, model):
    given = yaml.safe_load((ROOT / f"profiles/{cluster}/config.yaml").read_text())["set-resources"]
    allowed = {rule: int(wanted["runtime"].partition(" * attempt")[0]) for rule, wanted in given.items()}
    needed = minutes(profile, rates_of(model))
    assert needed["finetune"] > 1 and needed["evaluate"] > 1 and (needed["source_model"] > 1) == (profile != "cpu")
    short = {rule: (allowed[rule], taken) for rule, taken in needed.items() if SPARE * taken > allowed[rule]}
    assert not short


def test_the_extra_is_pinned_and_in_no_lock():
    assert "snakemake-executor-plugin-slurm==" in (ROOT / "pyproject.toml").read_text()
    assert not [lock for lock in ROOT.glob("*.lock") if "executor-plugin-slurm" in lock.read_text()]
