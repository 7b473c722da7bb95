"""Toys for the persona tests: a word-level tokenizer and tiny Llamas, random or taught in seconds."""

from __future__ import annotations

import torch
from ethical_personas.models.chats import Chat
from ethical_personas.models.templates import TEMPLATES
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer(texts: list[str], special: list[str] = SPECIAL) -> PreTrainedTokenizerFast:
    """One token a word, a space or a sign; vocabulary from `texts`. `special`: unknown, begin, end, and others."""
    raw = Tokenizer(models.WordLevel(unk_token=special[0]))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\s|[^\w\s]"), behavior="isolated")
    raw.decoder = decoders.Fuse()
    raw.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token=special[0], pad_token=special[0], eos_token=special[2], bos_token=special[1]
    )
    wrapped.chat_template = TEMPLATES["chatml"]
    wrapped.padding_side = "left"
    return wrapped


def chat(texts: list[str], seed: int = 0, name: str = "source", spread: float = 0.2, layers: int = 2) -> Chat:
    """A random Llama in float32 with that vocabulary; a larger `spread` of weights gives sharper scores."""
    tok = tokenizer([*texts, "user\nassistant\n"])
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=spread,
        pad_token_id=tok.pad_token_id,
        eos_token_id=tok.eos_token_id,
        bos_token_id=tok.bos_token_id,
        attn_implementation="eager",
    )
    return Chat(name, LlamaForCausalLM(config).eval(), tok)


def teach(student: Chat, pairs: list[tuple[str, str]], steps: int = 60, rate: float = 4e-3) -> Chat:
    """Overfit a toy on (user, answer) pairs, loss on answers only; the toy itself is changed."""
    torch.manual_seed(0)
    rows = [(student.ids(user), student.ids(user, answer)) for user, answer in pairs]
    width = max(len(whole) for _, whole in rows)
    ids = torch.tensor([whole + [0] * (width - len(whole)) for _, whole in rows])
    marked = [[-100] * len(p) + w[len(p) :] + [-100] * (width - len(w)) for p, w in rows]
    labels, mask = torch.tensor(marked), (torch.arange(width) < torch.tensor([[len(w)] for _, w in rows])).long()
    model = student.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    student.model = model.eval()
    return student
