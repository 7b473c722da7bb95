"""Answers of a model, by itself or by a server that holds it (`responses_url`), such as vLLM with LoRA adapters.

An OpenAI-compatible server knows each model by the name it has here: `source`, a cell, or `<cell>@<step>`. Its base is
the one here: with `source_stage: sft` the run's own source model, which the adapters fit. What needs log-probabilities
cannot be asked there; it stays with the local model, as do the short answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.models.chats import Chat
from ethical_personas.models.decode import Generated
from ethical_personas.models.decode import answers as local_answers
from ethical_personas.models.templates import turns
from ethical_personas.paths import sha256, short
from ethical_personas.run import Run
from ethical_personas.study import rows

AT_ONCE = 32  # calls side by side at most: a server answers them in one batch


def write_template(tokenizer, run: Run) -> Path:
    """Write the chat template that a server has to use into the run's `served/`; returns the file."""
    path = run.path("served/chat_template.jinja")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(tokenizer.chat_template), encoding="utf-8")
    return path


def answers(p, run: Run, chat: Chat, adapter: Path | None, prompts: list[str], label: str) -> list[Generated]:
    """Greedy answers, in the order of `prompts`.

    A server's are kept in the run's `served/`, each of them before the next: only what is missing there is asked.

    Args:
        p: notebook 03's parameters.
        run: the run.
        chat: the model here, whose template a server must share.
        adapter: the folder of its adapter; after another training under the same name all is asked again.
        prompts: what is asked.
        label: of the progress bar.

    Raises:
        CompanionError: as `endpoint.connect` and `Endpoint.ask` do; a prompt is left without an answer; the server
            makes another text of a prompt.
    """
    if not p.responses_url:
        return local_answers(chat, prompts, p.max_new_tokens, p.decode_batch, p.repetition_penalty, label=label)
    cache, template = run.path(f"served/{chat.name}.jsonl"), write_template(chat.tokenizer, run)
    weights = sha256(adapter / "adapter_model.safetensors") if adapter else ""
    told = (p.responses_url, chat.base_model, chat.name, weights, chat.system, chat.tokenizer.chat_template)
    keys = {t: hashlib.sha256(repr((*told, p.max_new_tokens, t)).encode()).hexdigest() for t in prompts}
    known = {row.id: row for row in files.read_appended(cache, rows.Served)}
    missing = [t for t, key in keys.items() if key not in known]
    failed = []
    for text, answer in _asked(p, chat, missing, template, label):
        if isinstance(answer, str):
            failed.append(answer)
            continue
        row = rows.Served(id=keys[text], answer=answer.text, tokens=answer.tokens, finished=answer.finished)
        files.append(cache, row, durable=True)
        known[row.id] = row
    if failed:
        raise CompanionError(
            f"responses_url: {len(failed)} of {len(prompts)} prompts without an answer of {chat.name!r} ({failed[0]}); "
            "run again, the other answers are kept"
        )
    return [Generated(row.answer, row.tokens, row.finished) for row in (known[keys[t]] for t in prompts)]


def _asked(p, chat: Chat, texts: list[str], template: Path, label: str) -> Iterator[tuple[str, Generated | str]]:
    """Each text with the server's answer, or with why there is none, as they come in."""
    from ethical_personas.models import endpoint  # late: its client takes a second to load

    server = endpoint.connect("responses", chat.name, p.responses_url)

    def read(said: str, finished: bool) -> Generated:
        return Generated(said, len(chat.tokenizer(said, add_special_tokens=False)["input_ids"]) + finished, finished)

    def ask(text: str) -> Generated | str:
        limits = {"temperature": 0, "max_tokens": p.max_new_tokens}
        reply = server.ask(turns(chat.system, text), read, empty=True, **limits)
        here = len(chat.ids(text))
        there, written = reply.tokens or (here, None)
        if there != here:
            raise CompanionError(
                f"responses_url: the server makes {there} tokens of a prompt that has {here} here: it has another chat "
                f"template, or adds a system prompt; start it on {chat.base_model} with "
                f"--chat-template {short(template)}"
            )
        if not isinstance(reply.value, Generated):
            return str(reply.error)
        return reply.value if written is None else replace(reply.value, tokens=written)  # counted by the server itself

    pool = ThreadPoolExecutor(min(p.decode_batch, AT_ONCE))
    try:
        calls = {pool.submit(ask, text): text for text in texts}
        for call in tqdm(as_completed(calls), total=len(calls), desc=f"{chat.name}: {label}", unit="row", leave=False):
            yield calls[call], call.result()
    finally:
        pool.shutdown(cancel_futures=True)
