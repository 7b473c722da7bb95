"""The one client of an OpenAI-compatible endpoint, for judge and teacher, and for answers of models (`responses_url`).

    endpoint = connect("judge", "gpt-x", "http://127.0.0.1:8000/v1")
    reply = endpoint.ask(messages, read, temperature=0)      reply.value is read(text), or reply.error says why not

The key comes from OPENAI_API_KEY, the address from `<role>_url`, else OPENAI_BASE_URL, else OpenAI's own. The client
retries what may pass. Two things stop the stage with the server's own words: a request that the server refuses as
such (no credit, unknown model, a field it does not know), and GIVE_UP calls in a row, or PATIENCE seconds, without a
usable answer.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx
import openai

from ethical_personas.errors import SECRET, CompanionError, redact

RETRIES = 4  # of one call: 429 with Retry-After, 5xx, time-outs, dropped connections
TIMEOUT = 120.0  # seconds a call; to connect, CONNECT
CONNECT = 5.0
GIVE_UP = 12
PATIENCE = 120.0
OPENAI = "https://api.openai.com/v1"
# What to check where a server knows no such model; else the field `<role>_model`.
NAMED = {"responses": "that the server has this name (vLLM: --served-model-name source --lora-modules CELL=FOLDER)"}
PASSING_STATUS = (408, 409, 425, 429)  # and 5xx: rows.AGAIN; any other 4xx is the request's own fault
# A refusal that concerns one text (a filter, its length) and says nothing about the next.
OF_THE_TEXT = re.compile(r"(?i)content.?(filter|polic)|moderat|flagged|invalid_prompt|inspection|context.?(length|win)")
THOUGHT = re.compile(r"(?is)^.*</(?:think|thinking|thought|reasoning)>")
OPEN_THOUGHT = re.compile(r"(?is)<(?:think|thinking|thought|reasoning)>.*$")


class Reply(NamedTuple):
    """One call: the value read from the answer, or an error; tokens as the endpoint counted them."""

    value: object | None
    error: str | None = None
    tokens: tuple[int, int] | None = None  # in, out
    without: list[str] | None = None  # request fields that this model refuses and that were left out


class Unusable(ValueError):
    """Raised by a reader: why an answer is not usable."""


def address(role: str, url: str = "") -> str:
    """The base URL that a role's calls go to; raises CompanionError for one that cannot be used or holds a secret."""
    found = (url.strip() or os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI).rstrip("/")
    name = f"field {role}_url" if url.strip() else "OPENAI_BASE_URL"
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CompanionError(f"{name}: {found!r} is no web address; write http://host:port/v1 or https://host/v1")
    if parts.username or parts.password or any(SECRET.search(k) for k, _ in parse_qsl(parts.query)):
        raise CompanionError(
            f"{name} holds a password or key; put it in OPENAI_API_KEY and leave it out of the address"
        )
    return found


def key(role: str, base: str) -> str:
    """The key without blanks and line ends; raises CompanionError where OpenAI's endpoint lacks one, or for no key."""
    found = os.environ.get("OPENAI_API_KEY", "").strip()
    if not found and base == OPENAI:
        raise CompanionError(
            f"OPENAI_API_KEY is not set; {role} api needs it, or your own server's address: {role}_url"
        )
    if not re.fullmatch(r"[!-~]*", found):
        raise CompanionError("OPENAI_API_KEY holds a blank or a letter that no key has; export it again")
    return found or "none"


def connect(role: str, model: str, url: str = "") -> Endpoint:
    """The process's client for a role, model and address: one count of failures for the whole stage.

    Raises CompanionError for a missing model or key, an unusable address or proxy.
    """
    if not model:
        raise CompanionError(
            f"{role} api: field {role}_model is empty; name the endpoint's model, -p {role}_model NAME"
        )
    base = address(role, url)
    return _endpoint(role, model, base, key(role, base))


@functools.lru_cache(maxsize=8)
def _endpoint(role: str, model: str, base: str, secret: str) -> Endpoint:
    timeout = httpx.Timeout(TIMEOUT, connect=min(CONNECT, TIMEOUT))
    try:
        # The environment's proxies are for other machines: a server on this one is reached directly.
        web = openai.DefaultHttpxClient(trust_env=not _loopback(base), timeout=timeout)
    except (ImportError, ValueError):  # a SOCKS proxy without its package, or an address httpx cannot read
        raise CompanionError(
            f"{role} api: the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY cannot be used (SOCKS needs "
            "`pip install 'httpx[socks]'`); correct or unset it, or name the endpoint's host in NO_PROXY"
        ) from None
    client = openai.OpenAI(api_key=secret, base_url=base, max_retries=RETRIES, timeout=timeout, http_client=web)
    return Endpoint(role, model, base, client)


