"""The layers below the tuned ones, computed once for each row instead of once a step.

    half = build(model, rows)               None where the model does not allow it
    with half.use_stored_states(inputs):    the model's forward starts at the first tuned layer
        model(**inputs)

Adapters on the upper half leave everything below as it is, so that a row enters the first tuned layer with the same
hidden states in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from ethical_personas.models.lower_states import decoder_layers, replace_forward

BATCH = 16  # rows a pass; more do not fit the processor's cache
# Largest difference to the whole forward, as a share of its largest hidden state: rounding, as other batches bring too.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}


class LowerHalf:
    """Hidden states of rows where they enter the first tuned layer: (tokens, width), in the model's own dtype."""

    def __init__(self, model: PreTrainedModel):
        layers = decoder_layers(model)
        self.lower, self.upper = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        self.states: dict[tuple[int, ...], torch.Tensor] = {}
        self.tuple = False  # whether the family's layers return their states in a tuple

    @property
    def mib(self) -> float:
        """Memory of all states."""
        return sum(state.nbytes for state in self.states.values()) / 2**20

    @torch.no_grad()
    def compute(self, model: PreTrainedModel, rows: list[list[int]]) -> None:
        """Read rows of token ids up to the first tuned layer; neither that nor those above are run."""
        last, found = self.lower[-1], []
        run = last.forward

        def keep(*args, **kwargs):
            found.append(run(*args, **kwargs))
            self.tuple = isinstance(found[-1], tuple)
            return found[-1]

        unique = sorted({tuple(row) for row in rows}, key=len)
        with replace_forward([last], keep), replace_forward(self.upper, self._pass):
            for start in range(0, len(unique), BATCH):
                batch = unique[start : start + BATCH]
                ids, mask = _right_padded([torch.tensor(row) for row in batch])
                model.base_model(ids, attention_mask=mask, use_cache=False)
                states = found.pop()[0] if self.tuple else found.pop()
                # Cloned: a slice would keep the padding, too.
                self.states |= {row: one[: len(row)].clone() for row, one in zip(batch, states, strict=True)}

    @contextmanager
    def use_stored_states(self, inputs: dict[str, torch.Tensor]) -> Iterator[None]:
        """Inside, the model's forward of these right-padded inputs takes the stored states for its lower half."""
        rows = (ids[mask == 1] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True))
        states = pad_sequence([self.states[tuple(row.tolist())] for row in rows], batch_first=True)
        short = inputs["input_ids"].shape[1] - states.shape[1]
        states = torch.nn.functional.pad(states, (0, 0, 0, short))
        with replace_forward(self.lower, lambda *_, **__: self._pass(states)):
            yield

    def _pass(self, states: torch.Tensor, *_, **__):
        return (states,) if self.tuple else states


def build(model: PreTrainedModel, rows: list[list[int]]) -> LowerHalf | None:
    """The lower half of a model on the CPU for its training rows (token ids).

    None where it does not stand for the whole forward: dropout, layers that read more than the states of the one
    before. Tried on the shortest and the longest row, padded, before the others are read.
    """
    half = LowerHalf(model)
    if model.device.type != "cpu" or not half.lower:
        return None
    tried = [min(rows, key=len), max(rows, key=len)]
    half.compute(model, tried)
    if not _agrees(model, half, tried):
        return None
    half.compute(model, rows)
    return half


def described(half: LowerHalf | None) -> str:
    """One line for the log."""
    if half is None:
        return "lower half of the layers: computed at every step"
    return f"lower half of the layers: computed once for {len(half.states)} rows, {half.mib:.0f} MiB"


@torch.no_grad()
def _agrees(model: PreTrainedModel, half: LowerHalf, rows: list[list[int]]) -> bool:
    """Whether the last hidden states of rows are those of the whole forward, within TOLERANCE."""
    ids, mask = _right_padded([torch.tensor(row) for row in rows])
    given = {"input_ids": ids, "attention_mask": mask}
    whole = model.base_model(**given, use_cache=False)[0][mask == 1]
    with half.use_stored_states(given):
        ours = model.base_model(**given, use_cache=False)[0][mask == 1]
    return bool((ours - whole).abs().max() <= TOLERANCE.get(model.dtype, 0) * whole.abs().max())


def _right_padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask; the token in the padding is of no account, a causal model's states do not depend on it."""
    ids = pad_sequence(rows, batch_first=True)
    return ids, pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
