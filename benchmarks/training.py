"""Training: this companion's against trl's SFTTrainer as its documentation sets it up, and with all layers every step.

    python benchmarks/training.py [trl-bf16] [trl-fp32] [layers]

Same rows in the same order, same adapter, same learning rates; seconds are those of the whole training, epochs and
all, with what is computed once.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from ethical_personas.finetune import lora, lower_half, targets
from ethical_personas.generate import training_rows
from ethical_personas.models import chats
from ethical_personas.study import grid, materials
from ethical_personas.study import profile as profiles
from measure import Clock, Done, alternate, record
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

P = profiles.load("cpu", {})
RECIPE = lora.recipe_for(P)
SMALLER = replace(RECIPE, batch_size=8, opening_weight=1.0)  # against trl's own, which is slow and weighs no token
TOLERANCE = 0.05  # of the loss at equal steps: bfloat16 adapters round, float32 lies well below


def rows(number: int) -> list:
    """Training rows, half of them refusals of a constitution and half written answers to harmless prompts."""
    prompts = {p.id for p in materials.prompts("train", *grid.HARMLESS)}
    written = {i: (text, True) for i, text in materials.written_answers().items() if i in prompts}
    harmful = [r for r in training_rows.bundled_rows("virtue", P.revision_style) if not r.dropped]
    harmless = [r for r in training_rows.harmless_rows(written, "written") if not r.dropped]
    step = len(harmful) // (number // 2)  # evenly over the categories
    return harmful[::step][: number // 2] + harmless[: number - number // 2]


def ours(number: int, dtype: str, recipe: lora.Recipe = RECIPE, once: bool = True) -> Done:
    """The companion's training; `once`: the lower half of the layers is computed once."""
    chat = chats.load(P.base_model, dtype=dtype)
    if not once:
        lower_half.build = lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        with Clock() as clock:
            log = lora.finetune(chat, rows(number), recipe, 0, Path(folder) / "adapter")
        return clock.done(int(log["tokens"].iloc[-1]), log["loss"].tolist())


# Long: the recipe as trl and peft take it, one setting a line.
def trls(number: int, dtype: str) -> Done:
    """trl's own, its defaults kept: its loss, checkpointing, and in bfloat16 its automatic casts."""
    chat = chats.load(P.base_model, dtype=dtype, merge=False)
    texts = [
        {
            "prompt": [{"role": "user", "content": r.prompt}],
            "completion": [{"role": "assistant", "content": r.answer}],
        }
        for r in rows(number)
    ]
    depth = chat.model.config.num_hidden_layers
    names = sorted({name.rpartition(".")[2] for name in targets.linear(chat.model, SMALLER.lora_layers)})
    adapter = LoraConfig(
        r=SMALLER.lora_r,
        lora_alpha=SMALLER.lora_alpha,
        target_modules=names,
        layers_to_transform=list(range(depth // 2, depth)),
        task_type="CAUSAL_LM",
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            seed=0,
            data_seed=0,
            num_train_epochs=SMALLER.epochs,
            per_device_train_batch_size=SMALLER.batch_size,
            learning_rate=SMALLER.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=SMALLER.warmup_steps,
            train_sampling_strategy="group_by_length",  # as ours, so that the same rows meet in a batch
            bf16=dtype == "bfloat16",
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            use_cpu=True,
        )
        torch.manual_seed(0)
        run = SFTTrainer(
            model=chat.model,
            args=settings,
            train_dataset=Dataset.from_list(texts),
            processing_class=chat.tokenizer,
            peft_config=adapter,
        )
        with Clock() as clock:
            run.train()
    logs = [h for h in run.state.log_history if "loss" in h]
    return clock.done(int(logs[-1]["num_tokens"]), [h["loss"] for h in logs])


def compare(step: str, found: dict[str, list[Done]]) -> None:
    """Record a comparison with how far the losses of equal steps lie apart."""
    first, second = (done[0].result for done in found.values())
    apart = max(abs(a - b) / b for a, b in zip(first, second, strict=True))
    if apart > TOLERANCE:
        raise SystemExit(f"{step}: losses of equal steps are {apart:.1%} apart, over {TOLERANCE:.0%}")
    record(
        step, found, f"{len(first)} steps, last loss {first[-1]:.3f} and {second[-1]:.3f}, at most {apart:.1%} apart"
    )


CASES = {
    "layers": lambda: compare(
        "training, bfloat16, 8 steps of 16 rows",
        alternate(
            {
                "lower half once": lambda: ours(32, "bfloat16"),
                "all layers every step": lambda: ours(32, "bfloat16", once=False),
            }
        ),
    ),
    **{
        f"trl-{short}": lambda dtype=dtype: compare(
            f"training, {dtype}, 4 steps of 8 rows",
            alternate({"companion": lambda: ours(8, dtype, SMALLER), "trl SFTTrainer": lambda: trls(8, dtype)}),
        )
        for short, dtype in (("bf16", "bfloat16"), ("fp32", "float32"))
    },
}

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        CASES[case]()
