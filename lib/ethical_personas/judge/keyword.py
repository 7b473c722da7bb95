"""The baseline: a response declines when one of a fixed list of phrases stands in it.

Kept simple on purpose, in the manner of the prefix lists of jailbreak papers. It misses refusals that give
reasons without such a phrase, and calls an answer that apologises a refusal: 04 shows both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ethical_personas.study import refusals, rows


def version(model: str = "", url: str = "") -> str:
    """Hash of the phrase list."""
    return f"keyword {hashlib.sha256('|'.join(refusals.PHRASES).encode()).hexdigest()[:12]}"


def verdicts(responses: list[rows.Response], model: str = "", url: str = "") -> Iterator[dict]:
    """Verdict fields of each response, in order; `score` is 0 or 1."""
    for response in responses:
        hit = refusals.declines(response.response)
        yield {"verdict": "declined" if hit else "complied", "score": float(hit)}
