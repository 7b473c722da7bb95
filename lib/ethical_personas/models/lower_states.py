"""Hidden states where they enter the upper half of the layers: the source's, for the models that are tuned above them.

    chat.lower = open_states(chat.model, path, source)    the source records; a tuned model reads what `path` has
    run(chat.lower, asked, compute)                       compute(), from the middle up where the states are known
    save_states(chat.model, chat.lower, path)             the source leaves its states there

An adapter on the upper half leaves the layers below as they are, so that the same tokens in the same batches enter the
upper half with the same states, byte for byte, whichever of the models reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from ethical_personas.errors import CompanionError, first_line
from ethical_personas.paths import short


def decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList | list:
    """The layers of a model's decoder, from the lowest; empty where there are none of the number that it tells."""
    depth = model.config.get_text_config().num_hidden_layers
    lists = (m for m in model.get_decoder().modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth)
    return next(lists, [])


@contextmanager
def replace_forward(layers, forward: Callable) -> Iterator[None]:
    """Give layers another forward for a while."""
    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own comes back


class LowerStates:
    """States of every pass (batch, tokens, width), named `<hash of what was asked>-<number of the forward>`.

    Those that `path` holds are read; without a path all are recorded.
    """

    def __init__(self, model: PreTrainedModel, path: Path | None = None):
        layers = decoder_layers(model)
        self.lower, self.first = layers[: len(layers) // 2], layers[len(layers) // 2]
        self.file = safe_open(path, "pt") if path else None
        self.known = set(self.file.keys()) if self.file else set()
        self.recorded: dict[str, torch.Tensor] = {}
        self.separable: bool | None = None  # whether the states stand for the lower layers; tried on the first pass
        # How the family's layers return their states.
        self.tuple = self.file is not None and self.file.metadata()["tuple"] == "True"
        self.passes = 0  # that began in the middle

    def run(self, key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """`compute()`, which is the same function of the same tokens wherever it has this key."""
        if f"{key}-0" in self.known:
            self.passes += 1
            with self._given(key):
                return compute()
        if self.file or self.separable is False:
            return compute()
        with self._recording(key):
            found = compute()
        if self.separable is None:
            with self._given(key):
                self.separable = torch.equal(compute(), found)
        if not self.separable:
            self.recorded.clear()
        return found

    @contextmanager
    def _recording(self, key: str) -> Iterator[None]:
        """Inside, what enters the first upper layer is kept."""
        number = 0

        def keep(_, args, kwargs):
            nonlocal number
            states = args[0] if args else kwargs["hidden_states"]
            self.recorded[f"{key}-{number}"] = states.clone(memory_format=torch.contiguous_format)
            number += 1
            if not _plain(_cache(args, kwargs)):
                self.separable = False

        def look(_, __, out):
            self.tuple = isinstance(out, tuple)

        hooks = [
            self.first.register_forward_pre_hook(keep, with_kwargs=True),
            self.lower[-1].register_forward_hook(look),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _given(self, key: str) -> Iterator[None]:
        """Inside, each forward of the model takes its states instead of computing them.

        The cache's lower layers are told how many tokens there were, which is where the model looks that up.
        """
        number = 0

        def take(*args, **kwargs):
            nonlocal number
            name = f"{key}-{number}"
            states = self.file.get_tensor(name) if self.file else self.recorded[name]
            number += 1
            cache = _cache(args, kwargs)
            for place in range(len(self.lower)):
                counted = states.new_zeros(states.shape[0], 1, states.shape[1], 1)
                cache.update(counted, counted, place)
            return (states,) if self.tuple else states

        def on(states, *_, **__):
            return (states,) if self.tuple else states

        with replace_forward(self.lower[:1], take), replace_forward(self.lower[1:], on):
            yield


def run(lower: LowerStates | None, asked: object, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """`compute()`, which depends on the tokens `asked` (JSON) alone; with the lower half shared where it can be."""
    if lower is None:
        return compute()
    return lower.run(hashlib.sha256(json.dumps(asked).encode()).hexdigest(), compute)


def open_states(model: PreTrainedModel, path: Path, source: bool) -> LowerStates | None:
    """The source's states to be recorded, a tuned model's from the source's file.

    None on a card, and where there is no file or one that another lower half, machine or version has made.

    Raises:
        CompanionError: the file is damaged.
    """
    if model.device.type != "cpu" or len(decoder_layers(model)) < 2:
        return None
    if source:
        return LowerStates(model)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            made_by = file.metadata()["made_by"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise CompanionError(
            f"{short(path)}: damaged ({first_line(error)}); remove it, evaluations are slower without and the same"
        ) from None
    return LowerStates(model, path) if made_by == _made_by(model) else None


def save_states(model: PreTrainedModel, lower: LowerStates | None, path: Path) -> None:
    """Leave the states that the source has recorded in `path`, whole or not at all."""
    if lower is None or lower.file or not lower.recorded:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    save_file(lower.recorded, partial, {"made_by": _made_by(model), "tuple": str(lower.tuple)})
    partial.replace(path)


def described(lower: LowerStates | None) -> str:
    """One line for the reader, and for provenance."""
    if lower is None or lower.separable is False:
        return "all layers computed in every pass"
    if lower.file:
        return f"lower half of the layers taken from the source in {lower.passes} passes"
    mib = sum(states.nbytes for states in lower.recorded.values()) / 2**20
    return f"lower half of the layers kept for the tuned models: {len(lower.recorded)} forwards, {mib:.0f} MiB"


def _made_by(model: PreTrainedModel) -> str:
    """Hash of all that the states depend on beside the tokens: weights up to the middle, and how they are computed."""
    layers = decoder_layers(model)
    upper = {id(weight) for layer in layers[len(layers) // 2 :] for weight in layer.parameters()}
    told = hashlib.sha256(
        json.dumps(
            [
                torch.__version__,
                torch.backends.cpu.get_cpu_capability(),
                torch.get_num_threads(),
                model.config._attn_implementation,
                str(model.dtype),
                model.config.get_text_config().to_json_string(),
            ]
        ).encode()
    )
    for name, weight in model.get_decoder().named_parameters():
        if id(weight) not in upper:
            told.update(name.encode())
            told.update(weight.detach().contiguous().view(torch.uint8).numpy())
    return told.hexdigest()


def _cache(args: tuple, kwargs: dict) -> Cache | None:
    """The cache among what a layer is given; families name it differently."""
    return next((x for x in (*args, *kwargs.values()) if isinstance(x, Cache)), None)


def _plain(cache: Cache | None) -> bool:
    """Whether every layer of a cache is keys and values alone: recurrent states cannot be left out."""
    return cache is not None and all(type(x) in (DynamicLayer, DynamicSlidingWindowLayer) for x in cache.layers)
