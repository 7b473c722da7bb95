"""One progress line over Snakemake's log: how many jobs are done, which one begins, how long the rest may take."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

# Seconds a job of each rule takes on two cores under the cpu profile: a first guess, replaced by measurement
# as soon as a job of that rule has finished.
GUESS = {
    "source_model": 300, "harmless": 75, "generate": 11, "finetune": 210, "evaluate": 300, "evaluate_checkpoint": 120,
}  # fmt: skip
OWN = re.compile(r"CompanionError in file ")  # raised by the Snakefile; Snakemake writes its words below
NAMED = re.compile(r"(snakemake: )?[\w.]*([Ee]rror|Exception)\b")  # how a line begins that names an error


class Progress:
    """Follows a Snakemake process; its full log goes to `log`."""

    def __init__(self, log: Path, out: TextIO = sys.stderr):
        self.log, self.out = log, out
        self.left: Counter[str] = Counter()
        self.spent: dict[str, list[float]] = {}
        self.running: dict[str, tuple[str, str, float]] = {}
        self.done = self.total = 0
        self.side = 1  # most jobs seen at once
        self.nothing = False
        self._rule = ""

    def follow(self, process: subprocess.Popen) -> int:
        """Read the process's output to its end; on failure print the lines that say why."""
        assert process.stdout
        lines = []
        with self.log.open("w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.append(line.rstrip())
                self.read(line)
        status = process.wait()
        if self.nothing:
            print("everything is up to date", file=self.out)
        elif not status and self.total:
            print(f"[{self.total} of {self.total} done]", file=self.out)
        elif status:
            print("\n".join(dict.fromkeys(self._why(lines))), file=self.out)
            step = f"at step {self.done + 1} of {self.total}" if self.total else "before the first step"
            print(f"stopped {step}; log: {self.log}", file=self.out)
        return status

    def _why(self, lines: list[str]) -> list[str]:
        """The lines of a log that say why its run failed, five at most without a stage's own."""
        # A stage's own one-line error says more than Snakemake's report of it; without one, the log's end does.
        if own := [x for x in lines if x.startswith("error:")]:
            return own
        told = [x for x in lines if x.strip()]
        named = [n for n, line in enumerate(told) if NAMED.match(line)]
        if not named or self.total:
            return told[-5:]
        # Without a plan the error is Snakemake's own, below a usage text or a traceback of some pages, or above one.
        why = [x for x in told[named[-1] :] if not x.startswith('  File "')][:5]
        return [f"error: {why[1]}"] if OWN.match(why[0]) and len(why) > 1 else why

    def read(self, line: str) -> None:
        """Take in one log line and print a progress line when a job starts."""
        text = line.strip()
        if count := re.fullmatch(r"(\w+)\s+(\d+)", text):
            if count[1] == "total":
                # Snakemake counts the target rule, which runs nothing.
                self.total = int(count[2]) - self.left.pop("all", 0)
            elif not self.total:
                self.left[count[1]] = int(count[2])
        elif text.startswith("Nothing to be done"):
            self.nothing = True
        elif rule := re.match(r"(?:local)?rule (\w+):", text):
            self._rule, self._name = rule[1], ""
        elif wild := re.match(r"wildcards: (.+)", text):
            self._name = "@".join(part.split("=")[1] for part in wild[1].split(", "))
        elif job := re.match(r"jobid: (\d+)", text):
            self.running[job[1]] = (self._rule, "", time.monotonic())
            self._id = job[1]
        elif text.startswith(("OMP_NUM_THREADS", "Shell command:", "python -m ethical_personas.")) and self._rule:
            self.running[self._id] = (self._rule, self._name, time.monotonic())
            self.side = max(self.side, len(self.running))
            self._say(f"{self._rule} {self._name}".strip())
            self._rule = ""
        elif end := re.match(r"Finished job(?:id:)? (\d+)", text):
            if end[1] in self.running:
                name, _, began = self.running.pop(end[1])
                self.spent.setdefault(name, []).append(time.monotonic() - began)
                self.left[name] -= 1
            self.done += 1

    def _say(self, what: str) -> None:
        if what == "all":  # Snakemake's target: nothing runs
            return
        rest = self.remaining()
        said = f"[{self.done} of {self.total} done] {what} begins · about {rest / 60:.0f} min left"
        print(said, file=self.out, flush=True)

    def remaining(self) -> float:
        """Seconds that the jobs still to do may take, side by side: measured means by rule, else the first guess."""
        mean = {rule: sum(s) / len(s) for rule, s in self.spent.items()}
        return sum(n * mean.get(rule, GUESS.get(rule, 15)) for rule, n in self.left.items()) / self.side
