"""The loss on the answer's tokens only, computed without projecting the prompt's where the model allows it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from transformers import PreTrainedModel
from trl import SFTTrainer

from ethical_personas.finetune.lower_half import LowerHalf


@torch.no_grad()
def head_is_last(model: PreTrainedModel) -> bool:
    """Whether a model's logits are its output layer's products and nothing else.

    Gemma caps them, Granite and Cohere scale them: skipping the model's own forward there trains on another loss.
    Compared bit by bit on a few tokens, so that no list of families has to be kept.
    """
    ids = torch.arange(4, device=model.device)[None]
    head = model.get_output_embeddings()
    return torch.equal(head(model.base_model(ids, use_cache=False)[0]), model(ids, use_cache=False).logits)


def _frozen(head: torch.nn.Module) -> bool:
    """Whether an output layer is a plain matrix that does not learn."""
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad


class _Projected(torch.autograd.Function):
    """Weighted cross-entropy of hidden states under a frozen output layer, a few rows of logits at a time.

    The gradient is taken on the way, so that no more than ROWS rows of logits are ever held, in memory that every
    step uses again. A whole batch's are gigabytes for 262,144 words, fresh ones at every step: that took two thirds
    of the loss's time.
    """

    ROWS = 256

    @staticmethod
    def forward(ctx, hidden, weight, targets, shares, held: dict):
        """hidden (tokens, width); weight (words, width); targets, shares (tokens,). Returns the sum of loss x share."""
        rows = min(_Projected.ROWS, len(hidden))
        if not held or len(held["low"]) < rows:
            held["low"] = hidden.new_empty(rows, len(weight))
            held["full"] = held["low"].new_empty(held["low"].shape, dtype=torch.float32)
        grad, total = torch.empty_like(hidden), hidden.new_zeros((), dtype=torch.float32)
        for states, target, share, slope in zip(
            hidden.split(rows), targets[:, None].split(rows), shares[:, None].split(rows), grad.split(rows), strict=True
        ):
            low, full = held["low"][: len(states)], held["full"][: len(states)]
            full.copy_(torch.mm(states, weight.t(), out=low))
            top, said = full.amax(1, keepdim=True), full.gather(1, target)
            mass = full.sub_(top).exp_().sum(1, keepdim=True)
            total += ((mass.log() + top - said) * share).sum()
            low.copy_(full.mul_(share / mass).scatter_add_(1, target, -share))  # the gradient of these logits
            torch.mm(low, weight, out=slope)
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream, None, None, None, None


class AnswerLossTrainer(SFTTrainer):
    """SFTTrainer whose CPU loss projects the answer's tokens only, a few rows at a time where the head is frozen.

    trl's fused head recomputes each vocabulary tile in the backward pass and forms the frozen
    head's gradient: right on a GPU, two thirds of a step here. Same loss, tested against trl's and each family's own.
    trl's cannot weigh tokens, so that an `opening_weight` is computed here on any device.
    """

    head_is_last: bool | None = None
    opening_weight: float = 1.0  # what the first token of an answer counts, any other counting 1
    lower_half: LowerHalf | None = None  # of the training rows, where it is computed once

    def __init__(self, *args, **kwargs):
        self.held: dict[str, torch.Tensor] = {}  # the logits' memory, the same at every step
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        on_cpu = inputs["input_ids"].device.type == "cpu"
        if return_outputs or not (on_cpu or self.opening_weight != 1):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inner = self.accelerator.unwrap_model(model).get_base_model()
        if self.head_is_last is None:
            self.head_is_last = head_is_last(inner)
        targets = inputs["labels"][:, 1:]
        answer = targets != -100
        opens = (inputs["labels"][:, :-1] == -100)[answer]
        shares = torch.ones(len(opens), device=opens.device).masked_fill_(opens, self.opening_weight)
        shares = shares / (answer.sum() if num_items_in_batch is None else num_items_in_batch)
        given = {"attention_mask": inputs["attention_mask"], "use_cache": False}
        head = inner.get_output_embeddings()
        with self.lower_half.use_stored_states(inputs) if self.lower_half else nullcontext():
            if self.head_is_last:
                hidden = inner.base_model(inputs["input_ids"], **given)[0][:, :-1][answer]
                logits = None if on_cpu and _frozen(head) else head(hidden).float()
            else:
                logits = inner(inputs["input_ids"], **given).logits[:, :-1][answer].float()
        self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        if logits is None:
            return _Projected.apply(hidden, head.weight, targets[answer], shares, self.held)
        return (torch.nn.functional.cross_entropy(logits, targets[answer], reduction="none") * shares).sum()
