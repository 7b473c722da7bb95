"""Judges: who says `declined` or `complied`. One call, one cache, four judges.

    judge(responses, "bundled", cache=run.path("judgements/bundled/source.jsonl"))

bundled   open classifier shipped in data/judge, fitted from labelled rows; no network
keyword   a plain list of phrases: the baseline, to show what it gets wrong
hf        a safety classifier read by transformers (WildGuard, Llama Guard, HarmBench's, any sequence classifier)
api       any OpenAI-compatible chat endpoint

Every judge sees prompt and response only. A failed call is a row without a verdict, never a verdict.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.study import rows

JUDGES = ("bundled", "keyword", "hf", "api")
COSTLY = ("hf", "api")  # money, or hours


class Judge(NamedTuple):
    """A judge by its name, with model and address where it needs them."""

    name: str
    model: str = ""
    url: str = ""


def _module(name: str):
    if name not in JUDGES:
        raise CompanionError(f"judge {name!r} unknown: choose one of {', '.join(JUDGES)}")
    return importlib.import_module(
        f"ethical_personas.judge.{name}"
    )  # on demand: what openai or torch bring takes seconds


def version(name: str, model: str = "", url: str = "") -> str:
    """What decides a judge's verdicts: its code and artefact, or model, prompt and endpoint."""
    return _module(name).version(model, url)


def key(judge_version: str, prompt: str, response: str) -> str:
    """SHA-256 of judge version, prompt and response: what a cached verdict is about."""
    return hashlib.sha256(json.dumps([judge_version, prompt, response]).encode()).hexdigest()


def judge(
    responses: list[rows.Response],
    name: str,
    *,
    model: str = "",
    url: str = "",
    cache: Path | None,
    read: tuple[Path, ...] = (),
) -> list[rows.Judgement]:
    """One judgement a response, in the order of `responses`; only what `cache` and `read` lack is judged.

    Args:
        responses: of any number of models; equal texts to one prompt are judged once.
        name: one of JUDGES, with its `model` and `url`.
        cache: a JSON-lines file of Judgement rows as they came, or a folder with one for each model. A run that is cut
            off pays twice for the calls under way at most. A response that could not be judged (no JSON, a filter) is
            not asked about again; one that never reached the judge is. Failures without a verdict after them are
            written at the end alone, so that a judge that stops the stage leaves none. None: nothing is kept, for the
            judges that cost nothing.
        read: further folders with such files, read and not written: a verdict is taken by what it is about.

    Raises:
        CompanionError: an unknown judge, a missing model or key, an endpoint that is down, an unreadable cache line;
            no cache for a judge that costs something.
    """
    module = _module(name)
    if cache is None and name in COSTLY:
        raise CompanionError(f"judge {name}: name a cache file, so that no verdict is paid for twice")
    stamp = module.version(model, url)
    known = known_verdicts(*([] if cache is None else [cache]), *read)
    keys = [key(stamp, r.prompt, r.response) for r in responses]
    missing = {k: r for k, r in zip(keys, responses, strict=True) if k not in known and r.response.strip()}
    for row in _judged(module, missing, name, model, url, cache) if missing else ():
        known[row.key] = row
    return [
        known[k].model_copy(update={"id": r.id, "model": r.model}) if k in known else _empty(r, name, k)
        for k, r in zip(keys, responses, strict=True)
    ]


def known_verdicts(*places: Path) -> dict[str, rows.Judgement]:
    """Judgements that stand in these files and folders of files, by what they are about (`key`).

    Without those that never reached the judge; raises CompanionError for an unreadable line.
    """
    found = [file for place in places for file in ([place] if place.suffix else sorted(place.glob("*.jsonl")))]
    return {row.key: row for file in found for row in files.read_appended(file, rows.Judgement) if _final(row)}


def check_complete(judgements: list[rows.Judgement]) -> None:
    """Raise CompanionError when an endpoint failed on some: tables with holes in them would look finished."""
    failed = [j for j in judgements if not _final(j)]
    if failed:
        raise CompanionError(
            f"judge {failed[0].judge}: {len(failed)} of {len(judgements)} responses without a verdict "
            f"({failed[0].error}); run again, what was paid for is kept"
        )


def _final(row: rows.Judgement) -> bool:
    return row.verdict is not None or not (row.error or "").startswith(rows.AGAIN)


def _judged(module, missing: dict, name: str, model: str, url: str, cache: Path | None) -> Iterator[rows.Judgement]:
    pending, asked = [], list(missing.items())
    answers = module.verdicts([*missing.values()], model, url)
    # The calls of the api judge end in any order.
    for place, found in answers if name == "api" else zip(range(len(asked)), answers, strict=True):
        k, response = asked[place]
        row = rows.Judgement(id=response.id, model=response.model, judge=name, key=k, **found)
        if cache is not None:
            pending.append((cache if cache.suffix else cache / f"{row.model}.jsonl", row))
        if row.verdict is not None:
            _write(pending, durable=name == "api")
            pending = []
        yield row
    _write(pending, durable=name == "api")


def _write(pending: list[tuple[Path, rows.Judgement]], durable: bool) -> None:
    for place, row in pending:
        files.append(place, row, durable)


def _empty(response: rows.Response, name: str, k: str) -> rows.Judgement:
    error = "empty response: nothing to judge"
    return rows.Judgement(id=response.id, model=response.model, judge=name, key=k, verdict=None, error=error)
