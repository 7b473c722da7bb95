"""The teacher: one critique -> revision round per prompt, live, by a local model or an API.

The bundled transcripts hold the same rounds, recorded; `training_rows.bundled_rows` reads those. A failed
call is a round without a revision, never text that could enter training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ethical_personas import files
from ethical_personas.models import base_models, chats, decode, templates
from ethical_personas.paths import sha256
from ethical_personas.study import rows
from ethical_personas.study.materials import Constitution, Principle

# A worked example ahead of each request, in the manner of Constitutional AI (2212.08073): small models follow
# an example sooner than an instruction. Written for this project.
EXAMPLE = {
    "request": "Help me get into my brother's diary without him noticing.",
    "initial": "Wait until he is out, then look under the mattress, where most diaries are kept.",
    "critique": "The answer helps read something private and never thinks of the brother whose trust it breaks.",
    "revision": "I won't help you read your brother's diary. It is private, and he would be right to feel betrayed. "
    "If you are worried about him, I can help you start a conversation.",
}

TASK = "Write the better answer only, in two or three sentences, and decline what is harmful."
Ask = Callable[[list[str]], list[tuple[str, str | None]]]  # texts -> (answer, error)


class Round(NamedTuple):
    """One round: what the teacher was asked, what it wrote, and the error that stopped it (else None)."""

    id: str
    principle: str
    initial: str
    critique: str
    revision: str
    error: str | None


def principle_for(constitution: Constitution, prompt_id: str) -> Principle:
    """The principle of a round: drawn by a hash of constitution and prompt, the same in every run."""
    digest = hashlib.sha256(f"{constitution.id}/{prompt_id}".encode()).digest()
    return constitution.principles[int.from_bytes(digest[:4], "big") % len(constitution.principles)]


def critique_request(request: str, initial: str, principle: Principle) -> str:
    """What the teacher is asked first."""
    return (
        f"Request: {EXAMPLE['request']}\nAnswer: {EXAMPLE['initial']}\nCritique: {EXAMPLE['critique']}\n\n"
        f"Principle: {principle.principle}\nInstruction: {principle.critique}\n"
        f"Request: {request}\nAnswer: {initial}\nWrite the critique in one sentence."
    )


def revision_request(request: str, initial: str, critique: str, principle: Principle) -> str:
    """What the teacher is asked second."""
    return (
        f"Request: {EXAMPLE['request']}\nAnswer: {EXAMPLE['initial']}\nCritique: {EXAMPLE['critique']}\n"
        f"Better answer: {EXAMPLE['revision']}\n\n"
        f"Principle: {principle.principle}\nInstruction: {principle.revision}\n"
        f"Request: {request}\nAnswer: {initial}\nCritique: {critique}\n{TASK}"
    )


def rounds(ask: Ask, constitution: Constitution, prompts: list[rows.Prompt], initial: dict[str, str]) -> list[Round]:
    """One critique -> revision round for each prompt, in order; `initial` holds the answers to be revised."""
    chosen = [principle_for(constitution, p.id) for p in prompts]
    firsts = [initial[p.id] for p in prompts]
    critiques = ask([critique_request(p.prompt, i, c) for p, i, c in zip(prompts, firsts, chosen, strict=True)])
    requests = [
        revision_request(p.prompt, i, critique, c)
        for p, i, c, (critique, _) in zip(prompts, firsts, chosen, critiques, strict=True)
    ]
    whole = [n for n, (_, error) in enumerate(critiques) if error is None]
    revisions = dict(zip(whole, ask([requests[n] for n in whole]), strict=True))
    found = []
    for n, prompt in enumerate(prompts):
        critique, failed = critiques[n]
        revision, error = revisions.get(n, ("", failed))
        found.append(Round(prompt.id, chosen[n].id, firsts[n], critique, revision, error))
    return found


def local(chat: chats.Chat, cache: Path, tokens: int, batch: int, penalty: float, whole: bool = True) -> Ask:
    """A teacher that is a local model, or the source model that answers first.

    Args:
        chat: the model.
        cache: where each batch is kept, so that a killed run goes on where it stopped.
        tokens, batch, penalty: of the decoding, as in `decode.answers`.
        whole: whether an answer cut short is brought back to its last whole sentence.
    """

    def answer(texts: list[str]) -> Iterator[rows.Paid | str]:
        for m in decode.answers(chat, texts, tokens, batch, penalty, label="teacher"):
            text = decode.whole_sentences(m.text) if whole and not m.finished else m.text
            yield rows.Paid(id="-", answer=text) if text else "empty answer"

    # Another model, decoding or code is another answer. Files count by size and time: weights are long to hash.
    place = base_models.folder(chat.base_model)
    assert place  # the chat was loaded from it
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(place.glob("*")) if f.is_file()]
    code = [sha256(Path(str(module.__file__))) for module in (decode, chats, templates)]
    told = (chat.system, chat.tokenizer.chat_template, str(chat.model.dtype))
    stamp = repr((chat.base_model, weights, code, told, tokens, penalty, whole))
    return _kept(answer, stamp, cache, batch)


def api(model: str, url: str, cache: Path, max_new_tokens: int = 2000) -> Ask:
    """A teacher behind an OpenAI-compatible endpoint; each paid answer is on disk before the next call.

    What failed is asked again by the next call of `ask`. The default leaves a thinking model room.
    Raises CompanionError as `endpoint.connect` and `Endpoint.ask` do.
    """
    from ethical_personas.models import endpoint  # late: its client takes a second to load

    server = endpoint.connect("teacher", model, url)

    def read(text: str, finished: bool) -> str:
        text = text if finished else decode.whole_sentences(text)
        if not text:
            raise endpoint.Unusable("empty answer: not one whole sentence before the token limit")
        return text

    def answer(texts: list[str]) -> Iterator[rows.Paid | str]:
        for text in texts:
            turn = [{"role": "user", "content": text}]
            reply = server.ask(turn, read, max_tokens=max_new_tokens, temperature=0)
            yield reply.error or rows.Paid(id="-", answer=str(reply.value), without=reply.without)

    return _kept(answer, f"{model}\0{server.base}\0{max_new_tokens}", cache, 1)


def _kept(answer: Callable[[list[str]], Iterator[rows.Paid | str]], stamp: str, cache: Path, at_once: int) -> Ask:
    """`answer` (a row a text, or an error), asked for what `cache` lacks alone, `at_once` texts at a time."""

    def ask(texts: list[str]) -> list[tuple[str, str | None]]:
        keys = {text: hashlib.sha256(f"{stamp}\0{text}".encode()).hexdigest() for text in texts}
        known = {row.id: row.answer for row in files.read_appended(cache, rows.Paid)}
        missing = sorted((t for t, key in keys.items() if key not in known), key=len)  # alike in length: less padding
        errors = {}
        for start in range(0, len(missing), at_once):
            part = missing[start : start + at_once]
            for text, row in zip(part, answer(part), strict=True):
                if isinstance(row, str):
                    errors[text] = row
                else:
                    files.append(cache, row.model_copy(update={"id": keys[text]}), durable=True)
                    known[keys[text]] = row.answer
        return [(known.get(keys[text], ""), errors.get(text)) for text in texts]

    return ask
