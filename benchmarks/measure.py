"""What every benchmark shares: sides in turn, each in a process of its own, and the rows of results.csv.

    found = alternate({"ours": run_ours, "plain": run_plain})      A B A B
    record("generation", found, agreement="199 of 200 answers equal")

A side is a function without arguments that sets itself up, does its work `with Clock() as clock`, and returns
`clock.done(tokens, result)`. Ratios are of processor seconds: one thread works, and what else runs on the machine
takes no part; on a quiet machine they are the wall clock's. `whole` alone, where jobs stand side by side, has both.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ethical_personas import provenance

RESULTS = Path(__file__).with_name("results.csv")
PACKAGES = ("torch", "transformers", "trl", "peft", "lm_eval", "llama-cpp-python")
SETS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # instruction sets that change the numbers, best first
THREADS = 1


@dataclass
class Done:
    """One run of a side: seconds on the processor and on the wall, tokens, what it gave, peak memory in MiB."""

    seconds: float
    wall: float
    tokens: int
    result: Any = None
    peak: int = 0


class Clock:
    """Seconds of the work inside its `with`."""

    def __enter__(self):
        self.began = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.ended = time.process_time(), time.perf_counter()

    def done(self, tokens: int, result: Any = None) -> Done:
        """What the side returns."""
        seconds, wall = (b - a for a, b in zip(self.began, self.ended, strict=True))
        return Done(seconds, wall, tokens, result)


def alternate(sides: dict[str, Callable[[], Done]], times: int = 2) -> dict[str, list[Done]]:
    """Run each side in turn, `times` times."""
    found: dict[str, list[Done]] = {name: [] for name in sides}
    for _ in range(times):
        for name, side in sides.items():
            done = apart(side)
            found[name].append(done)
            rate = f"{done.tokens / done.seconds:.0f} tokens/s"
            print(f"  {name}: {done.seconds:.1f} s ({done.wall:.1f} wall), {rate}, {done.peak} MiB", flush=True)
    return found


def apart(side: Callable[[], Done]) -> Done:
    """Run a side in a child process, so that its peak memory is its own. Raises RuntimeError when it fails."""
    context = multiprocessing.get_context("fork")  # what is imported is there already
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(side, there))
    child.start()
    there.close()
    try:
        done = here.recv()
    except EOFError:
        raise RuntimeError("a side of the benchmark failed; its error stands above") from None
    child.join()
    return done


def _work(side: Callable[[], Done], pipe) -> None:
    torch.set_num_threads(THREADS)
    told = io.StringIO()  # progress bars and logs, shown only when the side fails
    try:
        with redirect_stdout(told), redirect_stderr(told):
            done = side()
    except Exception:
        print(told.getvalue()[-4000:], file=sys.stderr)
        traceback.print_exc()
        return
    done.peak = done.peak or provenance.peak_mib()  # unless the work was another process's
    pipe.send(done)


def record(step: str, found: dict[str, list[Done]], agreement: str, of: str = "seconds") -> None:
    """Append a comparison to results.csv: the first side against the second, median and spread of the pairs.

    of: what ratios and rates are of, `seconds` on the processor or on the `wall`.
    """
    (ours, first), (against, second) = found.items()
    pairs = [getattr(b, of) / getattr(a, of) for a, b in zip(first, second, strict=True)]
    line: dict[str, Any] = {"step": step, "ours": ours, "against": against, "ratio": round(_middle(pairs), 2)}
    line |= {"ratio_low": round(min(pairs), 2), "ratio_high": round(max(pairs), 2)}
    for name, side in (("ours", first), ("against", second)):
        line[f"{name}_seconds"] = " ".join(f"{d.seconds:.2f}" for d in side)
        line[f"{name}_wall_seconds"] = " ".join(f"{d.wall:.2f}" for d in side)
        line[f"{name}_tokens_per_second"] = round(_middle([d.tokens / getattr(d, of) for d in side]))
        line[f"{name}_peak_mib"] = max(d.peak for d in side)
    append(RESULTS, line | {"agreement": agreement} | machine())


def append(path: Path, line: dict) -> None:
    """Append a row to a CSV file, with its header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, line, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)
    print({k: v for k, v in line.items() if k not in machine()}, flush=True)


def machine() -> dict[str, Any]:
    """Where and when: processor, best instruction set, threads, load of the last minute, versions."""
    cpu, flags = platform.processor() or platform.machine(), ""
    if (info := Path("/proc/cpuinfo")).is_file():
        fields = dict(line.split("\t: ", 1) for line in info.read_text().splitlines() if "\t: " in line)
        fields = {k.strip(): v for k, v in fields.items()}
        cpu, flags = f"{fields.get('model name', cpu)} model {fields.get('model', '?')}", fields.get("flags", "")
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores",
        "instruction_set": next((name for name in SETS if name in flags.split()), "other"),
        "threads": THREADS,
        "load": round(os.getloadavg()[0], 1),
        "versions": " ".join(f"{name}=={found}" for name in PACKAGES if (found := _version(name))),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # of the optional extra `bench`
        return ""


def _middle(values: list[float]) -> float:
    return statistics.median(values)
