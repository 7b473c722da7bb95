"""The command line behind ./run_all.sh: check everything first, then hand over to Snakemake.

./run_all.sh [all|figures|test|lab|check] [--profile NAME] [-p KEY VALUE]... [-- snakemake options]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ethical_personas.errors import CompanionError
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check
from ethical_personas.workflow.progress import Progress

TARGETS = {
    "all": "everything: data, models, evaluation, figures (the default)",
    "figures": "only 04-06, from this clone's run or else from the shipped responses",
    "test": "the tests; --slow adds the long fault tests",
    "lab": "JupyterLab on the notebooks",
    "check": "check profile, data and constitutions, and run nothing",
}


class _Parser(argparse.ArgumentParser):
    """argparse, its errors like ours: one line."""

    def error(self, message: str):
        raise CompanionError(f"{message}; ./run_all.sh help says more")


def arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line; what follows `--` is for Snakemake (or pytest)."""
    at = argv.index("--") if "--" in argv else len(argv)
    ours, rest = argv[:at], argv[at + 1 :]
    listing = "\n".join(f"  {name:8} {what}" for name, what in TARGETS.items())
    parser = _Parser(
        prog="./run_all.sh", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"targets:\n{listing}"
    )
    parser.add_argument("target", nargs="?", default="all", choices=[*TARGETS, "help"], metavar="target")
    parser.add_argument("--profile", default="cpu", help="a file of profiles/ (default: cpu)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="override one")
    parser.add_argument("--slow", action="store_true", help="with test: the long fault tests too")
    found = parser.parse_args(ours)
    if found.target == "help":
        parser.print_help()
        sys.exit(0)
    return found, rest


def snakemake(name: str, overrides: dict[str, str], analysis_only: bool, options: list[str]) -> int:
    """Run the graph under a progress line; returns Snakemake's exit status."""
    given = f"overrides={json.dumps(overrides)}"
    command = ["snakemake", "--snakefile", "Snakefile", "--rerun-incomplete", "--nolock"]
    # Large enough for every input: a touched but equal file reruns nothing.
    command += ["--max-checksum-file-size", "2GB", "--printshellcmds"]
    if not {"--cores", "-c", "--executor", "--jobs", "-j"} & {o.split("=")[0] for o in options}:
        command += ["--cores", "all"]
    command += [*options, "--config", f"profile={name}", given, f"analysis_only={analysis_only}"]
    run = ROOT / "runs" / name
    run.mkdir(parents=True, exist_ok=True)
    with _only_run() as lock:
        if "--executor" not in " ".join(options):  # a cluster's jobs may outlive their Snakemake, and still be writing
            _sweep(run)
        # Snakemake holds the lock too: killed alone, this process leaves no clone where a second run could start.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            pass_fds=[lock],
        )
        os.pwrite(lock, f"{process.pid:<10}".encode(), 0)
        try:
            return Progress(run / "snakemake.log").follow(process)
        except KeyboardInterrupt:
            # The whole group: kernels too, so that nothing goes on writing behind our back.
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            print("\ninterrupted; the same command goes on where this stopped", file=sys.stderr)
            return 130


@contextlib.contextmanager
def _only_run():
    """Hold the clone's lock and yield its descriptor; raises CompanionError when another run of this clone is alive."""
    lock = os.open(ROOT / "runs" / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 10, 0).decode().strip()
            how = f" (kill -- -{pid})" if pid else ""
            raise CompanionError(f"another run is going on in this clone; wait for it or stop it first{how}") from None
        os.ftruncate(lock, 0)
        yield lock
    finally:
        os.close(lock)


def _sweep(run: Path) -> None:
    """Remove what a killed run was still writing: hidden files and folders, never published under a name."""
    for folder in ("sft", "adapters", "eval"):
        for left in sorted((run / folder).rglob(".*"), reverse=True):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _fetch(profile: profiles.Profile) -> None:
    """Fetch the base model and a local teacher before any job needs them; raises CompanionError for unfit ones."""
    specs = [profile.base_model, *([profile.teacher_model] if profile.teacher == "local" else [])]
    missing = [spec for spec in specs if spec and base_models.folder(spec, fetch=False) is None]
    for spec in missing:
        print(f"model: {spec} is fetched, once", file=sys.stderr)
        base_models.folder(spec)
    if missing:
        check.models(profile)


def main(argv: list[str]) -> int:
    """Returns the exit status: 2 for bad input (nothing ran), else the target's own."""
    found, rest = arguments(argv)
    overrides = dict(found.p)
    if len(overrides) < len(found.p):
        raise CompanionError("a parameter is given twice with -p; give it once")
    chosen = profiles.load(found.profile, overrides)
    if found.target == "test":
        return subprocess.call(["pytest", *(["--slow"] if found.slow else []), *rest], cwd=ROOT)
    if found.target == "lab":
        return subprocess.call(["jupyter", "lab", "--notebook-dir", str(ROOT), *rest], cwd=ROOT)
    check.everything(chosen)
    if found.target == "check":
        print(f"profile {found.profile}, data and constitutions: all in order")
        return 0
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < 1:
        raise CompanionError(f"{free:.1f} GiB free here; a run needs 1 at least, free some disk first")
    dry = bool({"-n", "--dry-run", "--dryrun"} & set(rest))
    if found.target == "all" and not dry:
        _fetch(chosen)
    status = snakemake(found.profile, overrides, found.target == "figures", rest)
    summary = ROOT / "figures" / found.profile / "summary.md"
    if status == 0 and summary.is_file() and not dry:
        print(summary.read_text(encoding="utf-8"))
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
