"""LoRA fine-tuning of one cell with trl's SFTTrainer: loss on the answer and its end-of-turn only."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from datasets import Dataset
from peft import PeftModel
from transformers import TrainerCallback, set_seed
from trl import SFTConfig

from ethical_personas.errors import CompanionError
from ethical_personas.finetune import lower_half, targets
from ethical_personas.finetune.loss import AnswerLossTrainer
from ethical_personas.models import base_models
from ethical_personas.models.chats import Chat
from ethical_personas.study.rows import SftRow


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a cell; see profiles/cpu.yaml for each one's meaning."""

    lora_r: int
    lora_alpha: int
    lora_layers: str
    learning_rate: float
    epochs: float
    batch_size: int
    gradient_accumulation: int
    warmup_steps: int
    max_length: int
    opening_weight: float = 1.0


def recipe_for(p) -> Recipe:
    """The recipe that a notebook's parameters carry."""
    return Recipe(**{field.name: getattr(p, field.name) for field in fields(Recipe)})


# Long: the recipe as trl and peft take it, one setting a line.
def trainer(chat: Chat, chosen: list[SftRow], recipe: Recipe, seed: int, folder: Path) -> AnswerLossTrainer:
    """The trainer of one cell. Raises CompanionError when a row is longer than `max_length` tokens."""
    examples = []
    for row in chosen:
        # Tokenised here and not by trl: training sees the very ids that evaluation asks with.
        prompt, answer = chat.turn(row.prompt, row.answer, row.complete)
        if (length := len(prompt + answer)) > recipe.max_length:
            raise CompanionError(
                f"row {row.id}: {length} tokens, over max_length {recipe.max_length}; nothing is cut silently"
            )
        examples.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    config = SFTConfig(
        output_dir=str(folder),
        seed=seed,
        data_seed=seed,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup_steps,
        max_grad_norm=1.0,
        weight_decay=0.0,
        max_length=None,  # checked above
        train_sampling_strategy="group_by_length",
        bf16=False,  # the weights are in the compute dtype already; autocast would convert them at every step
        # Without checkpointing: the model is small beside its activations at these batch sizes.
        gradient_checkpointing=chat.model.device.type == "cuda",
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen, not averaged away
        router_aux_loss_coef=0.0,  # mixtures of experts: the loss is the answer's, on any device
        report_to="none",
        disable_tqdm=False,
        use_cpu=chat.model.device.type == "cpu",
    )
    if chat.model.device.type == "cpu":  # its backward pass is faster there than the fused kernel's at these lengths
        chat.model.set_attn_implementation("eager")
    model = targets.tuned(chat.model, recipe.lora_r, recipe.lora_alpha, recipe.lora_layers).train()
    about = model.peft_config["default"]  # read again when the adapter is
    about.base_model_name_or_path = chat.base_model
    about.revision = base_models.fingerprint(chat.base_model, chat.place) if chat.place else None
    made = AnswerLossTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(examples),
        processing_class=chat.tokenizer,
    )
    made.opening_weight = recipe.opening_weight
    # The adapter takes the model's type: float32 adapters on a bfloat16 model cost a third of a step.
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(chat.model.dtype)
    return made


def finetune(
    chat: Chat, chosen: list[SftRow], recipe: Recipe, seed: int, adapter: Path, checkpoints: Sequence[int] = ()
) -> pd.DataFrame:
    """Train one cell and publish its adapter folder by a rename; `chat` holds the tuned model afterwards.

    Returns the loss log, one row a step: step, epoch, loss, learning_rate, grad_norm, tokens (cumulated,
    padding left out), seconds (since training began). `checkpoints` are steps whose adapters are kept as
    `checkpoints/<step>` inside the folder. Raises CompanionError, and publishes nothing, when training diverges.
    """
    set_seed(seed)
    print(targets.described(chat.model, recipe.lora_layers))
    adapter.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=adapter.parent, prefix=f".{adapter.name}.") as name:
        ready = Path(name) / "adapter"
        run = trainer(chat, chosen, recipe, seed, Path(name) / "trainer")
        clock = _Clock(ready, checkpoints)
        run.add_callback(clock)
        run.add_callback(_Sound(adapter.name, recipe))
        if recipe.lora_layers == "upper":
            run.lower_half = lower_half.build(chat.model, run.train_dataset["input_ids"])
            print(lower_half.described(run.lower_half))
        run.train()
        log = pd.DataFrame([h for h in run.state.log_history if "loss" in h]).rename(columns={"num_tokens": "tokens"})
        log = log[["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens"]].assign(seconds=clock.seconds)
        log = log.apply(pd.to_numeric)
        _learnt(adapter.name, log, run.model, recipe)
        _save(run.model, ready)
        log.to_csv(ready / "log.csv", index=False)
        shutil.rmtree(adapter, ignore_errors=True)
        ready.rename(adapter)
    chat.model = run.model.eval()
    return log


def _save(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone; peft would else look for the base model to see whether its vocabulary grew."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)


def _diverged(cell: str, step: int, what: str, recipe: Recipe) -> CompanionError:
    return CompanionError(
        f"{cell}: training diverged at step {step}: {what}; lower learning_rate ({recipe.learning_rate:g}), raise "
        f"warmup_steps ({recipe.warmup_steps}), or try dtype float32; nothing was published"
    )


def _learnt(cell: str, log: pd.DataFrame, model: PeftModel, recipe: Recipe) -> None:
    """Raise CompanionError when training ended above the loss it began with, or left weights that are not finite."""
    eighth = max(1, len(log) // 8)  # the same share that the reported loss is the mean of
    first, last = log["loss"].head(eighth).mean(), log["loss"].tail(eighth).mean()
    step = int(log["step"].iloc[-1])
    if last > first:
        raise _diverged(cell, step, f"the loss rose from {first:.3g} to {last:.3g}", recipe)
    if not all(weight.isfinite().all() for weight in model.parameters() if weight.requires_grad):
        raise _diverged(cell, step, "its weights are not finite", recipe)


class _Sound(TrainerCallback):
    """Stops training at the first loss or gradient that is not finite: every later step would be wasted."""

    def __init__(self, cell: str, recipe: Recipe):
        self.cell, self.recipe = cell, recipe

    def on_log(self, args, state, control, logs=None, **_):
        for name in ("loss", "grad_norm"):
            value = float(logs.get(name, 1))
            # Logits that overflowed to one value for all words give a finite loss, and no gradient at all.
            if not math.isfinite(value) or (name == "grad_norm" and value == 0):
                raise _diverged(self.cell, state.global_step, f"its {name} is {value}", self.recipe)


class _Clock(TrainerCallback):
    """Notes the seconds at each step and keeps the adapter at chosen steps."""

    def __init__(self, folder: Path, checkpoints: Sequence[int]):
        self.folder, self.checkpoints, self.seconds = folder, set(checkpoints), []
        self.began = time.perf_counter()  # before the lower half is computed: that is a part of training

    def on_step_end(self, args, state, control, model=None, **_):
        self.seconds.append(time.perf_counter() - self.began)
        if state.global_step in self.checkpoints:
            _save(model, self.folder / "checkpoints" / str(state.global_step))
