"""A real Slurm of one node, started here: the smoke study killed and resumed, with the tables of a local run.

Left out where Slurm or Snakemake's plug-in is not installed: apt-get install slurm-wlm munge; the extra
`slurm` as docs/scale.md installs it.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ethical_personas.paths import ROOT
from ethical_personas.workflow import executors, memory

MISSING = [tool for tool in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(tool)]
MISSING += [] if importlib.util.find_spec("snakemake_executor_plugin_slurm") else ["snakemake-executor-plugin-slurm"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="slurmd needs root"),
]
FEW = ["--profile", "smoke", "-p", "scopes", "[broad]", "-p", "eval_per_category", "2", "-p", "item_limit", "1"]
# No accounting database here, and jobs of seconds: ask squeue, and ask often.
SLURM = ["--executor", "slurm", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
SLURM += ["--seconds-between-status-checks", "5", "--latency-wait", "10"]


def cli(*arguments):
    return [sys.executable, "-m", "ethical_personas.workflow.cli", *arguments]


def queue():
    """Ids of waiting and running jobs."""
    listed = subprocess.run(["squeue", "--noheader", "--format=%i %T"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def until(true, seconds=600.0):
    """Wait until a function's value is true, and return the value."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of a running cluster."""
    folder = str(tmp_path_factory.mktemp("slurm"))
    started = subprocess.run([ROOT / "tests/cluster/start", folder], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    yield folder
    subprocess.run([ROOT / "tests/cluster/start", "--stop", folder], check=True)


@pytest.fixture(scope="module")
def names():
    """Names of the two runs, whose files are removed before and after."""
    pair = "cluster-there", "cluster-here"
    for _ in range(2):
        for place in (ROOT / part / name for part in ("runs", "figures") for name in pair):
            shutil.rmtree(place, ignore_errors=True)
        if _ == 0:
            yield pair


def stop_hard(process):
    """Kill a run's command and its Snakemake, which is the leader of a group of its own; Slurm's jobs live on."""
    family = psutil.Process(process.pid).children(recursive=True)
    for one in [psutil.Process(process.pid), *family]:
        one.kill()
    process.wait()


def test_the_smoke_study_killed_and_resumed_gives_the_tables_of_a_local_run(cluster, names):
    there, here = names
    command = cli(*FEW, "--name", there, "--", *SLURM)
    adapters = ROOT / "runs" / there / "adapters"

    # Snakemake is killed while jobs are with Slurm, which knows nothing of it.
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: first.poll() is not None or list(adapters.glob("*/adapter_model.safetensors")))
    assert first.poll() is None
    until(queue)
    stop_hard(first)
    time.sleep(5)  # longer than Slurm takes to end a job that was cancelled
    left = queue()
    assert left, "jobs outlive their Snakemake"

    # The next one ends them first; of its own jobs one is cancelled, as a node that fails would.
    log = Path(cluster) / "second.log"
    with log.open("w") as out:
        second = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    until(lambda: "were cancelled" in log.read_text() or "are cancelled: " in log.read_text())
    lost = until(lambda: [j for j in queue() if j not in left])[0]
    subprocess.run(["scancel", "--signal=KILL", "--full", lost], check=True)
    assert second.wait() == 0, log.read_text() + (ROOT / "runs" / there / "snakemake.log").read_text()[-3000:]
    assert not queue()

    done = subprocess.run(cli(*FEW, "--name", here), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = {p.relative_to(ROOT / "figures" / here) for p in (ROOT / "figures" / here / "tables").glob("*.csv")}
    rows = {p.relative_to(ROOT / "runs" / here) for p in (ROOT / "runs" / here / "eval").rglob("*.jsonl")}
    assert len(tables) > 20 and len(rows) > 20
    for part, names_of in (("figures", tables), ("runs", rows)):
        for name in names_of:
            assert (ROOT / part / there / name).read_bytes() == (ROOT / part / here / name).read_bytes(), name

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and "up to date" in again.stderr


def test_a_job_asks_slurm_for_what_its_rule_needs(cluster):
    """The card's profile: time, memory, cores and card of a training job as Slurm understands them."""
    command = cli("--profile", "smoke", "--name", "cluster-card", "--", "--workflow-profile", "profiles/slurm-gpu")
    command += [*SLURM[2:], "--until", "harmless"]
    # A node that takes no work: the job waits, and can be read.
    node = subprocess.run(["sinfo", "--noheader", "--format=%n"], capture_output=True, text=True).stdout.strip()
    subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test"], check=True)
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        job = until(queue, 120)[0]
        told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
        assert "TimeLimit=01:00:00" in told and "NumCPUs=1" in told and f"JobName={executors.JOBS}" in told
        assert "gpu=1" in told or "gpu:1" in told
        assert f"MinMemoryNode={memory.PEAK['harmless'] + memory.SNAKEMAKE}M" in told
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == 130
        until(lambda: not queue(), 30)
    finally:
        if run.poll() is None:
            stop_hard(run)
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], check=True)
        for part in ("runs", "figures"):
            shutil.rmtree(ROOT / part / "cluster-card", ignore_errors=True)


def test_a_controller_that_is_down_is_one_line(cluster, tmp_path):
    conf = (Path(cluster) / "slurm.conf").read_text()
    lost = tmp_path / "slurm.conf"
    lost.write_text(
        "".join("SlurmctldPort=9\n" if x.startswith("SlurmctldPort") else f"{x}\n" for x in conf.splitlines())
    )
    command = cli("figures", "--profile", "smoke", "--name", "cluster-down", "--", *SLURM)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"SLURM_CONF": str(lost)})
    shutil.rmtree(ROOT / "runs/cluster-down", ignore_errors=True)
    assert done.returncode == 2 and done.stderr.startswith("error: --executor slurm: squeue: "), done.stderr
    assert done.stderr.count("\n") == 1
