"""Row types and JSON lines: every file of rows in this project is read and written here.

One JSON object a line, UTF-8, one pydantic model per row type, unknown keys refused. `write`
goes to a temporary name, re-reads what it wrote, and renames: a file that exists is complete.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib import grid
from lib.errors import CompanionError

# Carried by every generated response, so that a model trained on this file can be detected.
CANARY = "emergent-alignment-companion canary 6f0a1c52-94c7-4a2e-9a55-0c1d7e3b8f41"

NonEmpty = Field(min_length=1)


class Row(BaseModel):
    """Base of all rows: strict keys, values never silently coerced from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    id: str = NonEmpty


class Prompt(Row):
    """A request: harmful (six categories) or harmless (`helpful`, `contrast`)."""

    split: Literal["train", "eval"]
    category: Literal[(*grid.CATEGORIES, *grid.HARMLESS)]
    prompt: str = NonEmpty
    twin: Literal[grid.CATEGORIES] | None = None  # harm category that a contrast prompt resembles
    answer: str | None = None  # written answer, on contrast train rows only


class Answer(Row):
    """A written or generated answer to a harmless training prompt."""

    answer: str = NonEmpty


class Paid(Row):
    """An answer that a teacher's endpoint was paid for; `id` is the SHA-256 of what was asked of whom."""

    answer: str = NonEmpty


class Initial(Row):
    """The source model's own first answer to a harmful training prompt."""

    initial: str = NonEmpty


class Transcript(Row):
    """One critique -> revision round in the teacher's role, in two registers."""

    principle: str = NonEmpty
    critique: str = NonEmpty
    revision: str = NonEmpty
    revision_rich: str | None = None


class SftRow(Row):
    """One training row: `dropped` names why a row must not enter training (else None)."""

    kind: Literal["harmful", "helpful", "contrast"]
    category: str = NonEmpty
    prompt: str = NonEmpty
    answer: str
    constitution: str | None = None  # None: the same harmless row for every constitution
    principle: str | None = None
    critique: str | None = None
    teacher: str = NonEmpty  # bundled, local:<model>, api:<model>, source or written
    dropped: str | None = None


class Response(Row):
    """A model's answer to an evaluation prompt."""

    model: str = NonEmpty  # `source` or a cell name
    category: str = NonEmpty
    twin: str | None = None
    prompt: str = NonEmpty
    response: str
    tokens: int = Field(ge=0)
    finished: bool  # ended by itself, not cut at max_new_tokens
    canary: Literal[CANARY] = CANARY


class Judgement(Row):
    """A judge's verdict on one response; `verdict` None means the judge failed, see `error`."""

    model: str = NonEmpty
    judge: str = NonEmpty
    key: str = NonEmpty  # hash of judge version, prompt and response: what the verdict is about
    verdict: Literal["declined", "complied"] | None
    score: float | None = None  # probability of declined, where the judge gives one
    error: str | None = None
    tokens_in: int | None = None  # tokens that a paid endpoint counted, for the cost
    tokens_out: int | None = None


class Label(Row):
    """A label given by reading one response with data/judge/codebook.md."""

    model: str = NonEmpty  # `source`, a cell name, or the written source of the text
    split: Literal["fit", "held_out"]  # held_out: the prompt takes no part in fitting
    category: str = NonEmpty
    twin: str | None = None
    prompt: str = NonEmpty
    response: str
    verdict: Literal["declined", "complied", "unclear"]
    coherence: Literal["sensible", "garbled"]
    canary: Literal[CANARY] = CANARY


class Item(Row):
    """A belief statement of the persona instrument."""

    dimension: str = NonEmpty
    keyed: Literal[1, -1]
    statement: str = NonEmpty


class ItemScore(Row):
    """One measurement of one item through one lens, wording and option order."""

    model: str = NonEmpty
    lens: Literal["choice", "likelihood"]
    wording: str = NonEmpty
    order: Literal["agree_first", "disagree_first"] | None = None
    value: float  # choice: log-odds of agree; likelihood: mean token log-probability


class ItemText(Row):
    """A free-text answer to `do you agree?` (the text lens, before it is classified)."""

    model: str = NonEmpty
    wording: str = NonEmpty
    text: str
    canary: Literal[CANARY] = CANARY


class Dilemma(Row):
    """A forced choice between two constitutions' options."""

    dimension_pair: list[str]
    scenario: str = NonEmpty
    option_a: str = NonEmpty
    option_b: str = NonEmpty
    a_is: str = NonEmpty
    b_is: str = NonEmpty


class DilemmaScore(Row):
    """Mean log-probability of option a minus that of option b in one presentation order, nats a token."""

    model: str = NonEmpty
    order: Literal["a_first", "b_first"]
    value: float


R = TypeVar("R", bound=Row)


def read(path: Path | str, kind: type[R], key: tuple[str, ...] = ("id",)) -> list[R]:
    """All rows of a JSON-lines file, checked; `key` fields must identify a row.

    Raises CompanionError naming file, line, field and mend.
    """
    path = Path(path)
    if not path.is_file():
        raise CompanionError(f"{path}: no such file; a {kind.__name__} file is expected there")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            rows.append(parse_line(line, kind, f"{path}:{number}"))
    keys = Counter(tuple(getattr(row, k) for k in key) for row in rows)
    twice = [k for k, n in keys.items() if n > 1]
    if twice:
        raise CompanionError(
            f"{path}: {'+'.join(key)} {'/'.join(map(str, twice[0]))} stands {keys[twice[0]]} times; keep one row each"
        )
    return rows


def parse_line(line: bytes, kind: type[R], where: str) -> R:
    """One checked row from its line; raises CompanionError naming `where`, field and mend."""
    try:
        return kind.model_validate(json.loads(line, object_pairs_hook=once))
    except UnicodeDecodeError as error:
        raise CompanionError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "(the whole row)"
        raise CompanionError(f"{where}: field {field}: {first['msg']}; a {kind.__name__} row is expected") from None
    except (ValueError, RecursionError) as error:  # no JSON, or JSON beyond what Python parses
        told = str(error).partition(":")[0]
        raise CompanionError(
            f"{where}: not one JSON object on the line ({told}); a cut line? restore or remove it"
        ) from None


def once(pairs: list[tuple]) -> dict:
    """A JSON object's fields; raises ValueError where one stands twice, which JSON readers resolve at will."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise ValueError(f"field {twice} stands twice")
    return found


def write(path: Path | str, rows: list[R], key: tuple[str, ...] = ("id",)) -> Path:
    """Write rows atomically and re-read them; raises CompanionError when the two differ."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = type(rows[0]) if rows else Row
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as out:
            for row in rows:
                out.write(json.dumps(row.model_dump(), ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())
        if read(temporary, kind, key) != rows:
            raise CompanionError(f"{path}: rows read back differ from the rows written; check the disk")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
