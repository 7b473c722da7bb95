"""LoRA fine-tuning of one cell with trl's SFTTrainer: loss on the answer and its end-of-turn only."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from lib import materials
from lib.errors import CompanionError
from lib.grid import CATEGORIES
from lib.models import Chat
from lib.rows import Prompt, SftRow

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


class AnswerLossTrainer(SFTTrainer):
    """SFTTrainer whose CPU loss projects the answer's tokens only, in one matrix product.

    trl's fused head recomputes each vocabulary tile in the backward pass and forms the frozen
    head's gradient: right on a GPU, two thirds of a step here. Same loss, tested against trl's.
    """

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inner = self.accelerator.unwrap_model(model).get_base_model()
        hidden = inner.model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)[0]
        targets = inputs["labels"][:, 1:]
        answer = targets != -100
        logits = inner.lm_head(hidden[:, :-1][answer]).float()
        self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        total = torch.nn.functional.cross_entropy(logits, targets[answer], reduction="sum")
        return total / (answer.sum() if num_items_in_batch is None else num_items_in_batch)


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


def probes(chosen: list[SftRow], number: int = 2) -> list[Prompt]:
    """Training-split requests for a before/after look: harmful ones this cell is not trained on, and a harmless one."""
    seen = {r.id for r in chosen}
    unseen = [p for p in materials.prompts("train", *CATEGORIES) if p.id not in seen]
    return unseen[:: max(1, len(unseen) // number)][:number] + materials.prompts("train", "helpful")[-1:]


def cost(log: pd.DataFrame) -> pd.DataFrame:
    """One row: steps, tokens trained on (padding left out), seconds, tokens a second, last loss (mean of an eighth)."""
    tokens, seconds = int(log["tokens"].iloc[-1]), float(log["seconds"].iloc[-1])
    final = float(log["loss"].tail(max(1, len(log) // 8)).mean())
    return pd.DataFrame(
        [
            {
                "steps": len(log),
                "tokens": tokens,
                "train_seconds": round(seconds, 1),
                "tokens_per_second": tokens / seconds,
                "loss": final,
            }
        ]
    )
