"""What the machine can do, where each step's time goes, and how decoding grows with prompts.

    python benchmarks/ceilings.py

Writes ceilings.csv (matrix rates, memory bandwidth, seconds by number of prompts), time.csv (seconds by kind of
operation) and time.png.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import generation
import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import torch
import training
from ethical_personas.evaluate import lenses
from ethical_personas.finetune import lora, lower_half
from ethical_personas.models import chats, decode
from ethical_personas.study import materials
from measure import THREADS, apart, append, machine
from torch.profiler import profile

HERE = Path(__file__).parent
SIZE = 2048  # rows and columns of the matrices multiplied
COPIED = 2**28  # bytes, more than most caches hold
KINDS = {  # the first that an operation's name contains
    "attention": ("scaled_dot", "bmm", "aten::_softmax"),
    "matrix products": ("aten::mm", "addmm", "linear"),
    "loss": ("log_softmax", "nll_loss"),
    "copies": ("copy", "cat", "index", "gather", "fill", "clone"),
}
ELEMENTWISE = "element-wise"


def rates() -> None:
    """Matrix products in both types and a copy, the best of five each."""
    for dtype in (torch.bfloat16, torch.float32):
        a, b = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)
        seconds = best(lambda a=a, b=b: a @ b)
        note("matrix product", str(dtype).removeprefix("torch."), 2 * SIZE**3 / seconds / 1e9, "GFLOP/s")
    source = torch.ones(COPIED // 4)
    target = torch.empty_like(source)
    note("copy", "read and written", 2 * COPIED / best(lambda: target.copy_(source)) / 1e9, "GB/s")


def best(work: Callable[[], object]) -> float:
    """Fewest processor seconds of five."""
    found = []
    for _ in range(5):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def growth() -> None:
    """Decoding of more and more prompts: seconds are a constant and so much a prompt."""
    for number in (12, 24, 48, 96):
        done = apart(lambda number=number: generation.ours(generation.PROMPTS[:number]))
        note("answers", f"{number} prompts", done.seconds, "s")


def note(what: str, which: str, value: float, unit: str) -> None:
    """Append a row to ceilings.csv."""
    append(HERE / "ceilings.csv", {"what": what, "which": which, "value": round(value, 2), "unit": unit} | machine())


def shares() -> pd.DataFrame:
    """Seconds by kind of operation: a training step as it was and as it is, decoding, scoring."""
    chat = chats.load(training.P.base_model, dtype="bfloat16")
    found = {
        "24 tokens, 96 prompts": spent(
            lambda: decode.answers(chat, generation.PROMPTS, generation.NEW, training.P.decode_batch)
        )
    }
    items = materials.items()[:16]
    found["choice, 16 items"] = spent(lambda: lenses.choice(chat, items))
    rows = training.rows(16)
    with tempfile.TemporaryDirectory() as folder:
        run = lora.trainer(chat, rows, training.RECIPE, 0, Path(folder))
    batch = next(iter(run.get_train_dataloader()))
    step = lambda: run.compute_loss(run.model, dict(batch)).backward()  # noqa: E731
    step()
    found["training step, all layers"] = spent(step)
    run.lower_half = lower_half.of(chat.model, run.train_dataset["input_ids"])
    found["training step, lower half once"] = spent(step)
    return pd.DataFrame(found).T.fillna(0).rename_axis("step").round(3)


def spent(work: Callable[[], object]) -> Counter:
    """Processor seconds of one call by kind of operation."""
    with profile() as seen:
        work()
    found: Counter = Counter()
    for event in seen.key_averages():
        kind = next((k for k, names in KINDS.items() if any(n in event.key for n in names)), ELEMENTWISE)
        found[kind] += event.self_cpu_time_total / 1e6
    return found


def draw(table: pd.DataFrame) -> None:
    """One bar a step, in seconds."""
    axes = table.iloc[::-1].plot.barh(stacked=True, figsize=(8, 3), width=0.7)
    axes.set(xlabel=f"seconds on {THREADS} core", ylabel="")
    axes.legend(frameon=False, ncols=len(table.columns), loc="lower center", bbox_to_anchor=(0.4, 1), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(HERE / "time.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    matplotlib.use("agg")
    torch.set_num_threads(THREADS)
    for name in ("ceilings.csv", "time.csv"):  # of this machine, as it is today
        (HERE / name).unlink(missing_ok=True)
    growth()  # first: it forks, and nothing has been computed here yet
    rates()
    found = shares()
    found.to_csv(HERE / "time.csv")
    draw(found)
