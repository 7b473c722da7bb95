"""LoRA fine-tuning of one cell with trl's SFTTrainer: loss on the answer and its end-of-turn only."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback, set_seed
from trl import SFTConfig

from ethical_personas.errors import CompanionError
from ethical_personas.finetune.loss import AnswerLossTrainer
from ethical_personas.models.chats import Chat
from ethical_personas.study.rows import SftRow

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


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


def recipe_for(p) -> Recipe:
    """The recipe that a notebook's parameters carry."""
    return Recipe(**{field.name: getattr(p, field.name) for field in fields(Recipe)})


def trainer(chat: Chat, chosen: list[SftRow], recipe: Recipe, seed: int, folder: Path) -> AnswerLossTrainer:
    """The trainer of one cell. Raises CompanionError when a row is longer than `max_length` tokens."""
    for row in chosen:
        length = len(chat.ids(row.prompt, row.answer))
        if length > recipe.max_length:
            raise CompanionError(
                f"row {row.id}: {length} tokens, over max_length {recipe.max_length}; nothing is cut silently"
            )
    turns = [
        {"prompt": chat.messages(r.prompt), "completion": [{"role": "assistant", "content": r.answer}]} for r in chosen
    ]
    depth = chat.model.config.num_hidden_layers
    layers = list(range(depth // 2, depth)) if recipe.lora_layers == "upper" else None
    lora = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        target_modules=LINEAR,
        layers_to_transform=layers,
        task_type="CAUSAL_LM",
    )
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
        max_length=recipe.max_length,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length",
        bf16=False,  # the weights are in the compute dtype already; autocast would convert them at every step
        # Without checkpointing: the model is small beside its activations at these batch sizes.
        gradient_checkpointing=chat.model.device.type == "cuda",
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=False,
        use_cpu=chat.model.device.type == "cpu",
    )
    made = AnswerLossTrainer(
        model=chat.model.train(),
        args=config,
        train_dataset=Dataset.from_list(turns),
        processing_class=chat.tokenizer,
        peft_config=lora,
    )
    for weight in made.model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(
                chat.model.dtype
            )  # float32 adapters on a bfloat16 model cost a third of a step
    return made


def finetune(
    chat: Chat, chosen: list[SftRow], recipe: Recipe, seed: int, adapter: Path, checkpoints: list[int] = ()
) -> pd.DataFrame:
    """Train one cell and publish its adapter folder by a rename; `chat` holds the tuned model afterwards.

    Returns the loss log, one row a step: step, epoch, loss, learning_rate, grad_norm, tokens (cumulated,
    padding left out), seconds (since training began). `checkpoints` are steps whose adapters are kept as
    `checkpoints/<step>` inside the folder.
    """
    set_seed(seed)
    adapter.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=adapter.parent, prefix=f".{adapter.name}.") as name:
        ready = Path(name) / "adapter"
        run = trainer(chat, chosen, recipe, seed, Path(name) / "trainer")
        clock = _Clock(ready, checkpoints)
        run.add_callback(clock)
        run.train()
        log = pd.DataFrame([h for h in run.state.log_history if "loss" in h]).rename(columns={"num_tokens": "tokens"})
        log = log[["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens"]].assign(seconds=clock.seconds)
        log = log.apply(pd.to_numeric)
        run.model.save_pretrained(ready, safe_serialization=True)
        log.to_csv(ready / "log.csv", index=False)
        shutil.rmtree(adapter, ignore_errors=True)
        ready.rename(adapter)
    chat.model = run.model.eval()
    return log


class _Clock(TrainerCallback):
    """Notes the seconds at each step and keeps the adapter at chosen steps."""

    def __init__(self, folder: Path, checkpoints: list[int]):
        self.folder, self.checkpoints, self.seconds = folder, set(checkpoints), []

    def on_train_begin(self, *_, **__):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, model=None, **_):
        self.seconds.append(time.perf_counter() - self.began)
        if state.global_step in self.checkpoints:
            model.save_pretrained(self.folder / "checkpoints" / str(state.global_step), safe_serialization=True)
