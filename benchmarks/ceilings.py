"""What the machine can do, what each step reaches of it, where time goes, and how decoding grows with prompts.

    python benchmarks/ceilings.py

Writes ceilings.csv, time.csv (seconds by kind of operation, each step before and after its fast path) and time.png.

A step's work is counted while it runs. A product of a matrix of N weights with t tokens is 2 N t floating-point
operations; the backward pass adds 2 N t for the gradient of what entered, where something below learns, and 2 N t for
the gradient of the weights, where they learn. So a frozen matrix under a tuned one costs 2 N t, a frozen matrix above
the lowest adapter 4 N t, an adapter's own 6 N t; padding counts, attention's products of tokens with tokens do not.
Decoding is bound by memory: every product reads its N weights once, however many tokens it is for.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import generation
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import training
from ethical_personas.evaluate import lenses
from ethical_personas.finetune import lora, lower_half
from ethical_personas.models import chats, decode, lower_states
from ethical_personas.study import materials
from measure import THREADS, apart, append, machine
from torch.profiler import profile

HERE = Path(__file__).parent
P = training.P
SIZE = 2048  # rows and columns of the matrices multiplied
COPIED = 2**28  # bytes, more than most caches hold
PROMPTS, ITEMS, ROWS = 48, 16, 16  # of the steps whose time is looked into
GROWTH = (12, 24, 48, 96)  # prompts
KINDS = {  # the first that an operation's name contains
    "attention": ("scaled_dot", "bmm", "aten::_softmax"),
    "matrix products": ("aten::mm", "addmm", "linear"),
    "loss": ("log_softmax", "nll_loss"),
    "copies": ("copy", "cat", "index", "gather", "fill", "clone"),
}
ELEMENTWISE = "element-wise"


@dataclass
class Step:
    """A heavy step with (`after`) or without (`before`) its fast path; `work` can be called again and again."""

    name: str
    way: str
    when: str
    work: Callable[[], object]


def rates() -> dict[str, float]:
    """Matrix products in both types and a copy, the best of five each; returns what each is a ceiling of."""
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)
        name = str(dtype).removeprefix("torch.")
        found[name] = 2 * SIZE**3 / best(lambda a=a, b=b: a @ b) / 1e9
        note("matrix product", name, found[name], "GFLOP/s")
    source = torch.ones(COPIED // 4)
    target = torch.empty_like(source)
    found["memory"] = 2 * COPIED / best(lambda: target.copy_(source)) / 1e9
    note("copy", "read and written", found["memory"], "GB/s")
    return found


def best(work: Callable[[], object]) -> float:
    """Fewest processor seconds of five."""
    return min(seconds(work) for _ in range(5))


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def growth() -> None:
    """Decoding of more and more prompts: seconds are a constant and so much a prompt."""
    taken = []
    for number in GROWTH:
        done = apart(lambda number=number: generation.ours(generation.chosen(number)))
        taken.append(done.seconds)
        note("answers", f"{number} prompts", done.seconds, "s")
    slope, constant = np.polyfit(GROWTH, taken, 1)
    note("answers, straight line", "constant", constant, "s")
    note("answers, straight line", "a prompt", slope, "s")


def note(what: str, which: str, value: float, unit: str) -> None:
    """Append a row to ceilings.csv."""
    line = {"what": what, "which": which, "value": round(float(value), 3), "unit": unit}
    append(HERE / "ceilings.csv", line | machine())


def steps(folder: Path) -> Iterator[Step]:
    """Training, decoding and scoring, each before and after; a step is to be done with when the next is asked for."""
    chat = chats.load(P.base_model, dtype=P.dtype)
    run = lora.trainer(chat, training.rows(ROWS), training.RECIPE, 0, folder / "training")
    batch = next(iter(run.get_train_dataloader()))
    step = lambda: run.compute_loss(run.model, dict(batch)).backward()  # noqa: E731
    step()  # the first compares the head with the model's own, once a training
    name = f"training, a step of {len(batch['input_ids'])} rows"
    yield Step(name, "all layers", "before", step)
    run.lower_half = lower_half.build(chat.model, run.train_dataset["input_ids"])
    yield Step(name, "lower half once", "after", step)

    chat, prompts = chats.load(P.base_model, dtype=P.dtype), generation.chosen(PROMPTS)
    answer = lambda: decode.answers(chat, prompts, generation.NEW, P.decode_batch, P.repetition_penalty)  # noqa: E731
    name = f"answers, {len(prompts)} prompts, {generation.NEW} tokens"
    chat.model.requires_grad_(False)
    yield Step(name, "weights frozen", "before", answer)
    chat.model.requires_grad_(True)
    yield Step(name, "weights able to learn", "after", answer)

    items, states = materials.items()[:ITEMS], folder / "states.safetensors"
    score = lambda: lenses.choice(chat, items)  # noqa: E731
    name = f"choice, {len(items)} items"
    chat.lower = lower_states.open_states(chat.model, states, source=True)
    score()
    lower_states.save_states(chat.model, chat.lower, states)
    chat.lower = None
    yield Step(name, "all layers", "before", score)
    chat.lower = lower_states.open_states(chat.model, states, source=False)
    yield Step(name, "from the middle", "after", score)


@contextmanager
def counted() -> Iterator[Counter]:
    """Inside, every linear layer's work is added up: `flop`, its backward pass included, and `bytes` of weights."""
    found: Counter = Counter()

    def add(layer, given, out):
        if isinstance(layer, torch.nn.Linear):
            tokens, weight = out.numel() // layer.out_features, layer.weight
            passes = 1 + torch.is_grad_enabled() * (given[0].requires_grad + weight.requires_grad)
            found["flop"] += 2 * weight.numel() * tokens * passes
            found["bytes"] += weight.nbytes

    hook = torch.nn.modules.module.register_module_forward_hook(add)
    try:
        yield found
    finally:
        hook.remove()


