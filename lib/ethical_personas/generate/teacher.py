"""The teacher: one critique -> revision round per prompt, live, by a local model or an API.

The bundled transcripts hold the same rounds, recorded; `training_rows.bundled_rows` reads those. A failed
call is a round without a revision, never text that could enter training.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.models import chats, decode
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

GIVE_UP = 8  # calls in a row without an answer after which an endpoint counts as down
NOT_TRIED = "not tried"
# Errors of the endpoint and not of the text asked: the same call may succeed later.
PASSING = ("APITimeoutError", "APIConnectionError", "RateLimitError", "InternalServerError", "bad body")
RETRIES, TIMEOUT = 4, 120.0  # of a call: times, seconds

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
        f"Request: {request}\nAnswer: {initial}\nCritique: {critique}\n"
        "Write the better answer only, in two or three sentences, and decline what is harmful."
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


def local(chat: chats.Chat, max_new_tokens: int, batch: int, repetition_penalty: float) -> Ask:
    """A teacher that is a local model; answers cut short are brought back to their last whole sentence."""

    def ask(texts: list[str]) -> list[tuple[str, str | None]]:
        made = decode.answers(chat, texts, max_new_tokens, batch, repetition_penalty, label="teacher")
        return [(m.text if m.finished else decode.whole_sentences(m.text), None) for m in made]

    return ask


def api(model: str, url: str, cache: Path, max_new_tokens: int = 300) -> Ask:
    """A teacher behind an OpenAI-compatible endpoint; each paid answer is on disk before the next call.

    The key is read from OPENAI_API_KEY by the client and written nowhere. Time-outs, 429 and 5xx are
    retried with back-off by the client; what still fails is an error, and the next call of `ask` tries it again.
    After GIVE_UP such failures in a row the endpoint counts as down and the rest is not tried. Raises CompanionError
    without a key for a hosted endpoint, and when the endpoint refuses the key or does not know the model.
    """
    if not model:
        raise CompanionError("parameter teacher_model: name the model that the endpoint serves")
    secret = os.environ.get("OPENAI_API_KEY")
    if not secret and not url:
        raise CompanionError("OPENAI_API_KEY is not set; export it, or name your own server by -p teacher_url")
    import openai

    client = openai.OpenAI(api_key=secret or "none", base_url=url or None, max_retries=RETRIES, timeout=TIMEOUT)

    def answer(text: str) -> tuple[str, str | None]:
        try:
            reply = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=max_new_tokens, temperature=0
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise CompanionError(
                f"teacher api: HTTP {error.status_code} for model {model!r}; "
                "check OPENAI_API_KEY, teacher_model and teacher_url"
            ) from None
        except (ValueError, RecursionError):  # a body that is no JSON
            return "", "bad body"
        except openai.OpenAIError as error:
            return "", type(error).__name__
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list):  # the client hands a body of another type through
            return "", "bad body"
        content = getattr(getattr(choices[0], "message", None), "content", None) if choices else None
        if content is not None and (
            not isinstance(content, str) or content.encode(errors="replace").decode() != content
        ):
            return "", "bad body"
        if content and choices[0].finish_reason == "length":
            content = decode.whole_sentences(content)
        content = (content or "").strip()
        return content, None if content else "empty answer"

    failures = 0

    def ask(texts: list[str]) -> list[tuple[str, str | None]]:
        nonlocal failures
        known = dict(_cached(cache))
        cache.parent.mkdir(parents=True, exist_ok=True)
        found = []
        with cache.open("a", encoding="utf-8") as out:
            for text in texts:
                key = hashlib.sha256(f"{model}\0{url}\0{max_new_tokens}\0{text}".encode()).hexdigest()
                if key in known:
                    found.append((known[key], None))
                    continue
                if failures == GIVE_UP:
                    found.append(("", f"{NOT_TRIED}: {failures} failures in a row"))
                    continue
                content, error = answer(text)
                failures = failures + 1 if error in PASSING else 0
                if error is None:
                    out.write(rows.Paid(id=key, answer=content).model_dump_json() + "\n")
                    out.flush()
                    os.fsync(out.fileno())
                found.append((content, error))
        return found

    return ask


def _cached(cache: Path) -> Iterator[tuple[str, str]]:
    """Paid answers so far; a last line cut by a crash is cut off, so that the next one starts afresh.

    Raises CompanionError naming file and line for any other line that is no paid answer.
    """
    if not cache.is_file():
        return
    whole = cache.read_bytes().rfind(b"\n") + 1
    os.truncate(cache, whole)
    for n, line in enumerate(cache.read_bytes().splitlines(), start=1):  # bytes: U+2028 inside an answer ends no line
        row = files.parse_line(line, rows.Paid, f"{cache}:{n}")
        yield row.id, row.answer
