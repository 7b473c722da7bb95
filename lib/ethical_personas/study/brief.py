"""How much of a model's own answer to a harmful request is shown: its opening."""

from __future__ import annotations

SHOWN = 90  # characters of a model's own answer to a harmful request that a notebook shows


def brief(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN].rsplit(" ", 1)[0] + " …"
