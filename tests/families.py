"""Tiny random models of many families, with a tokenizer and a chat template in each family's own manner."""

from __future__ import annotations

import persona_toys
import torch
import transformers as t
from ethical_personas.models import templates
from ethical_personas.models.chats import Chat
from tokenizers import processors

SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
_OLD = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
_GPT2 = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 512}
_DELTA = {f"linear_{name}": n for name, n in [("num_key_heads", 2), ("num_value_heads", 4), ("key_head_dim", 8)]}

CONFIGS = {
    "llama": (t.LlamaConfig, SMALL),
    "mistral": (t.MistralConfig, SMALL | {"sliding_window": 64}),
    "qwen2": (t.Qwen2Config, SMALL),
    "qwen3": (t.Qwen3Config, SMALL | {"head_dim": 8}),
    "gemma2": (t.Gemma2Config, SMALL | {"head_dim": 8, "final_logit_softcapping": 3.0, "sliding_window": 64}),
    "gemma3": (t.Gemma3TextConfig, SMALL | {"head_dim": 8, "sliding_window": 64}),
    "phi3": (t.Phi3Config, SMALL),
    "granite": (t.GraniteConfig, SMALL | {"logits_scaling": 8.0}),
    "cohere2": (t.Cohere2Config, SMALL | {"logit_scale": 0.0625}),
    "olmo2": (t.Olmo2Config, SMALL),
    "gpt_neox": (t.GPTNeoXConfig, _OLD),
    "gpt2": (t.GPT2Config, _GPT2 | {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}),
    "bloom": (t.BloomConfig, {"hidden_size": 32, "n_layer": 4, "n_head": 4}),
    "mixtral": (t.MixtralConfig, SMALL | {"num_local_experts": 2}),
    # Recurrent layers beside attention: their cache cannot be repeated.
    "lfm2": (t.Lfm2Config, SMALL | {"layer_types": ["conv", "full_attention"] * 2}),
    "qwen3_5": (t.Qwen3_5TextConfig, SMALL | _DELTA | {"head_dim": 8, "linear_value_head_dim": 8}),
}
# Matrices of each layer, by the family's own names.
LLAMA_LIKE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
MATRICES = {
    **dict.fromkeys(["llama", "mistral", "qwen2", "gemma2", "gemma3", "granite"], LLAMA_LIKE),
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
}


def model(family: str, vocabulary: int = 96, scale: float = 3.0, **more) -> t.PreTrainedModel:
    """A random model in float32, eval mode; `scale` multiplies the weights, so that logits are large enough to see."""
    torch.manual_seed(0)
    kind, options = CONFIGS[family]
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = kind(vocab_size=vocabulary, **options, **(ids | more))
    config._attn_implementation = "eager"
    made = t.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(scale)
    return made


# (begin of text, end of text, end of turn, template) as these families write them, shortened to what matters here.
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
FORMATS = {
    "llama": ("<s>", "</s>", "</s>", LLAMA2),
    "qwen2": (None, "<|endoftext|>", "<|im_end|>", templates.TEMPLATES["chatml"]),
    "gemma3": ("<bos>", "<eos>", "<end_of_turn>", GEMMA),
    "phi3": (None, "<|endoftext|>", "<|end|>", PHI),
}
TURNS = {"llama": [], "qwen2": ["<|im_start|>"], "gemma3": ["<start_of_turn>"], "phi3": ["<|user|>", "<|assistant|>"]}


def tokenizer(family: str, texts: list[str]) -> t.PreTrainedTokenizerFast:
    """A word-level tokenizer with the family's special tokens and template; <s> and <bos> are put before any text."""
    begin, end, turn, template = FORMATS[family]
    special = list(dict.fromkeys(["<unk>", begin or "<none>", end, turn, *TURNS[family]]))
    texts = [*texts, "user\nassistant\nsystem model ### Instruction: Response: [INST] [/INST]"]
    made = persona_toys.tokenizer(texts, special)
    made.pad_token, made.bos_token = end, begin
    if begin:
        post = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, made.bos_token_id)])
        made._tokenizer.post_processor = post
    made.chat_template = template
    return made


def chat(family: str, texts: list[str], chat_template: str = "own", system: str = "") -> Chat:
    """A random model of a family as a base model would be loaded, its generation config with the end of turn."""
    made = tokenizer(family, texts)
    end, turn = (made.convert_tokens_to_ids(token) for token in FORMATS[family][1:3])
    templates.impose(made, chat_template, family)
    network = model(family, len(made), eos_token_id=end)
    network.generation_config = t.GenerationConfig(eos_token_id=[end, turn])
    return Chat("source", network, made, system, f"path:{family}")