def _loopback(base: str) -> bool:
    host = urlsplit(base).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback or host == "0.0.0.0"
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass
class Endpoint:
    """One model behind one address, and how its last calls went; it may be asked by several threads."""

    role: str
    model: str
    base: str
    client: openai.OpenAI
    without: list[str] = field(default_factory=list)
    failures: int = 0  # calls in a row without a usable answer
    since: float = 0.0  # when the first of them began, or the last usable answer came, whichever is later
    good: float = 0.0  # when that answer came
    reached: bool = True  # whether the last call reached the server
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the list and the count

    def ask(
        self,
        messages: list[dict],
        read: Callable[[str, bool], object],
        thoughts: bool = False,
        empty: bool = False,
        **options,
    ) -> Reply:
        """Ask once and read the answer.

        Args:
            messages: the conversation.
            read: makes a value of the answer's text and whether it ended by itself; raises Unusable.
            thoughts: whether the last line of the thinking counts where a server puts the whole answer there.
            empty: whether an answer without text is one too.
            options: `temperature` and `max_tokens`; dropped (or renamed) once a model refuses them.

        Raises:
            CompanionError: the server refuses the request as such, or has given no usable answer for too long.
        """
        began = time.monotonic()
        value = error = tokens = None
        try:
            reply = self._create(messages, options)
            self.reached, tokens = True, _tokens(reply)
            value = _value(reply, read, thoughts, empty)
        except Unusable as unusable:
            error = str(unusable)
        except openai.APIStatusError as refusal:
            self.reached, error = True, self._status(refusal)
        except openai.APIConnectionError as failure:
            self.reached, late = False, isinstance(failure, openai.APITimeoutError)
            error = "timeout: no answer in time" if late else f"connection: {short(failure.__cause__ or failure)}"
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, RecursionError) as strange:  # no JSON
            error = f"bad body: {short(strange)}"
        with self.lock:
            self._count(error, began)
        return Reply(value, error, tokens, list(self.without) or None)

    def _create(self, messages: list[dict], options: dict):
        # Where the last call found nobody, each further one is a single knock.
        client = self.client if self.reached else self.client.with_options(max_retries=0)
        while True:
            sent = {k: v for k, v in options.items() if k not in self.without}
            if "max_tokens" in options and "max_tokens" in self.without:
                sent["max_completion_tokens"] = options["max_tokens"]
            try:
                return client.chat.completions.create(model=self.model, messages=messages, **sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                told = f"{error.param} {_words(error)}"
                refused = [k for k in sent if k in ("temperature", "max_tokens") and re.search(rf"\b{k}\b", told)]
                if not refused or OF_THE_TEXT.search(told):
                    raise
                with self.lock:
                    self.without += [k for k in refused if k not in self.without]

    def _status(self, error: openai.APIStatusError) -> str:
        """What an HTTP error means for this one call; raises CompanionError where no other call can do better."""
        status, told = error.status_code, _words(error)
        if status not in (401, 402, 404) and OF_THE_TEXT.search(f"{error.code} {told}"):
            return f"text refused: {told}"
        if (status in PASSING_STATUS or status >= 500) and error.code != "insufficient_quota":
            return f"HTTP {status}: {told}"
        raise CompanionError(
            f"{self.role} api: HTTP {status} for model {self.model!r} ({told}); check OPENAI_API_KEY, "
            f"{NAMED.get(self.role, f'{self.role}_model')} and {self.role}_url; what was paid for is kept"
        ) from None

    def _count(self, error: str | None, began: float) -> None:
        if not self.failures:
            self.since = max(began, self.good)
        self.failures = self.failures + 1 if error else 0
        self.good = self.good if error else time.monotonic()
        waited = time.monotonic() - self.since
        if self.failures >= GIVE_UP or (self.failures > 1 and waited > PATIENCE):
            told = f"{self.failures} calls in a row without a usable answer"
            self.failures, self.reached = 0, True  # the stage ends here; another one begins anew
            raise CompanionError(
                f"{self.role} api: {told}, the last from {self.base} for model {self.model!r}: {error}; "
                "run again when it answers, what was paid for is kept"
            )


def _tokens(reply) -> tuple[int, int] | None:
    used = getattr(reply, "usage", None)
    asked, told = getattr(used, "prompt_tokens", None), getattr(used, "completion_tokens", None)
    return (asked, told) if type(asked) is int and type(told) is int else None


def _value(reply, read: Callable, thoughts: bool, empty: bool):
    """The answer as `read` reads it, its thinking left out; raises Unusable where there is none."""
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list):  # the client hands a body of another form through
        raise Unusable(f"bad body: {short(getattr(reply, 'error', None) or reply)}")
    message = getattr(choices[0], "message", None) if choices else None
    content = getattr(message, "content", None)
    if isinstance(content, list):  # parts, of which some are thinking
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(str(part.get("text", "")) for part in parts)
    if content is not None and (not isinstance(content, str) or content.encode(errors="replace").decode() != content):
        raise Unusable("bad body: the answer is no text")
    text = OPEN_THOUGHT.sub("", THOUGHT.sub("", content or "")).strip()
    finished = bool(choices) and getattr(choices[0], "finish_reason", None) != "length"
    if text:
        return read(text, finished)
    thinking = next((t for n in ("reasoning_content", "reasoning") if (t := getattr(message, n, None))), content or "")
    if not str(thinking).strip():
        if empty and choices:
            return read("", finished)
        raise Unusable("empty answer: no text in the first choice")
    if thoughts and finished:
        with contextlib.suppress(Unusable):
            return read(str(thinking).strip().splitlines()[-1], finished)
    raise Unusable("only thinking, no answer: turn the model's thinking off, or raise the server's token limit")


def _words(error: openai.APIStatusError) -> str:
    """What the server says, in one line."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("error", body)
        body = next((body[k] for k in ("message", "detail") if body.get(k)), body) if isinstance(body, dict) else body
    return short(body or error.message)


def short(told) -> str:
    """A library's or server's words in one line without secrets."""
    return redact(" ".join(str(told).encode(errors="replace").decode().split()))[:160]