def reached(step: Step, ceiling: dict[str, float]) -> None:
    """Append the rates of a step, and the share of the machine's, to ceilings.csv."""
    with counted() as work:
        taken = seconds(step.work)
    what = f"{step.name}, {step.way}"
    rate, read = work["flop"] / taken / 1e9, work["bytes"] / taken / 1e9
    kind = str(chats.compute_dtype(P.dtype)).removeprefix("torch.")
    note(what, "matrix products", rate, "GFLOP/s")
    note(what, f"share of the {kind} matrix product", 100 * rate / ceiling[kind], "%")
    if step.name.startswith("answers"):
        note(what, "weights read", read, "GB/s")
        note(what, "share of the copy", 100 * read / ceiling["memory"], "%")


def spent(work: Callable[[], object]) -> Counter:
    """Seconds of one call by kind of operation, as the profiler counts them: on the wall."""
    with profile() as seen:
        work()
    found: Counter = Counter()
    for event in seen.key_averages():
        kind = next((k for k, names in KINDS.items() if any(n in event.key for n in names)), ELEMENTWISE)
        found[kind] += event.self_cpu_time_total / 1e6
    return found


def look(ceiling: dict[str, float]) -> pd.DataFrame:
    """Measure every step against the ceilings; returns its seconds by kind of operation, a row each."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for step in steps(Path(folder)):
            reached(step, ceiling)
            by_kind = dict.fromkeys((*KINDS, ELEMENTWISE), 0.0) | spent(step.work)
            found.append({"step": step.name, "way": step.way, "when": step.when} | by_kind)
    return pd.DataFrame(found).round(3).assign(**machine())


def draw(table: pd.DataFrame) -> None:
    """A panel a step, in seconds of its own: a bar before and a bar after."""
    kinds = [*KINDS, ELEMENTWISE]
    steps = table["step"].unique()
    figure, panels = plt.subplots(len(steps), figsize=(8, 1.5 * len(steps)), layout="constrained")
    for axes, name in zip(panels, steps, strict=True):
        part = table[table["step"] == name].iloc[::-1]
        part = part.set_index(part["when"] + ": " + part["way"])[kinds]
        shades = sns.color_palette("colorblind", len(kinds))
        part.plot.barh(stacked=True, width=0.7, ax=axes, legend=False, color=shades)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_ylabel("")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(f"seconds, {THREADS} thread, under the profiler")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=len(kinds), loc="outside upper center")
    figure.savefig(HERE / "time.png", dpi=150)


if __name__ == "__main__":
    matplotlib.use("agg")
    torch.set_num_threads(THREADS)
    for name in ("ceilings.csv", "time.csv"):  # of this machine, as it is today
        (HERE / name).unlink(missing_ok=True)
    growth()  # first: it forks, and nothing has been computed here yet
    found = look(rates())
    found.to_csv(HERE / "time.csv", index=False)
    draw(found)
