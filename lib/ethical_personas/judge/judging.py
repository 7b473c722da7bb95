"""Judges: who says `declined` or `complied`. One call, one cache, four judges.

    judge(responses, "bundled", cache=run.path("judgements/bundled/source.jsonl"))

bundled   open classifier shipped in data/judge, fitted from labelled rows; no network, no torch
keyword   a plain list of phrases: the baseline, to show what it gets wrong
hf        a safety classifier read by transformers (WildGuard, Llama Guard, HarmBench's, any sequence classifier)
api       any OpenAI-compatible chat endpoint

Every judge sees prompt and response only. A failed call is a row without a verdict, never a verdict.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.study import rows

JUDGES = ("bundled", "keyword", "hf", "api")
NOT_TRIED = "not tried"
# Beginnings of errors that are an endpoint's fault and not the text's: the same call may succeed later.
DOWN = ("timeout", "connection", "bad body", "HTTP 5", "HTTP 429")


def _module(name: str):
    if name not in JUDGES:
        raise CompanionError(f"judge {name!r} unknown: choose one of {', '.join(JUDGES)}")
    return importlib.import_module(f"ethical_personas.judge.{name}")  # on demand: 04-06 need neither torch nor openai


def version(name: str, model: str = "", url: str = "") -> str:
    """What decides a judge's verdicts: its code and artefact, or model, prompt and endpoint."""
    return _module(name).version(model, url)


def key(judge_version: str, prompt: str, response: str) -> str:
    """SHA-256 of judge version, prompt and response: what a cached verdict is about."""
    return hashlib.sha256(json.dumps([judge_version, prompt, response]).encode()).hexdigest()


def judge(
    responses: list[rows.Response], name: str, *, model: str = "", url: str = "", cache: Path
) -> list[rows.Judgement]:
    """One judgement a response, in the order of `responses`; only what `cache` lacks is judged.

    `cache` is a JSON-lines file of Judgement rows, appended to row by row: a run that is cut off pays for
    nothing twice. A row without a verdict (empty response, failed call) is tried again on the next run.
    Raises CompanionError for an unknown judge, a missing model or key, or an unreadable cache line.
    """
    module = _module(name)
    stamp = module.version(model, url)
    keys = [key(stamp, r.prompt, r.response) for r in responses]
    known = {row.key: row for row in read_cache(cache) if row.verdict is not None}
    missing = {k: r for k, r in zip(keys, responses, strict=True) if k not in known and r.response.strip()}
    for row in _judged(module, missing, name, model, url, cache):
        known[row.key] = row
    return [
        known[k].model_copy(update={"id": r.id, "model": r.model}) if k in known else _empty(r, name, k)
        for k, r in zip(keys, responses, strict=True)
    ]


def judge_fresh(responses: list[rows.Response], name: str) -> list[rows.Judgement]:
    """Judgements without a cache file, for the judges that cost nothing: bundled and keyword."""
    module = _module(name)
    stamp = module.version()
    found = module.verdicts(responses)
    return [
        rows.Judgement(id=r.id, model=r.model, judge=name, key=key(stamp, r.prompt, r.response), **fields)
        for r, fields in zip(responses, found, strict=True)
    ]


def _judged(module, missing: dict, name: str, model: str, url: str, cache: Path) -> Iterator[rows.Judgement]:
    if not missing:
        return
    _mend(cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.open("a", encoding="utf-8", newline="\n") as out:
        answers = module.verdicts(list(missing.values()), model, url)
        for (k, response), found in zip(missing.items(), answers, strict=True):
            row = rows.Judgement(id=response.id, model=response.model, judge=name, key=k, **found)
            out.write(json.dumps(row.model_dump(), ensure_ascii=False) + "\n")
            out.flush()
            if name == "api":  # paid for: on disk before the next call
                os.fsync(out.fileno())
            yield row


def _empty(response: rows.Response, name: str, k: str) -> rows.Judgement:
    error = "empty response: nothing to judge"
    return rows.Judgement(id=response.id, model=response.model, judge=name, key=k, verdict=None, error=error)


def read_cache(cache: Path) -> list[rows.Judgement]:
    """All rows of a judgement file, failed and superseded ones too; a cut last line is dropped.

    Raises CompanionError naming file and line when any other line is not a Judgement.
    """
    if not cache.is_file():
        return []
    *lines, _cut = cache.read_bytes().split(b"\n")
    found = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    return [files.parse_line(line, rows.Judgement, f"{cache}:{n}") for n, line in found]


def _mend(cache: Path) -> None:
    """Cut a half-written last line off, so that the next row begins on a line of its own."""
    if cache.is_file():
        whole = cache.read_bytes().rfind(b"\n") + 1
        if whole < cache.stat().st_size:
            os.truncate(cache, whole)
