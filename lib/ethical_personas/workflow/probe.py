"""Whether the endpoints of a profile answer: each is asked once for its list of models, which costs nothing."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from typing import NamedTuple

from ethical_personas.errors import CompanionError
from ethical_personas.study import grid
from ethical_personas.study.profile import Profile

ANSWER = 15.0  # seconds that an endpoint has to list its models
REFUSED = (401, 402, 403)  # the key, its credit, its rights


class Asked(NamedTuple):
    """An endpoint that a run asks: its role, its address as the profile names it, the models that it must have."""

    role: str
    url: str
    models: list[str]


def endpoints(p: Profile) -> list[Asked]:
    """The endpoints of a run under this profile."""
    found = []
    if "api" in p.live.values():
        found.append(Asked("teacher", p.teacher_url, [p.teacher_model]))
    if p.judge == "api":
        found.append(Asked("judge", p.judge_url, [p.judge_model]))
    if p.responses_url:
        cells = [c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)]
        steps = [f"{c}@{s}" for c in p.dose_cells if c in cells for s in p.dose_steps]
        found.append(Asked("responses", p.responses_url, [grid.SOURCE, *cells, *steps]))
    return found


def keys(p: Profile) -> None:
    """Raise CompanionError where an endpoint's key is missing or its address cannot be used; none is asked."""
    for one in endpoints(p):
        from ethical_personas.models import endpoint  # late: its client takes a second to load

        endpoint.key(one.role, endpoint.address(one.role, one.url))


def report(p: Profile) -> Iterator[str]:
    """A line for each endpoint that answers, and a note where it does not list what the run will ask for.

    Raises CompanionError for the first that does not answer, or that refuses the key.
    """
    for one in endpoints(p):
        base, listed = _list(one)
        where = f"{one.role}_url: {base}"
        if isinstance(listed, str):
            told = f"answers, but not with a list of models ({listed}); is it the address before /chat/completions?"
            yield f"  note: {where} {told}"
            continue
        yield f"  {where} answers; models in its list: {len(listed)}"
        if missing := [model for model in one.models if model not in listed]:
            near = difflib.get_close_matches(missing[0], listed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            more = f" and {len(missing) - 1} more of {len(one.models)}" if len(missing) > 1 else ""
            name = "" if one.role == "responses" else f"{one.role}_model "
            yield f"  note: {name}{missing[0]!r}{more}: not in that list{hint}"


def _list(one: Asked) -> tuple[str, list[str] | str]:
    """An endpoint's address, and the ids of its models or why there is no list; raises CompanionError."""
    import httpx  # late, all three: they take a second to load
    import openai

    from ethical_personas.models import endpoint

    server = endpoint.connect(one.role, one.models[0], one.url)
    # A single request: what is being asked is whether it answers now.
    client = server.client.with_options(max_retries=0, timeout=httpx.Timeout(ANSWER, connect=endpoint.CONNECT))
    origin = "" if one.url.strip() else f" ({'OPENAI_BASE_URL' if server.base != endpoint.OPENAI else 'the default'})"
    place, other = f"{one.role}_url: {server.base}{origin}", f"name another address: -p {one.role}_url ADDRESS"
    try:
        reply = client.get("/models", cast_to=httpx.Response)
    except openai.APIConnectionError as failure:  # time-outs too
        late = isinstance(failure, openai.APITimeoutError)
        why = f"within {ANSWER:g} seconds" if late else f"({endpoint.short(failure.__cause__ or failure)})"
        raise CompanionError(
            f"{place}: nobody answers {why}; start that server, fix the way to it (network, proxy), or {other}"
        ) from None
    except openai.APIStatusError as refusal:
        body = refusal.body.get("message") if isinstance(refusal.body, dict) else None
        told = f"HTTP {refusal.status_code}: {endpoint.short(body or refusal.message)}"
        if refusal.status_code in REFUSED:
            key = "check" if os.environ.get("OPENAI_API_KEY", "").strip() else "set"
            raise CompanionError(f"{place}: the key is refused ({told}); {key} OPENAI_API_KEY, or {other}") from None
        if refusal.status_code >= 500:
            raise CompanionError(f"{place}: out of order ({told}); check again when it is up, or {other}") from None
        return server.base, told
    try:
        return server.base, [str(model["id"]) for model in json.loads(reply.content)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):  # any page may stand there
        return server.base, "something else stands there"
