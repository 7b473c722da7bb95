"""The command line behind ./run_all.sh: check everything first, then hand over to Snakemake.

./run_all.sh [target] [--profile NAME] [-p KEY VALUE]... [--name NAME] [-- options]      `help` lists the targets
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ethical_personas import locks
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import set_files
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT, short
from ethical_personas.run import Run
from ethical_personas.study import inputs, parameters
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import ahead, bench, check, disk, executors, memory, names, probe, settings
from ethical_personas.workflow.progress import Progress

TARGETS = {
    "all": "everything: data, models, evaluation, figures (the default)",
    "figures": "only 04-06, from this clone's run or else from the shipped responses",
    "test": "the tests; --slow adds the long fault tests, --fast leaves out what takes long",
    "bench": "the heavy steps against other tools, about 15 minutes (benchmarks/README.md); `-- scoring` for one",
    "lab": "JupyterLab on the notebooks",
    "publish": "a finished run as a folder for others, --to FOLDER: adapters, data, cards; uploads nothing",
    "check": "check profile, data, disk, card and endpoints, say what a run takes; runs and spends nothing",
}
SCRIPT = {  # run_all.sh does these itself
    "lint": "ruff, snakefmt, mypy on lib/, notebooks equal to their pairs",
    "lock": "make the lock files again from pyproject.toml, with uv",
}


class _Parser(argparse.ArgumentParser):
    """argparse, its errors like ours: one line."""

    def error(self, message: str):
        raise CompanionError(f"{message}; ./run_all.sh help says more")


def arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line; what follows `--` is for Snakemake (or pytest)."""
    at = argv.index("--") if "--" in argv else len(argv)
    ours, rest = argv[:at], argv[at + 1 :]
    listing = "\n".join(f"  {name:8} {what}" for name, what in (TARGETS | SCRIPT).items())
    parser = _Parser(
        prog="./run_all.sh", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"targets:\n{listing}"
    )
    parser.add_argument("target", nargs="?", default="all", choices=[*TARGETS, "help"], metavar="target")
    parser.add_argument("--profile", default="cpu", help="a file of profiles/ (default: cpu)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="override one")
    parser.add_argument("--name", help="of a run with overrides: runs/NAME, figures/NAME (default: made from them)")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="with publish: the folder to write, new or empty")
    parser.add_argument("--slow", action="store_true", help="with test: the long fault tests too")
    parser.add_argument("--fast", action="store_true", help="with test: only what needs no real model, server or run")
    found = parser.parse_args(ours)
    if found.target == "help":
        parser.print_help()
        sys.exit(0)
    return found, rest


def _has(options: list[str], *names: str) -> bool:
    return bool(set(names) & {o.split("=")[0] for o in options})


def _command(config: Path, most: int, card: int, options: list[str]) -> list[str]:
    """Snakemake's command line: our defaults, unless the user gave their own after `--`.

    most, card: MiB of memory, and of a CUDA card's (0: no limit).
    """
    command, limits = ["snakemake"], {"mem_mb": most, "card_mb": card}
    # First, because it takes all words up to the next option: right before the user's it would take their targets.
    if any(limits.values()) and not _has(options, "--resources", "--res"):
        command += ["--resources", *(f"{name}={mib}" for name, mib in limits.items() if mib)]
    command += ["--snakefile", "Snakefile", "--rerun-incomplete", "--nolock"]
    # Large enough for every input: a touched but equal file reruns nothing.
    command += ["--max-checksum-file-size", "2GB", "--printshellcmds"]
    if not _has(options, "--workflow-profile"):
        command += ["--workflow-profile", "none"]  # profiles/ holds ours, not Snakemake's
    if not executors.runs_elsewhere(options) and not _has(options, "--cores", "-c", "--jobs", "-j"):
        command += ["--cores", "all"]
    return [*command, *options, "--configfile", str(config)]


