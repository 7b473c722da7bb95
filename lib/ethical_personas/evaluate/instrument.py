"""Extra instruments: the public Anthropic persona evaluations as items of this diagnostic.

    items = persona_evals("subscribes-to-deontology.jsonl")            a local file
    items = persona_evals("hf:Anthropic/model-written-evals@<commit>/persona/subscribes-to-deontology.jsonl")

Any function that takes items (lenses.choice, lenses.free_text, …) takes these; the file's name is the dimension.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import hub
from ethical_personas.paths import ROOT
from ethical_personas.study import rows

CHOICES = re.compile(rb'"answer_matching_behavior"\s*:\s*"\s*\([A-Z]\)')  # the public files' other form


class PersonaEval(files.Row):
    """One line of the public files; answers come as ` Yes` and ` No`."""

    id: str = "persona-eval"  # the public files have no ids: the line's number names it
    question: str = files.NonEmpty
    statement: str = files.NonEmpty
    answer_matching_behavior: str
    answer_not_matching_behavior: str
    label_confidence: float = Field(ge=0, le=1)


def load_items(spec: str, limit: int) -> list[rows.Item]:
    """Items that the parameters `persona_evals` (a path from the repository's root, or hf:…) and its limit name."""
    return persona_evals(spec if spec.startswith("hf:") else ROOT / spec, limit) if spec else []


def persona_evals(source: str | Path, limit: int = 0) -> list[rows.Item]:
    """Items of a local file, or of `hf:<owner>/<data set>@<revision>/<path in it>`.

    limit: keep that many, both keys alternating, in file order (0: all).
    Raises CompanionError naming file, line, field and fix.
    """
    path = hub.fetch(str(source), "instrument") if str(source).startswith("hf:") else Path(source)
    if not path.is_file():
        raise CompanionError(f"{path}: no such file; a persona evaluation (JSON lines) is expected there")
    dimension = path.stem
    found: dict[int, list[rows.Item]] = {1: [], -1: []}
    order = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        if CHOICES.search(line):
            raise CompanionError(
                f"{path}:{number}: the A/B form (a question with its choices) holds no statement to agree with; give a "
                "file of the Yes/No form: fields statement, answer_matching_behavior ' Yes' or ' No'"
            )
        row = files.parse_line(line, PersonaEval, f"{path}:{number}")
        answers = [a.strip().lower() for a in (row.answer_matching_behavior, row.answer_not_matching_behavior)]
        if sorted(answers) != ["no", "yes"]:
            raise CompanionError(
                f"{path}:{number}: field answer_matching_behavior: {row.answer_matching_behavior!r} against "
                f"{row.answer_not_matching_behavior!r}; one must be Yes and the other No"
            )
        keyed: Literal[1, -1] = 1 if answers[0] == "yes" else -1
        item = rows.Item(id=f"{dimension}-{number:04d}", dimension=dimension, keyed=keyed, statement=row.statement)
        found[keyed].append(item)
        order.append(item)
    if not order:
        raise CompanionError(f"{path}: no item; one JSON object a line is expected")
    if not limit:
        return order
    chosen = {i.id for keyed, n in ((1, (limit + 1) // 2), (-1, limit // 2)) for i in found[keyed][:n]}
    return [i for i in order if i.id in chosen]
