"""Score many endings of one beginning: the shared prefix is computed once and its KV cache reused.

    logits(chat, [prefix_a, prefix_b], [[a1, a2], [b1, b2]], keep=1)  ->  (4, 1, vocabulary)

Rows are left-padded twice, prefix and ending each, with the holes masked and positions counted
over real tokens only, so that neither batch size nor order nor reuse changes a score in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ethical_personas.models import lower_states
from ethical_personas.models.chats import Chat


def shared_prefix(rows: list[list[int]]) -> int:
    """Length of the longest common beginning that leaves each row at least one token of its own."""
    shortest = min(len(r) for r in rows) - 1
    return next((k for k in range(shortest) if len({r[k] for r in rows}) > 1), shortest)


def answer_ids(chat: Chat, user: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer alone, without the end of its turn.

    Raises CompanionError when the template writes another prompt once an answer follows.
    """
    prompt, rest = chat.turn(user, answer)
    end = len(rest) - 1 - rest[::-1].index(chat.end_of_turn)
    while chat.tokenizer.decode(rest[end - 1 : end]).isspace():  # some templates write a space before the end
        end -= 1
    return prompt, rest[:end]


def _left_padded(rows: list[list[int]], pad: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(r) for r in rows)
    ids = [[pad] * (width - len(r)) + r for r in rows]
    mask = [[0] * (width - len(r)) + [1] * len(r) for r in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@contextmanager
def float_head(model) -> Iterator[None]:
    """Compute the output layer in float32: a bfloat16 logit near 16 is only known to 0.06.

    Differences between constitutions are of that size; the layers below stay in their dtype.
    """
    head = model.get_output_embeddings()
    if head.weight.dtype == torch.float32:
        yield
        return
    weight = head.weight.float()
    bias = head.bias.float() if getattr(head, "bias", None) is not None else None
    exact = head.weight.dtype == torch.bfloat16

    def forward(hidden):
        before = torch.get_float32_matmul_precision()
        # Both factors hold bfloat16 numbers, so that products of bfloat16 with sums in float32 lose nothing, in half
        # the time where the processor has them.
        torch.set_float32_matmul_precision("medium" if exact and hidden.dtype == torch.bfloat16 else before)
        try:
            return torch.nn.functional.linear(hidden.float(), weight, bias)
        finally:
            torch.set_float32_matmul_precision(before)

    head.forward = forward
    try:
        yield
    finally:
        del head.forward  # the class's own comes back


@torch.inference_mode()
def logits(chat: Chat, prefixes: list[list[int]], endings: list[list[list[int]]], keep: int) -> torch.Tensor:
    """Logits at the last positions of every ending.

    A model whose cache cannot be repeated (recurrent layers) reads prefix and ending in one pass instead.

    Args:
        chat: the model and its tokenizer.
        prefixes: token ids, one list a prefix.
        endings: token ids of the endings of each prefix, the same number for each.
        keep: positions wanted; an ending shorter than that has rows without meaning at its beginning.

    Returns:
        (prefixes x endings, keep, vocabulary), in the order of `endings`.
    """
    return lower_states.run(chat.lower, [prefixes, endings], lambda: _logits(chat, prefixes, endings, keep))


def _logits(chat: Chat, prefixes: list[list[int]], endings: list[list[list[int]]], keep: int) -> torch.Tensor:
    (number,) = {len(e) for e in endings}
    model, pad = chat.model, chat.tokenizer.pad_token_id
    ids, mask = _left_padded(prefixes, pad, model.device)
    tails, tail_mask = _left_padded([t for e in endings for t in e], pad, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    start = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    if not all(hasattr(layer, "batch_repeat_interleave") for layer in start.cache.layers):
        return _plain(chat, [p + t for p, e in zip(prefixes, endings, strict=True) for t in e], keep)
    start.cache.batch_repeat_interleave(number)
    whole = torch.cat([mask.repeat_interleave(number, 0), tail_mask], dim=1)
    positions = (whole.cumsum(1) - 1).clamp(min=0)[:, ids.shape[1] :]
    out = model(input_ids=tails, attention_mask=whole, position_ids=positions, cache=start.cache, logits_to_keep=keep)
    return out.logits


def _plain(chat: Chat, rows: list[list[int]], keep: int) -> torch.Tensor:
    """Logits at the last `keep` positions of every row, one row a pass: no padding that a recurrent state could see."""
    device = chat.model.device
    found = [chat.model(input_ids=torch.tensor([row], device=device), logits_to_keep=keep).logits for row in rows]
    return torch.cat([torch.nn.functional.pad(x, (0, 0, keep - x.shape[1], 0)) for x in found])


def mean_logprobs(chat: Chat, prefixes: list[list[int]], endings: list[list[list[int]]], lengths: list[list[int]]):
    """Mean log-probability (nats) of the last tokens of each ending.

    Args:
        chat: the model and its tokenizer.
        prefixes: token ids, one list a prefix.
        endings: token ids of the endings of each prefix; each is longer than its scored part, so that every scored
            token has a predecessor in it.
        lengths: number of scored tokens of each ending.

    Returns:
        (prefixes, endings).
    """
    flat, wanted = [t for e in endings for t in e], [k for row in lengths for k in row]
    keep = max(wanted)
    scores = logits(chat, prefixes, [[t[:-1] for t in e] for e in endings], keep)
    targets, mask = _left_padded([t[-k:] for t, k in zip(flat, wanted, strict=True)], 0, scores.device)
    scores = scores[:, -targets.shape[1] :].float()
    chosen = scores.gather(-1, targets[..., None])[..., 0] - scores.logsumexp(-1)
    return ((chosen * mask).sum(1) / mask.sum(1)).reshape(len(prefixes), -1)
