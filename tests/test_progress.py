"""The progress line over Snakemake's log: steps, jobs side by side, what is left, what went wrong."""

import io
import re

import pytest
from ethical_personas.workflow import progress

STATS = """Building DAG of jobs...
Provided cores: 2
Job stats:
job                    count
-------------------  -------
all                        1
evaluate                   2
evaluate_checkpoint        1
finetune                   2
generate                   1
summary                    1
total                      8

Select jobs to execute...
"""


def started(number, rule, wildcards="", command="OMP_NUM_THREADS=1 python -m ethical_personas.workflow.execute x"):
    wild = f"    wildcards: {wildcards}\n" if wildcards else ""
    return f"""[Tue Nov 24 21:52:00 2026]
localrule {rule}:
    input: data/prompts/harmful.jsonl
    output: runs/cpu/x
    jobid: {number}
    reason: Missing output files: runs/cpu/x
{wild}    resources: tmpdir=/tmp
Shell command: {command} '{{"seed": 0}}'
"""


def ended(number, rule, done=1):
    return f"[Tue Nov 24 21:52:09 2026]\nFinished jobid: {number} (Rule: {rule})\n{done} of 8 steps (1%) done\n"


class Process:
    """A Snakemake process that has written `log` and ends with `status`."""

    def __init__(self, log, status=0):
        self.stdout, self.status = io.StringIO(log), status

    def wait(self):
        return self.status


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Follow a script of log text and of seconds that pass; returns the status, what was printed and the line."""

    def run(*script, status=0):
        clock = [0.0]
        monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
        out = io.StringIO()
        line = progress.Progress(tmp_path / "log", out)

        def text():
            for part in script:
                if isinstance(part, str):
                    yield from part.splitlines(keepends=True)
                else:
                    clock[0] += part

        process = Process("", status)
        process.stdout = text()
        found = line.follow(process)
        assert (tmp_path / "log").read_text() == "".join(p for p in script if isinstance(p, str))
        return found, out.getvalue().splitlines(), line

    return run


def test_one_job_after_another_is_counted_without_the_target_rule(follow):
    status, said, _ = follow(
        STATS,
        started(5, "generate", "constitution=virtue"), 20, ended(5, "generate"),
        started(4, "finetune", "cell=virtue-broad-s0"), 50, ended(4, "finetune"),
        started(3, "evaluate_checkpoint", "cell=virtue-broad-s0, step=6"), 10, ended(3, "evaluate_checkpoint"),
        started(1, "summary", command="python -m ethical_personas.workflow.summary"), ended(1, "summary"),
        started(0, "all").split("Shell")[0], ended(0, "all"),
    )  # fmt: skip
    assert status == 0
    assert [s.split(" · ")[0] for s in said] == [
        "[0 of 7 done] generate virtue begins",
        "[1 of 7 done] finetune virtue-broad-s0 begins",
        "[2 of 7 done] evaluate_checkpoint virtue-broad-s0@6 begins",
        "[3 of 7 done] summary begins",
        "[7 of 7 done]",
    ]


def test_the_line_counts_what_is_done_not_what_has_begun(follow):
    _, said, _ = follow(
        STATS,
        started(4, "finetune", "cell=virtue-broad-s0"),
        started(5, "finetune", "cell=virtue-illegal-s0"),
        ended(4, "finetune"),
        started(2, "evaluate", "model=virtue-broad-s0"),
    )
    assert [re.match(r"\[(\d) of 7 done\]", s)[1] for s in said] == ["0", "0", "1", "7"]


def test_jobs_side_by_side_keep_their_own_names_and_clocks(follow):
    _, said, line = follow(
        STATS,
        started(4, "finetune", "cell=virtue-broad-s0"), 10,
        started(5, "generate", "constitution=care"), 5,
        ended(4, "finetune"), 5, ended(5, "generate"),
    )  # fmt: skip
    assert [s.split("] ")[1].split(" · ")[0] for s in said[:-1]] == [
        "finetune virtue-broad-s0 begins",
        "generate care begins",
    ]
    assert line.spent == {"finetune": [15.0], "generate": [10.0]} and not line.running


def test_the_time_left_is_a_guess_first_and_measured_after(follow):
    _, _, before = follow(STATS)
    guess = progress.GUESS
    rest = guess["evaluate_checkpoint"] + guess["generate"] + 15  # 15: a rule without a guess, the summary
    assert before.remaining() == 2 * guess["evaluate"] + 2 * guess["finetune"] + rest
    _, _, after = follow(STATS, started(4, "finetune", "cell=a-broad-s0"), 300, ended(4, "finetune"))
    assert after.remaining() == 2 * guess["evaluate"] + 300 + rest


def test_the_time_left_counts_jobs_side_by_side(follow):
    """Two jobs of 100 s always at once: with six of eight to go, three pairs are left, not six jobs."""
    stats = "Provided cores: 2\nJob stats:\njob count\n--- ---\nall 1\nfinetune 8\ntotal 9\n\n"
    pair = [started(n, "finetune", f"cell=a{n}-broad-s0") for n in (1, 2)]
    _, _, line = follow(stats, *pair, 100, ended(1, "finetune"), ended(2, "finetune"))
    assert line.remaining() == pytest.approx(300)


def test_nothing_to_do_is_said(follow):
    nothing = "Building DAG of jobs...\nNothing to be done (all requested files are present and up to date).\n"
    assert follow(nothing)[:2] == (0, ["everything is up to date"])


def test_a_failed_stage_is_told_by_its_own_line(follow, tmp_path):
    error = "error: 02_finetune: CompanionError: row a: 300 tokens (kept: runs/cpu/notebooks/failed/x.ipynb)\n"
    failure = "Error in rule finetune:\n    jobid: 4\n    shell: x\nExiting because a job execution failed.\n"
    status, said, _ = follow(
        STATS, started(5, "generate", "constitution=virtue"), ended(5, "generate"),
        started(4, "finetune", "cell=virtue-broad-s0"), error, failure, error, status=1,
    )  # fmt: skip
    assert status == 1
    assert said[2:] == [error.strip(), f"stopped at step 2 of 7; log: {tmp_path / 'log'}"]


def test_a_failed_job_without_a_line_of_its_own_shows_the_logs_end(follow):
    end = "".join(f"last {n}\n\n" for n in range(5))
    status, said, _ = follow(STATS, started(5, "generate"), "ValueError: early\n", end, status=1)
    assert status == 1 and said[1:-1] == [f"last {n}" for n in range(5)]
    assert said[-1].startswith("stopped at step 1 of 7; log: ")


TRACEBACK = """Traceback (most recent call last):
  File "resources.py", line 977, in decode_arg
    raise ValueError("no pair")