def _tests(slow: bool, fast: bool, options: list[str]) -> list[str]:
    """pytest's command line. Two processes for all tests, whose runs fill two cores each; `-- -n 0` for one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many processes as cores: more threads would only wait
    sizes = [f"--{size}" for size, asked in (("slow", slow), ("fast", fast)) if asked]
    side_by_side = ["-n", "auto" if fast else "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    return ["pytest", *sizes, *side_by_side, *options]


def _publish(chosen: profiles.Profile, name: str, profile: str, to: Path | None) -> int:
    """Write the folder for others and print what is in it."""
    if to is None:
        raise CompanionError("publish: --to FOLDER is missing; name a folder that does not exist yet")
    from ethical_personas.workflow import publish  # late: pandas and matplotlib take seconds of every other call

    print(*publish.publish(chosen, name, profile, to), sep="\n")
    return 0


def snakemake(config: dict, options: list[str]) -> int:
    """Run the graph under a progress line.

    Args:
        config: name, profile, overrides, analysis_only, memory_mib and card_mib (0: a cluster's), for the Snakefile.
        options: Snakemake's own, as given after `--`.

    Returns:
        Snakemake's exit status.
    """
    run = ROOT / "runs" / config["name"]
    with locks.hold(ROOT / "runs" / ".lock", "another run") as lock:
        run.mkdir(parents=True, exist_ok=True)
        # A file, because Snakemake reads a value on its command line as YAML: `No`, braces and emoji do not survive.
        given = run / "config.json"
        given.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        if executors.end_jobs(options):  # a cluster's jobs may outlive their Snakemake, and still be writing
            _sweep(run)
        # Snakemake holds the lock too: killed alone, this process leaves no clone where a second run could start.
        process = subprocess.Popen(
            _command(given.relative_to(ROOT), config["memory_mib"], config["card_mib"], options),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=[lock.descriptor],
        )
        lock.name(process.pid)
        try:
            return Progress(run / "snakemake.log").follow(process)
        except KeyboardInterrupt:
            # The whole group: kernels too, so that nothing goes on writing unseen.
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            print("\ninterrupted; the same command continues from here", file=sys.stderr)
            return 130


def _sweep(run: Path) -> None:
    """Remove what a killed run was still writing: hidden files and folders, never published under a name."""
    folders = run.glob(f".{inputs.SOURCE_MODEL}.*")
    for folder in ("sft", "adapters", "eval"):
        for left in [*folders, *sorted((run / folder).rglob(".*"), reverse=True)]:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _fetch(profile: profiles.Profile) -> None:
    """Fetch the base model and a local teacher before any job needs them; raises CompanionError for unfit ones."""
    specs = [profile.base_model, *([profile.teacher_model] if "local" in profile.live.values() else [])]
    missing = [spec for spec in specs if spec and base_models.folder(spec, fetch=False) is None]
    for spec in missing:
        print(f"model: {spec} is fetched, once", file=sys.stderr)
        base_models.folder(spec)
    if missing:
        check.models(profile)


def _template(profile: profiles.Profile, run: Run) -> None:
    """With a responses_url say what its server, which has to be up before 03 runs, must hold; leaves the template."""
    if not profile.responses_url:
        return
    from ethical_personas.evaluate import served  # late: torch takes seconds
    from ethical_personas.models import chats

    place = base_models.folder(profile.base_model)
    assert place  # fetched
    given = profile.base_model, profile.chat_template, profile.system_prompt, profile.trust_remote_code
    path = served.write_template(chats.load_tokenizer(place, *given), run)
    # Adapters fit the model that they were trained on: the run's own source where it makes one.
    base = f"{run.run_dir}/{inputs.SOURCE_MODEL}" if profile.source_stage == "sft" else short(place)
    told = f"the server's model is {base}, its chat template is {path.relative_to(ROOT)}"
    print(f"responses_url: {told}", file=sys.stderr)


def _needed(profile: profiles.Profile, target: str) -> None:
    """Raise CompanionError where a file of an evaluation set or an endpoint's key is missing."""
    if target == "all":
        set_files.all_there(profile.eval_sets)
    probe.keys(profile)


def _notes(changed: set[str], target: str, options: list[str]) -> None:
    """Say what is set and has no effect, or could be had for less."""
    if (theirs := os.environ.pop("SNAKEMAKE_PROFILE", None)) and not _has(options, "--profile"):
        print(f"note: SNAKEMAKE_PROFILE ({theirs}) is not used; to use it: -- --profile {theirs}", file=sys.stderr)
    before, after = (
        {k for book in books for k in parameters.declared(book)}
        for books in (profiles.NOTEBOOKS[:3], profiles.NOTEBOOKS[3:])
    )
    idle = sorted(changed - after)
    if target == "figures" and idle:
        print(f"note: figures trains and asks no model: {', '.join(idle)} changes nothing here", file=sys.stderr)
    if target == "all" and changed and not changed & (before | names.GRID):
        print(
            f"note: {', '.join(sorted(changed))} changes the analysis alone; `./run_all.sh figures` with it takes the "
            "profile's responses and is done in two minutes, this trains and asks all models again",
            file=sys.stderr,
        )


def main(argv: list[str]) -> int:
    """Returns the exit status: 2 for bad input (nothing ran), else the target's own."""
    found, rest = arguments(argv)
    overrides = dict(found.p)
    if len(overrides) < len(found.p):
        raise CompanionError("a parameter is given twice with -p; give it once")
    chosen = profiles.load(found.profile, overrides)
    name = names.run_name(found.profile, chosen, found.name)
    if found.target == "test":
        return subprocess.call(_tests(found.slow, found.fast, rest), cwd=ROOT)
    if found.target == "bench":
        return bench.run(rest)
    if found.target == "lab":
        if not settings.home_is_writable():  # else a user's own Jupyter settings are right there
            settings.isolate()
        return subprocess.call(["jupyter", "lab", "--notebook-dir", str(ROOT), *rest], cwd=ROOT)
    settings.isolate()
    check.check_all(chosen)
    if found.target == "check":
        return ahead.show(chosen, name, found.profile, executors.with_profile(rest))
    if found.target == "publish":
        return _publish(chosen, name, found.profile, found.to)
    _needed(chosen, found.target)  # after `check`, which says what a run takes without them
    if found.target == "figures" and name != found.profile:
        check.one_source(Run(f"runs/{name}", found.profile), chosen)
    rest = executors.with_profile(rest)
    executors.check(rest)
    disk.writable(ROOT)
    _notes(set(names.changed(found.profile, chosen)), found.target, rest)
    shown = _has(rest, "-n", "--dry-run", "--dryrun", "--report")
    card, most = (0, 0) if executors.runs_elsewhere(rest) else (memory.card(), memory.total())
    if card and found.target == "all":
        ahead.require_card(chosen, card)  # before gigabytes are fetched that no job could use
    if found.target == "all" and not shown:
        _fetch(chosen)
        _template(chosen, Run(f"runs/{name}", found.profile))
        if card:
            ahead.require_card(chosen, card)  # now by its files: no name tells the size of a vocabulary
    config = {"name": name, "profile": found.profile, "overrides": overrides, "card_mib": card}
    config |= {"analysis_only": found.target == "figures", "memory_mib": most}
    status = snakemake(config, rest)
    summary = ROOT / "figures" / name / "summary.md"
    if status == 0 and summary.is_file() and not shown:
        print(summary.read_text(encoding="utf-8"))
    return status


if __name__ == "__main__":
    settings.printable()
    try:
        sys.exit(main(sys.argv[1:]))
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a file that cannot be read, a disk that is full
        print(f"error: {error.filename or ROOT}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
