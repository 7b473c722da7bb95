"""Where Snakemake sends its jobs: this machine or a cluster, whose tools must be there and whose queue must be empty.

`-- --executor slurm` takes profiles/slurm; `-- --workflow-profile profiles/slurm-gpu` names the executor by itself.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT, tool

OWN = ("local", "dryrun", "touch")  # of Snakemake itself; any other is a plug-in
JOBS = "ethical-personas"  # how our jobs' names begin in Slurm's queue
ANSWER = 30  # seconds that Slurm has to answer
END = 90  # seconds that jobs which were cancelled have to end


def option_value(options: list[str], *names: str) -> str:
    """The value of the last of these options in a command line, `--name value` or `--name=value`; else empty."""
    found = ""
    for option, after in zip(options, [*options, ""][1:], strict=True):
        name, given, text = option.partition("=")
        if name in names:
            found = text if given else after
    return found


def with_profile(options: list[str]) -> list[str]:
    """Snakemake's options; an executor that has a folder of its own in profiles/ takes it, unless another is named."""
    name = option_value(options, "--executor", "-e")
    if (
        name not in ("", *OWN)
        and not option_value(options, "--workflow-profile")
        and (ROOT / "profiles" / name).is_dir()
    ):
        options = [*options, "--workflow-profile", f"profiles/{name}"]
    if executor(options) == "slurm" and not option_value(options, "--slurm-jobname-prefix"):
        options = [*options, "--slurm-jobname-prefix", JOBS]
    return options


def executor(options: list[str]) -> str:
    """The executor that options or their workflow profile name; `local` where neither does."""
    if name := option_value(options, "--executor", "-e"):
        return name
    named = option_value(options, "--workflow-profile") or "none"
    for settings in (ROOT / named / "config.yaml", ROOT / "profiles" / named / "config.yaml"):  # as Snakemake looks
        if settings.is_file():
            return (files.read_yaml(settings) or {}).get("executor", "local")
    return "local"


def runs_elsewhere(options: list[str]) -> bool:
    """Whether jobs run on other machines, or as a person's own Snakemake profile says."""
    return bool(option_value(options, "--profile")) or executor(options) not in OWN


def check(options: list[str]) -> None:
    """Raise CompanionError for an executor whose plug-in or whose tools are not installed."""
    name = executor(options)
    if name in OWN:
        return
    module = f"snakemake_executor_plugin_{name.replace('-', '_')}"
    if importlib.util.find_spec(module) is None:
        package = "--no-build-isolation -e '.[slurm]'" if name == "slurm" else module.replace("_", "-")
        raise CompanionError(f"--executor {name}: its plug-in is not installed; {tool('pip')} install {package}")
    if name == "slurm" and not shutil.which("sbatch"):
        raise CompanionError(
            "--executor slurm: there is no sbatch on this machine; start it where the cluster's jobs are submitted, "
            "or leave --executor out and run here"
        )


def end_jobs(options: list[str]) -> bool:
    """End what a killed run of this clone left in Slurm's queue: it would write beside the jobs of this run.

    Call it while this clone's lock is held, so that no other run of it goes on.

    Returns:
        Whether no job can be left: of another cluster's queue nothing is known.

    Raises:
        CompanionError: Slurm does not answer, or the jobs do not end.
    """
    name = executor(options)
    if name != "slurm":
        return name in OWN
    prefix = option_value(options, "--slurm-jobname-prefix") or JOBS
    if left := _queued(prefix):
        print(f"Slurm jobs of a run that was killed are cancelled: {' '.join(left)}", file=sys.stderr)
        _slurm("scancel", *left)
    until = time.monotonic() + END
    while left and time.monotonic() < until:
        time.sleep(1)
        left = _queued(prefix)
    if left:
        raise CompanionError(f"Slurm jobs {' '.join(left)} of a killed run do not end; `scancel` them and run again")
    return True


def _queued(prefix: str) -> list[str]:
    """Ids of this user's waiting and running jobs that were sent from this clone under such a name."""
    lines = (line.split("|", 2) for line in _slurm("squeue", "--me", "--noheader", "--format=%i|%j|%Z").splitlines())
    return [id for id, name, folder in lines if name.startswith(prefix) and Path(folder).resolve() == ROOT.resolve()]


def _slurm(*command: str) -> str:
    """Output of one of Slurm's commands; raises CompanionError with its own words where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER)
        why = "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
    except subprocess.TimeoutExpired:
        why = f"no answer within {ANSWER} seconds"
    if why:
        raise CompanionError(
            f"--executor slurm: {command[0]}: {why}; is slurmctld up, and this machine one of its cluster?"
        )
    return done.stdout
