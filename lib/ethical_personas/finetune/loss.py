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


class AnswerLossTrainer(SFTTrainer):
    """SFTTrainer whose CPU loss projects the answer's tokens only, in one matrix product.

    trl's fused head recomputes each vocabulary tile in the backward pass and forms the frozen
    head's gradient: right on a GPU, two thirds of a step here. Same loss, tested against trl's and each family's own.
    trl's cannot weigh tokens, so that an `opening_weight` is computed here on any device.
    """

    head_is_last: bool | None = None
    opening_weight: float = 1.0  # what the first token of an answer counts, any other counting 1
    lower_half: LowerHalf | None = None  # of the training rows, where it is computed once

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        on_cpu = inputs["input_ids"].device.type == "cpu"
        if return_outputs or not (on_cpu or self.opening_weight != 1):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inner = self.accelerator.unwrap_model(model).get_base_model()
        if self.head_is_last is None:
            self.head_is_last = head_is_last(inner)
        targets = inputs["labels"][:, 1:]
        answer = targets != -100
        given = {"attention_mask": inputs["attention_mask"], "use_cache": False}
        with self.lower_half.use_stored_states(inputs) if self.lower_half else nullcontext():
            if self.head_is_last:
                hidden = inner.base_model(inputs["input_ids"], **given)[0]
                logits = inner.get_output_embeddings()(hidden[:, :-1][answer]).float()
            else:
                logits = inner(inputs["input_ids"], **given).logits[:, :-1][answer].float()
        self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        each = torch.nn.functional.cross_entropy(logits, targets[answer], reduction="none")
        opens = (inputs["labels"][:, :-1] == -100)[answer]
        total = each.sum() + (self.opening_weight - 1) * each[opens].sum()
        return total / (answer.sum() if num_items_in_batch is None else num_items_in_batch)
