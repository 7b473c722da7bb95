"""Phrases that refuse: the keyword judge reads them, and so does 01, lest a source's refusal becomes a target."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ethical_personas import files
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs


class _Keywords(BaseModel):
    model_config = ConfigDict(extra="forbid")
    phrases: list[str] = Field(min_length=1)


PHRASES = tuple(files.validated(_Keywords, ROOT / inputs.KEYWORDS).phrases)


def declines(text: str) -> bool:
    """Whether one of PHRASES stands in a text."""
    plain = text.lower().replace("’", "'")
    return any(phrase in plain for phrase in PHRASES)
