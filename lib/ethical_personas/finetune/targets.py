"""Which matrices LoRA tunes: every linear one of the chosen layers, whatever a family calls them."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ethical_personas.errors import CompanionError, first_line
from ethical_personas.models import base_models, chats
from ethical_personas.models.chats import Chat
from ethical_personas.models.lower_states import decoder_layers


def check(p) -> None:
    """Check a profile's base model and local teacher as far as their files allow, without weights.

    A model that is not on disk yet is left to the job that fetches it. Raises CompanionError when a file is missing,
    a template cannot be used, or LoRA does not fit the base model.
    """
    if place := base_models.folder(p.base_model, fetch=False):
        model = _without_weights(p.base_model, place, p.trust_remote_code)
        tokenizer = chats.load_tokenizer(place, p.base_model, p.chat_template, p.system_prompt, p.trust_remote_code)
        largest = max(tokenizer.pad_token_id, *Chat("", model, tokenizer, p.system_prompt).ids("Yes?", "Yes."))
        if largest >= (size := model.get_input_embeddings().num_embeddings):
            raise CompanionError(
                f"{p.base_model}: its tokenizer writes token {largest}, its model knows {size}; are both of one model?"
            )
        tuned(model, p.lora_r, p.lora_alpha, p.lora_layers)
    if "local" in p.live.values() and p.teacher_model and (place := base_models.folder(p.teacher_model, fetch=False)):
        chats.load_tokenizer(place, p.teacher_model, "own")


def _without_weights(base_model: str, place: Path, trust_remote_code: bool) -> PreTrainedModel:
    """The model that a folder's config.json describes, on torch's meta device: shapes, no memory."""
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code, local_files_only=True)
        if getattr(config, "quantization_config", None):
            raise CompanionError(f"{base_model}: its weights are quantised; give the model as it was before")
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except chats.UNREADABLE as error:
        raise CompanionError(f"{base_model}: its config.json gives no language model ({first_line(error)})") from None


def tuned(model: PreTrainedModel, rank: int, alpha: int, layers: str) -> PeftModel:
    """A model with LoRA on all linear matrices of all its layers, or of the `upper` half of them.

    Raises CompanionError when peft does not support the family, or would change other matrices too.
    """
    wanted = linear(model, layers)
    depth = model.config.get_text_config().num_hidden_layers
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted({name.rpartition(".")[2] for name in wanted}),
        layers_to_transform=list(range(depth // 2, depth)) if layers == "upper" else None,
        task_type="CAUSAL_LM",
        fan_in_fan_out=model.config.model_type == "gpt2",  # GPT-2 keeps its matrices transposed
    )
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of peft's own calls
            made = get_peft_model(model, config)
    except ValueError as error:
        raise CompanionError(
            f"LoRA does not fit a {model.config.model_type} model ({first_line(error)}); choose another base_model"
        ) from None
    prefix, suffix = "base_model.model.", ".lora_A"
    found = {n[len(prefix) : -len(suffix)] for n, _ in made.named_modules() if n.endswith(suffix)}
    if found != set(wanted):  # a vision tower, say, whose matrices have the same names
        other = min(found ^ set(wanted))
        raise CompanionError(
            f"LoRA would not tune the language model's layers alone ({other}); choose another base_model"
        )
    return made


def linear(model: PreTrainedModel, layers: str) -> list[str]:
    """Full names of the linear matrices in the chosen layers of a model's decoder; raises CompanionError for none."""
    stack = decoder_layers(model)
    chosen = stack[len(stack) // 2 if layers == "upper" else 0 :]
    inside = {id(m) for block in chosen for m in block.modules() if isinstance(m, torch.nn.Linear | Conv1D)}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    if not names:
        raise CompanionError(
            f"a {model.config.model_type} model has no linear layers for LoRA; choose another base_model"
        )
    return names


def described(model: PreTrainedModel, layers: str) -> str:
    """One line for the log: which matrices are tuned, in how many of the layers."""
    names = linear(model, layers)
    kinds = Counter(name.rpartition(".")[2] for name in names)
    return f"LoRA on {len(names)} matrices ({layers} layers): " + ", ".join(f"{k} x {n}" for k, n in kinds.items())
