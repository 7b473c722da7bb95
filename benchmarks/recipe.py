"""Try a training recipe on training prompts left out of training; evaluation prompts are never read.

    python benchmarks/recipe.py virtue-broad-s0 -p learning_rate 2e-3 -p helpful_rows 144

Trains one cell under the cpu profile with the given overrides, answers the left-out prompts, and appends a row to
benchmarks/recipe.csv: shares judged declined (harmful, contrast, helpful) by the bundled judge. Left out are the last
8 prompts of each harm category that the cell does not train on (--harmful), the last 36 contrast (--contrast) and the
last 48 helpful prompts (--helpful).
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd
from ethical_personas import files
from ethical_personas.finetune import lora
from ethical_personas.generate import source_answers, training_rows
from ethical_personas.judge import judging
from ethical_personas.models import chats, decode
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows
from ethical_personas.study import profile as profiles
from ethical_personas.study.grid import CATEGORIES, Cell

OUT = Path(__file__).with_suffix(".csv")
SHOWN = (
    "helpful_rows", "contrast_rows", "rows_per_scope", "lora_layers", "lora_r", "lora_alpha", "learning_rate", "epochs",
    "batch_size", "harmless_targets",
)  # fmt: skip


def left_out(trained: set[str], harmful: int, contrast: int, helpful: int) -> list[rows.Prompt]:
    """The prompts to try the tuned model on; raises SystemExit when the mix trains on one of them."""
    held = [p for c in CATEGORIES for p in materials.prompts("train", c) if p.id not in trained]
    held = [p for c in CATEGORIES for p in [h for h in held if h.category == c][-harmful:]]
    held += materials.prompts("train", "contrast")[-contrast:] + materials.prompts("train", "helpful")[-helpful:]
    both = trained & {p.id for p in held}
    if both:
        sys.exit(f"{sorted(both)[0]} is trained on and left out: ask for fewer harmless rows")
    return held


def main() -> None:
    """Train, answer, judge, append."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cell", type=Cell.parse)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    for kind, number in (("harmful", 8), ("contrast", 36), ("helpful", 48)):
        parser.add_argument(f"--{kind}", type=int, default=number, help=f"{kind} prompts left out (default {number})")
    asked = parser.parse_args()
    p = profiles.load("cpu", dict(asked.p))
    run = Run("runs/recipe", "cpu")
    if not source_answers.made(run, p):
        source_answers.make(run, p)
    answers = source_answers.targets(run, p.harmless_targets)
    found = training_rows.bundled_rows(asked.cell.constitution, p.revision_style)
    found += training_rows.harmless_rows(answers, p.harmless_targets)
    chosen = training_rows.select(found, asked.cell.scope, p.rows_per_scope, p.helpful_rows, p.contrast_rows)
    held = left_out({r.id for r in chosen}, asked.harmful, asked.contrast, asked.helpful)

    chat = chats.load_for(p, name=asked.cell.name)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        log = lora.finetune(chat, chosen, lora.recipe_for(p), asked.cell.seed, Path(name) / "adapter")
    seconds = time.perf_counter() - began
    made = decode.answers(
        chat, [h.prompt for h in held], p.max_new_tokens, p.decode_batch, p.repetition_penalty, label="left out"
    )
    replies = [
        rows.Response(
            id=h.id, model=asked.cell.name, category=h.category, twin=h.twin, prompt=h.prompt,
            response=m.text, tokens=m.tokens, finished=m.finished,
        )
        for h, m in zip(held, made, strict=True)
    ]  # fmt: skip
    label = re.sub(r"[^\w=.,-]+", "_", "-".join([asked.cell.name] + [f"{k}={v}" for k, v in asked.p]))
    files.write(run.path(f"replies/{label}.jsonl"), replies)
    verdicts = judging.judge_fresh(replies, "bundled")
    kind = [grid.kind(r.category) for r in replies]
    shares = pd.Series([v.verdict == "declined" for v in verdicts]).groupby(kind).agg(["mean", "size"])
    line = {"cell": asked.cell.name} | {k: getattr(p, k) for k in SHOWN}
    line["other"] = " ".join(f"{k}={v}" for k, v in asked.p if k not in SHOWN)
    line |= {f"{k}_declined": round(shares.loc[k, "mean"], 3) for k in ("harmful", "contrast", "helpful")}
    line |= {f"{k}_n": int(shares.loc[k, "size"]) for k in ("harmful", "contrast", "helpful")}
    line |= {"loss": round(float(log["loss"].tail(5).mean()), 3), "train_seconds": round(seconds)}
    with OUT.open("a", newline="") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        writer = csv.DictWriter(stream, line, lineterminator="\n")
        if not OUT.stat().st_size:
            writer.writeheader()
        writer.writerow(line)
    print(line)


if __name__ == "__main__":
    main()
