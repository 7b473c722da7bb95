"""Answers: this companion's decoding against a plain loop over `model.generate`, eight prompts in file order.

    python benchmarks/generation.py

Same model, same greedy decoding, same repetition penalty on the answer alone.
"""

from __future__ import annotations

import torch
from ethical_personas.models import chats, decode
from ethical_personas.study import materials
from ethical_personas.study import profile as profiles
from measure import Clock, Done, alternate, record
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

P = profiles.load("cpu", {})
NEW = 24  # tokens of an answer


def chosen(number: int) -> list[str]:
    """So many evaluation prompts, evenly over all of them and so over the categories."""
    known = materials.prompts("eval")
    return [known[i * len(known) // number].prompt for i in range(number)]


PROMPTS = chosen(96)


def ours(prompts: list[str] = PROMPTS) -> Done:
    """Sorted by length, in the study's batches."""
    chat = chats.load(P.base_model, dtype=P.dtype)
    with Clock() as clock:
        made = decode.answers(chat, prompts, NEW, P.decode_batch, P.repetition_penalty)
    return clock.done(sum(a.tokens for a in made), [a.text for a in made])


def plain(batch: int = 8) -> Done:
    """In file order, padded to the longest of each batch."""
    chat = chats.load(P.base_model, dtype=P.dtype)
    said, tokens = [], 0
    with Clock() as clock, torch.inference_mode():
        for start in range(0, len(PROMPTS), batch):
            ids = [chat.ids(text) for text in PROMPTS[start : start + batch]]
            inputs = chat.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
            width = inputs["input_ids"].shape[1]
            penalty = RepetitionPenaltyLogitsProcessor(P.repetition_penalty, prompt_ignore_length=width)
            output = chat.model.generate(
                **inputs,
                max_new_tokens=NEW,
                do_sample=False,
                logits_processor=LogitsProcessorList([penalty]),
                pad_token_id=chat.tokenizer.pad_token_id,
                eos_token_id=chat.ends,
            )
            for row in output[:, width:].tolist():
                kept = next((k + 1 for k, token in enumerate(row) if token in chat.ends), len(row))
                tokens += kept
                said.append(chat.tokenizer.decode(row[:kept], skip_special_tokens=True).strip())
    return clock.done(tokens, said)


if __name__ == "__main__":
    found = alternate({"companion": ours, "generate, batch 8": plain})
    first, second = (done[0].result for done in found.values())
    same = sum(a == b for a, b in zip(first, second, strict=True))
    words = sum(a.split()[:3] == b.split()[:3] for a, b in zip(first, second, strict=True))
    record(
        f"answers, {len(PROMPTS)} prompts, {NEW} tokens",
        found,
        f"{same} of {len(first)} answers equal, {words} in their first three words (bfloat16 rounds by batch)",
    )
