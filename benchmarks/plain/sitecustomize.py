"""Start-up module of the plain side of whole.py: with this folder first in PYTHONPATH, every Python there runs it.

It takes this companion's own ways out of the modules that are imported afterwards: no lower half computed once or
shared, answers eight at a time in file order, weights that may not learn.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

BATCH = 8


def _at_every_step(lower_half) -> None:
    lower_half.build = lambda *_, **__: None


def _in_every_pass(lower_states) -> None:
    lower_states.open_states = lambda *_, **__: None


def _frozen(chats) -> None:
    load = chats.load

    def frozen(*given, **named):
        chat = load(*given, **named)
        chat.model.requires_grad_(False)
        return chat

    chats.load = frozen


def _in_file_order(decode) -> None:
    sorted_by_length = decode.answers

    def answers(chat, prompts, max_new_tokens=64, batch=BATCH, *given, **named):
        parts = (prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH))
        return [one for part in parts for one in sorted_by_length(chat, part, max_new_tokens, BATCH, *given, **named)]

    decode.answers = answers


CHANGES = {
    "ethical_personas.finetune.lower_half": _at_every_step,
    "ethical_personas.models.lower_states": _in_every_pass,
    "ethical_personas.models.chats": _frozen,
    "ethical_personas.models.decode": _in_file_order,
}


class Plain(MetaPathFinder):
    """Changes a module of CHANGES once its own code has run, so that nothing is imported that is not asked for."""

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGES or (spec := PathFinder.find_spec(name, path)) is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            CHANGES[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Plain())