ValueError: not enough values to unpack

During handling of the above exception, another exception occurred:

  File "resources.py", line 980, in decode_arg
ValueError: Resources have to be defined as name=value pairs.
"""
NO_PLAN = {
    "a traceback": (TRACEBACK, ["ValueError: Resources have to be defined as name=value pairs."]),
    "a usage": (
        "usage: snakemake [-h]\n" + 90 * "  [--x X]\n" + "snakemake: error: unrecognized arguments: --foo\n",
        ["snakemake: error: unrecognized arguments: --foo"],
    ),
    "no such file": (
        "host: here\nBuilding DAG of jobs...\nMissingInputException in rule x:\n    data/y.jsonl\n\n",
        ["MissingInputException in rule x:", "    data/y.jsonl"],
    ),
    "a dotted name, after an error that it comes from": (
        "KeyError: 'x'\n\nDuring handling of it:\nyaml.scanner.ScannerError: mapping values\n",
        ["yaml.scanner.ScannerError: mapping values"],
    ),
    "an error of ours in the Snakefile": (
        'CompanionError in file "/x/Snakefile", line 105:\nruns/x/eval/source/responses.jsonl: not made yet\n'
        '  File "/x/Snakefile", line 146, in <module>\n  File "/x/run.py", line 46, in locate\n',
        ["error: runs/x/eval/source/responses.jsonl: not made yet"],
    ),
    "no error named": ("first\n\nKilled\n", ["first", "Killed"]),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("log", "why"), NO_PLAN.values(), ids=NO_PLAN)
def test_a_failure_before_there_is_a_plan_is_told_by_its_error_and_counts_no_steps(follow, tmp_path, log, why):
    status, said, _ = follow(log, status=1)
    assert status == 1 and [x for x in said if x] == [*why, f"stopped before the first step; log: {tmp_path / 'log'}"]
